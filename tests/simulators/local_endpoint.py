"""A device's engine with its HTTP endpoint, in this process, on a port of its own; and a client that speaks bytes."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simulators.small_models import write_release

from edge_agent.endpoint.assembly import Endpoint
from edge_agent.inference import Model
from edge_agent.session_plan import SessionPlan
from edge_agent.status import StatusPage
from edge_agent.streams import StreamEngine

PAGE = StatusPage(
    at=1.0,
    device="press-1",
    site="osaka",
    profile="x86",
    broker_url="mqtt://127.0.0.1:1883",
    connected=True,
    link="connected",
    revision=7,
    streams=(),
    releases=(),
    outbox_waiting=3,
    outbox_dropped=2,
    dropped=0,
    errors=1,
    refused={"block-late": 4},
)


class Device:
    """Serves models over HTTP; `page` is what its daemon would say of it."""

    def __init__(self, folder: Path, cores: int = 2) -> None:
        self.answers: list[tuple[str, bytes]] = []
        self.engine = StreamEngine(lambda *answer: self.answers.append(answer), lambda *_: None, cores=cores)
        self.page: StatusPage | None = PAGE
        self._folder = folder
        self._endpoint = Endpoint(0, self.engine, lambda: self.page, "1.2.3")

    def start(self) -> None:
        self.engine.start()
        self._endpoint.open()

    def stop(self) -> None:
        self._endpoint.close()
        assert self.engine.stop(5)

    @property
    def endpoint(self) -> Endpoint:
        return self._endpoint

    @property
    def port(self) -> int:
        return self._endpoint.port

    def model(self, name: str = "ccpp", version: int = 1, **release: Any) -> Model:
        folder = self._folder / f"{name}-{version}"
        manifest = write_release(folder, name=name, version=version, **release)
        return Model(folder, manifest, SessionPlan(threads=1))

    def serve(self, name: str = "ccpp", version: int = 1, **release: Any) -> Model:
        """Let a release made of these take over."""
        model = self.model(name, version, **release)
        self.engine.serve(name, model)
        return model

    @contextmanager
    def socket(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            yield connection

    def ask(self, method: str, path: str, body: bytes | Any = b"", **headers: str) -> "Answer":
        """Send one well-formed request on a connection of its own."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = {"Host": f"localhost:{self.port}", "Content-Length": str(len(data)), **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        return self.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data)

    def send(self, data: bytes) -> "Answer":
        """Send these bytes; return the first answer."""
        with self.socket() as connection:
            connection.sendall(data)
            return read_answer(connection)


class Answer:
    """A response as it came."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The error's text, of a response that is one and says so in one line."""
        assert self.status >= 400
        [(name, text)] = self.json.items()
        assert (name, "\n" in text) == ("error", False)
        return str(text)


def read_answer(connection: socket.socket) -> Answer:
    """Read one response; bytes after it are an error."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        assert part, f"the connection ended after {data!r}"
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers["content-length"]):
        part = connection.recv(65536)
        assert part, "the body is not whole"
        body += part
    assert len(body) == int(headers["content-length"])
    return Answer(int(status.split()[1]), headers, body)
