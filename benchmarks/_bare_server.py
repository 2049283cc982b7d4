"""An HTTP server that does nothing: it parses requests and gives one fixed answer. What no server in Python beats.

`socket` serves one connection by blocking calls, as nothing that serves several can; `asyncio` serves any number.
"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import httptools


def answer_of(size_bytes: int) -> bytes:
    """Return a whole response with a body of so many bytes."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {size_bytes}\r\n\r\n"
    return head.encode() + b"0" * size_bytes


class Parsed:
    """What the parser tells of a request: that it is whole."""

    whole = False

    def on_message_complete(self) -> None:
        self.whole = True


def serve_by_socket(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            parsed = Parsed()
            parser = httptools.HttpRequestParser(parsed)
            while data := connection.recv(1 << 18):
                parser.feed_data(data)
                if parsed.whole:
                    parsed.whole = False
                    connection.sendall(answer)


class Connection(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer, self._parsed = answer, Parsed()
        self._parser = httptools.HttpRequestParser(self._parsed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if self._parsed.whole:
            self._parsed.whole = False
            self._transport.write(self._answer)


async def serve_by_asyncio(answer: bytes) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(answer), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def bare(kind: str, size_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield the port and the process of a bare server of this kind, `socket` or `asyncio`."""
    server = subprocess.Popen([sys.executable, __file__, kind, str(size_bytes)], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline()), server.pid
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    fixed = answer_of(int(sys.argv[2]))
    if sys.argv[1] == "socket":
        serve_by_socket(fixed)
    else:
        asyncio.run(serve_by_asyncio(fixed))
