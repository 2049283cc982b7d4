"""The endpoint's socket and thread: on 127.0.0.1 and nowhere else."""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable

from edge_agent.endpoint.budget import Budget
from edge_agent.endpoint.connection import BODY_LIMIT_BYTES, Connection, Serve
from edge_agent.endpoint.exchange import Response, refusal
from edge_agent.errors import EndpointError

log = logging.getLogger(__name__)

#: Not to be made a setting: there is no authentication here.
ADDRESS = "127.0.0.1"
CONNECTIONS = 64
BODIES_LIMIT_BYTES = 4 * BODY_LIMIT_BYTES
_LOOK_S = 1.0


class HttpServer:
    """Serves HTTP in a thread of its own.

    Args:
        serve: takes a request and what to call with its response; runs in the server's thread, must not block.
    """

    def __init__(self, port: int, serve: Serve) -> None:
        self.port = port
        self._serve = serve
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop: asyncio.Event | None = None
        self._connections: set[Connection] = set()
        self.budget = Budget(BODIES_LIMIT_BYTES)

    @property
    def connections(self) -> int:
        return len(self._connections)

    def open(self) -> None:
        """Listen.

        Raises:
            EndpointError: the port cannot be had; the text says why.
        """
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((ADDRESS, self.port))
            listener.listen(CONNECTIONS)
        except OSError as error:
            listener.close()
            raise EndpointError(
                f"http_port {self.port}: {error.strerror or error}; free it, or name another in agent.toml"
            ) from error
        self.port = listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._loop, listener, self._stop), name="http", daemon=True
        )
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Listen no more, answer what is being served within the time, then cut off."""
        loop, stop, thread = self._loop, self._stop, self._thread
        if loop is None or stop is None or thread is None:
            return
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            loop.call_soon_threadsafe(stop.set)
        thread.join(timeout_s + 1)
        self._loop = None

    def call(self, function: Callable[[], object]) -> None:
        """Have something called in the server's thread; for nothing once it has ended."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(function)

    def call_soon(self, function: Callable[[], object]) -> None:
        """Have something called after what has come already; to be called in the server's thread."""
        if self._loop is not None:
            self._loop.call_soon(function)

    def joined(self, connection: Connection) -> Response | None:
        self._connections.add(connection)
        if len(self._connections) > CONNECTIONS:
            return refusal(503, f"{CONNECTIONS} connections are open, and no more are served")
        return None

    def left(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def _run(self, loop: asyncio.AbstractEventLoop, listener: socket.socket, stop: asyncio.Event) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._listen(loop, listener, stop))
        except Exception:  # the thread's own loop: without it the endpoint is gone, and the streams are not
            log.exception("the HTTP endpoint ended in an unforeseen way")
        finally:
            loop.close()

    async def _listen(self, loop: asyncio.AbstractEventLoop, listener: socket.socket, stop: asyncio.Event) -> None:
        server = await loop.create_server(lambda: Connection(self, self._serve, loop), sock=listener)
        watch = loop.create_task(self._watch(loop))
        await stop.wait()
        watch.cancel()
        server.close()
        for connection in list(self._connections):
            connection.finish()
        deadline = loop.time() + 2.0
        while self._connections and loop.time() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.cut()
        await asyncio.sleep(0)

    async def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            now = loop.time()
            for connection in list(self._connections):
                connection.look(now)
