"""Which request gets which answer: the paths of the Open Inference Protocol, and /metrics."""

import functools
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from edge_agent.endpoint.answers import metadata
from edge_agent.endpoint.calls import Calls
from edge_agent.endpoint.exchange import JSON, Reply, Request, Response, refusal
from edge_agent.endpoint.metrics import METRICS_TYPE
from edge_agent.errors import CallRefusedError
from edge_agent.service_manager import serves_what_it_should
from edge_agent.status import StatusPage
from edge_agent.streams import StreamEngine

#: What the protocol calls this server, and the extensions that it has.
NAME, EXTENSIONS = "genba", ["binary_tensor_data", "model_repository"]


class Route(NamedTuple):
    """What a path means."""

    kind: str
    method: str = "GET"
    model: str = ""
    version: str | None = None


@functools.lru_cache(256)
def route_of(path: str) -> Route | None:
    """Return what a path means, or None where there is nothing."""
    parts = tuple(unquote(part) for part in path.strip("/").split("/"))
    match parts:
        case ("metrics",):
            return Route("metrics")
        case ("v2",):
            return Route("server")
        case ("v2", "health", "live" | "ready" as kind):
            return Route(kind)
        case ("v2", "repository", "index"):
            return Route("index", "POST")
        case ("v2", "repository", "models", model, "load" | "unload"):
            return Route("load", "POST", model)
        case ("v2", "models", model, "versions", version, *rest):
            return _of_model(model, version, rest)
        case ("v2", "models", model, *rest):
            return _of_model(model, None, rest)
        case _:
            return None


def _of_model(model: str, version: str | None, rest: list[str]) -> Route | None:
    match rest:
        case []:
            return Route("model", "GET", model, version)
        case ["ready"]:
            return Route("model-ready", "GET", model, version)
        case ["infer"]:
            return Route("infer", "POST", model, version)
        case _:
            return None


class Routes:
    """Answers every request; called in the endpoint's thread.

    Args:
        page: returns the newest status page, None before the first.
        metrics: returns the text of /metrics.
    """

    def __init__(
        self,
        engine: StreamEngine,
        calls: Calls,
        page: Callable[[], StatusPage | None],
        metrics: Callable[[], bytes],
        agent_version: str,
    ) -> None:
        self._engine, self._calls, self._page, self._metrics = engine, calls, page, metrics
        self._agent_version = agent_version
        #: Responses by status.
        self.answered: dict[int, int] = {}

    def serve(self, request: Request, reply: Reply) -> None:
        """Have one request answered."""

        def counted(response: Response) -> None:
            self.answered[response.status] = self.answered.get(response.status, 0) + 1
            reply(response)

        route = route_of(request.path)
        if route is None:
            counted(refusal(404, f"there is nothing at {request.path[:100]!r}; /v2 and /metrics are where to begin"))
        elif request.method != route.method and not (request.method == "HEAD" and route.method == "GET"):
            counted(refusal(405, f"{request.path[:100]} takes {route.method}", allow=route.method))
        elif route.kind == "infer":
            try:
                self._calls.infer(route.model, route.version, request, counted)
            except CallRefusedError as error:
                counted(refusal(error.status, str(error)))
        else:
            counted(self._answer(route))

    def _answer(self, route: Route) -> Response:
        match route.kind:
            case "metrics":
                return Response(self._metrics(), content_type=METRICS_TYPE)
            case "server":
                return _json({"name": NAME, "version": self._agent_version, "extensions": EXTENSIONS})
            case "live":
                return Response()
            case "ready":
                return self._ready()
            case "index":
                return self._index()
            case "load":
                return refusal(403, f"what runs here is assigned by the registry: `genba assign {route.model}@VERSION`")
        try:
            model = self._calls.model(route.model, route.version)
        except CallRefusedError as error:
            # "not ready" is a status from 400 to 499 in the protocol.
            return refusal(400 if error.status == 503 and route.kind == "model-ready" else error.status, str(error))
        return metadata(model.manifest) if route.kind == "model" else Response()

    def _ready(self) -> Response:
        page = self._page()
        if page is None or not self._engine.healthy:
            return refusal(400, "the agent is starting, or a batch hangs; `genba agent status` says more")
        if not serves_what_it_should(page):
            return refusal(400, "a release that should serve does not yet; `genba agent status` says why")
        return Response()

    def _index(self) -> Response:
        rows = []
        for name, server in self._engine.servers().items():
            serves = server is not None and not server.halted
            rows.append(
                {
                    "name": name,
                    "version": str(server.ref.version) if server is not None else "",
                    "state": "READY" if serves else "UNAVAILABLE",
                    "reason": "" if serves else "no release serves it now",
                }
            )
        return _json(rows)


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), content_type=JSON)
