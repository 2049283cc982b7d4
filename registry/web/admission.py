"""Admission: a large body is taken only from who has shown an API token, and that is decided at the headers.

The application sees a request when its body is here, which for an upload may be a gigabyte. So the server itself turns
away, before it reads on, what the application would turn away afterwards.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from waitress.channel import HTTPChannel  # type: ignore[import-untyped]
from waitress.parser import HTTPRequestParser  # type: ignore[import-untyped]
from waitress.server import BaseWSGIServer  # type: ignore[import-untyped]
from waitress.utilities import Error  # type: ignore[import-untyped]

from registry.web.operations import BODY_LIMIT_BYTES
from registry.web.problems import PROBLEM_JSON, Problem

Known = Callable[[str], bool]


class Unauthorized(Error):  # type: ignore[misc]
    """The server's answer to a large body from nobody."""

    code = 401
    reason = "Unauthorized"

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        problem = Problem("API token needed", self.code, str(self.body), "urn:genba:problem:api-token-needed")
        headers = [("Content-Type", PROBLEM_JSON), ("WWW-Authenticate", 'Bearer realm="genba"')]
        return f"{self.code} {self.reason}", headers, msgspec.json.encode(problem)


def admit(server: Any, known: Known) -> None:
    """Let a waitress server, or each of several behind one, refuse large bodies that come without a token.

    Args:
        known: whether a secret is an API token; called in the server's own thread.
    """

    class Parser(_Parser):
        is_known = staticmethod(known)

    class Channel(HTTPChannel):  # type: ignore[misc]
        parser_class = Parser

    for one in [server] if isinstance(server, BaseWSGIServer) else server.map.values():
        if isinstance(one, BaseWSGIServer):
            one.channel_class = Channel


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Reads one request; ends it at the headers where its body is not wanted."""

    is_known: Known
    error: Error | None
    expect_continue: bool
    chunked: bool
    content_length: int
    body_rcv: Any

    def received(self, data: bytes) -> int:
        consumed = int(super().received(data))
        if self.error is not None:
            self.expect_continue = False  # or it would be asked to send what is refused
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        large = self.chunked or self.content_length > BODY_LIMIT_BYTES
        if large and not self._authorised():
            self.body_rcv, self.content_length, self.chunked = None, 0, False
            self.error = Unauthorized(f"a body of over {BODY_LIMIT_BYTES:,} bytes, or in chunks, needs the API token")

    def _authorised(self) -> bool:
        scheme, _, secret = self.headers.get("AUTHORIZATION", "").partition(" ")
        return scheme.lower() == "bearer" and self.is_known(secret.strip())
