"""Where the endpoint's parts are put together."""

from collections.abc import Callable

from edge_agent.endpoint.calls import Calls
from edge_agent.endpoint.exchange import Reply, Request
from edge_agent.endpoint.metrics import Metrics
from edge_agent.endpoint.routes import Routes
from edge_agent.endpoint.server import HttpServer
from edge_agent.status import StatusPage
from edge_agent.streams import StreamEngine


class Endpoint:
    """The HTTP endpoint of a daemon.

    Args:
        page: returns the daemon's newest status page.
    """

    def __init__(
        self, port: int, engine: StreamEngine, page: Callable[[], StatusPage | None], agent_version: str
    ) -> None:
        self._calls = Calls(
            engine,
            lambda function: self._server.call(function),
            lambda function: self._server.call_soon(function),
            lambda: self._server.connections,
        )
        self._routes = Routes(engine, self._calls, page, lambda: metrics.text(), agent_version)
        self._server = HttpServer(port, self._serve)
        metrics = Metrics(
            engine,
            page,
            self._calls.tallies,
            lambda: self._routes.answered,
            lambda: self._server.connections,
            agent_version,
        )

    def _serve(self, request: Request, reply: Reply) -> None:
        self._routes.serve(request, reply)

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._server.connections

    @property
    def held_bytes(self) -> int:
        """What the bodies of requests on their way or being served take."""
        return self._server.budget.taken_bytes

    @property
    def calls_waiting(self) -> int:
        """How many calls the workers have, waiting or at work."""
        return self._calls.waiting

    def call_soon(self, function: Callable[[], object]) -> None:
        """Have something called in the endpoint's thread."""
        self._server.call(function)

    def open(self) -> None:
        """Listen on loopback; raises as `HttpServer.open`."""
        self._server.open()

    def tick(self) -> None:
        """Let go of releases that serve no more; called by the daemon's loop now and then."""
        self._server.call(self._calls.forget)

    def close(self) -> None:
        """Answer what is being served, and end."""
        self._server.close(2.0)
        self._calls.stop()
