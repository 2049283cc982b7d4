"""An HTTP server that does next to nothing: it parses requests and gives one fixed answer.

`socket` serves one connection by blocking calls, as nothing that serves several can; `asyncio` serves any number. With
a model, `asyncio` runs it on one fixed row for each request, and throws away what comes out.
"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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
    def __init__(self, answer: bytes, work: Callable[[], object]) -> None:
        self._answer, self._work, self._parsed = answer, work, Parsed()
        self._parser = httptools.HttpRequestParser(self._parsed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if self._parsed.whole:
            self._parsed.whole = False
            self._work()
            self._transport.write(self._answer)


def runs_of(model: str) -> Callable[[], object]:
    """Return what runs a model of numeric columns on a row of ones, by one thread."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    row = {each.name: np.ones((1, 1), np.float32) for each in session.get_inputs()}
    return lambda: session.run(["prediction"], row)


async def serve_by_asyncio(answer: bytes, work: Callable[[], object]) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(answer, work), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def bare(kind: str, size_bytes: int, model: Path | None = None) -> Iterator[tuple[int, int]]:
    """Yield the port and the process of a bare server of this kind, `socket` or `asyncio`."""
    command = [sys.executable, __file__, kind, str(size_bytes), *([str(model)] if model else [])]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
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
        asyncio.run(serve_by_asyncio(fixed, runs_of(sys.argv[3]) if sys.argv[3:] else lambda: None))
