"""TLS in front of the web process: waitress, which speaks none, listens on a socket file that this alone can reach.

Handshakes are many at a time and each has a time limit, so one who opens a connection and says nothing holds up nobody.
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

#: Connections at a time; more wait until one ends.
MOST_CONNECTIONS = 256
_HANDSHAKE_S = 10.0
_CHUNK_BYTES = 64 * 1024


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return what the web process shows: TLS 1.2 and newer.

    Raises:
        OSError: key or certificate cannot be read, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


class TlsFront:
    """Takes TLS connections and passes their bytes on. Runs in a thread of its own.

    Args:
        inner: the socket file where the web server listens.
        paths: of the certificate and its key.
        keep: makes the certificate anew where it is old, and says whether it did; asked once an hour.
    """

    def __init__(self, host: str, port: int, inner: Path, paths: tuple[Path, Path], keep: Callable[[], bool]) -> None:
        self._host, self._port, self._inner = host, port, inner
        self._context, self._keep, self._paths = server_context(*paths), keep, paths
        self._loop = asyncio.new_event_loop()
        self._room = asyncio.Semaphore(MOST_CONNECTIONS)
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="tls", daemon=True)

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port cannot be had.
        """
        self._server = self._loop.run_until_complete(self._listen())
        self._loop.create_task(self._renew())
        self._thread.start()

    def stop(self) -> None:
        """Take no more connections."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(
            self._serve,
            self._host,
            self._port,
            ssl=self._context,
            ssl_handshake_timeout=_HANDSHAKE_S,
            limit=_CHUNK_BYTES,
        )

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(3600)
            if await asyncio.to_thread(self._keep):
                self._context.load_cert_chain(*self._paths)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._room:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                inner_reader, inner_writer = await asyncio.open_unix_connection(self._inner, limit=_CHUNK_BYTES)
                both = (_pass(reader, inner_writer), _pass(inner_reader, writer))
                tasks = [asyncio.ensure_future(one) for one in both]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                # The request's end is no end of the reply; the reply's end is the connection's.
                if not tasks[1].done():
                    await tasks[1]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                inner_writer.close()
            writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
