"""The daemon's side of the HTTP endpoint: opened where it is asked for, tried again where its port is taken."""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from edge_agent.errors import EndpointError
from edge_agent.reporting import Reporter
from edge_agent.status import StatusPage
from edge_agent.streams import StreamEngine

log = logging.getLogger(__name__)

_RETRY_S = 5.0


class Openable(Protocol):
    """An endpoint that may be opened once; `edge_agent.endpoint.assembly.Endpoint` is it."""

    @property
    def port(self) -> int: ...

    def open(self) -> None: ...

    def tick(self) -> None: ...

    def close(self) -> None: ...


class LocalEndpoint:
    """Keeps one endpoint. All calls come from the daemon's loop.

    Args:
        port: on loopback; 0: there is no endpoint, and nothing of it is loaded.
    """

    def __init__(
        self,
        port: int,
        engine: StreamEngine,
        reporter: Reporter,
        agent_version: str,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._port, self._engine, self._reporter = port, engine, reporter
        self._agent_version, self._ticks = agent_version, ticks
        self._open: Openable | None = None
        self._page: Callable[[], StatusPage | None] = lambda: None
        self._next_try: float | None = None
        self._fault = ""

    @property
    def says(self) -> str:
        """Its address, or why it has none; empty where there is to be none."""
        return f"http://127.0.0.1:{self._open.port}" if self._open is not None else self._fault

    def begin(self, page: Callable[[], StatusPage | None]) -> None:
        """Open it. A port that cannot be had is reported once and tried again: the streams do not wait for it."""
        if self._port:
            self._page = page
            self._try()

    def tick(self) -> None:
        if self._open is not None:
            self._open.tick()
        elif self._next_try is not None and self._ticks() >= self._next_try:
            self._try()

    def _try(self) -> None:
        from edge_agent.endpoint.assembly import Endpoint

        endpoint = Endpoint(self._port, self._engine, self._page, self._agent_version)
        try:
            endpoint.open()
        except EndpointError as error:
            self._next_try = self._ticks() + _RETRY_S
            if not self._fault:
                self._reporter.event("http-endpoint-failed", "warning", f"the HTTP endpoint is not open: {error}")
            self._fault = str(error)
        else:
            self._open, self._next_try = endpoint, None
            log.info("HTTP endpoint at http://127.0.0.1:%d", endpoint.port)
            if self._fault:
                self._reporter.event("http-endpoint-open", "info", f"the HTTP endpoint is open on port {self._port}")

    def close(self) -> None:
        """Answer what is being served, and end it."""
        self._next_try = None
        if self._open is not None:
            self._open.close()
            self._open = None
