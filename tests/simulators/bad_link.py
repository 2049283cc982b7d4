"""A TCP proxy that is a bad link: real delays both ways, a rate, connections that are cut, bytes that are damaged."""

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator

_CHUNK_BYTES = 16 * 1024
#: What the link itself holds, each way, before the sender feels it: a router's buffer.
_BUFFER_BYTES = 1024 * 1024


class BadLink:
    """Passes connections on to a port of this machine, in a thread of its own.

    Args:
        delay_s: each way.
        rate_bytes_s: bytes a second that fit through each way, all connections together; 0: as fast as it goes.
        mishap: what becomes of each piece of a stream; none (b"") loses it, twice the same doubles it.
    """

    def __init__(
        self,
        port: int,
        *,
        delay_s: float = 0.0,
        rate_bytes_s: float = 0.0,
        mishap: Callable[[bytes], bytes] = lambda piece: piece,
    ) -> None:
        self.delay_s, self.rate_bytes_s, self.mishap = delay_s, rate_bytes_s, mishap
        self._target = port
        self._free_at = {"up": 0.0, "down": 0.0}
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None] | None] = set()
        self.cuts = self.connections = self.passed_bytes = 0
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="bad-link", daemon=True)
        self._thread.start()
        assert ready.wait(5)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._loop.call_soon(ready.set)
        self._loop.run_forever()
        self._server.close()
        self._abort()
        serving = asyncio.all_tasks(self._loop)
        for task in serving:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*serving, return_exceptions=True))
        self._loop.close()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Cut every connection, without a word of goodbye."""
        self.cuts += 1
        self._loop.call_soon_threadsafe(self._abort)

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)

    def _abort(self) -> None:
        self._free_at = {"up": 0.0, "down": 0.0}  # what was on its way is gone
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        self.connections += 1
        serving = asyncio.current_task()
        self._serving.add(serving)  # the loop itself holds tasks weakly
        try:
            await self._serve_until_cut(near, near_out)
        finally:
            self._serving.discard(serving)

    async def _serve_until_cut(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        try:
            far, far_out = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            near_out.transport.abort()
            return
        self._writers |= {near_out, far_out}
        ways = [self._pass("up", near, far_out), self._pass("down", far, near_out)]
        try:
            await asyncio.gather(*ways)
        except asyncio.CancelledError:
            pass  # the link is closed; asyncio's server would tell of it
        finally:
            for writer in (near_out, far_out):
                self._writers.discard(writer)
                writer.transport.abort()

    async def _pass(self, way: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        on_its_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_BUFFER_BYTES // _CHUNK_BYTES)
        arriving = asyncio.ensure_future(self._arrive(on_its_way, sink))
        try:
            while piece := await source.read(_CHUNK_BYTES):
                await on_its_way.put((self._due(way, len(piece)), self.mishap(piece)))
            await on_its_way.put((0.0, b""))
            await arriving
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            arriving.cancel()
            sink.transport.abort()

    def _due(self, way: str, size: int) -> float:
        """When a piece that enters the link now comes out of it."""
        now = time.monotonic()
        if self.rate_bytes_s:
            now = self._free_at[way] = max(now, self._free_at[way]) + size / self.rate_bytes_s
        return now + self.delay_s

    async def _arrive(self, on_its_way: "asyncio.Queue[tuple[float, bytes]]", sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                due, piece = await on_its_way.get()
                if due == 0.0:
                    return
                if (wait_s := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait_s)
                sink.write(piece)
                self.passed_bytes += len(piece)
                await sink.drain()


@contextlib.contextmanager
def cutting(link: BadLink, every_s: Callable[[], float]) -> Iterator[None]:
    """Cut the link now and then while the block runs."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(every_s()):
            link.cut()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def sometimes(share: float, fate: Callable[[bytes], bytes], seed: int = 1) -> Callable[[bytes], bytes]:
    """Return a mishap that befalls a share of the pieces."""
    chance = random.Random(seed)
    return lambda piece: fate(piece) if chance.random() < share else piece
