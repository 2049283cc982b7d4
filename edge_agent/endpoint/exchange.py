"""One request and one response, as the rest of the endpoint sees them."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

import msgspec

JSON = "application/json"
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Request(NamedTuple):
    """A whole request. `path` is without its query, as it came; `headers` are those that the endpoint reads."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool


class Response(NamedTuple):
    """What answers it. `json_bytes`: how much of the body is JSON, where tensors in binary follow it."""

    body: bytes = b""
    status: int = 200
    content_type: str = JSON
    json_bytes: int | None = None
    allow: str = ""


#: Takes the response to a request; called once, in the endpoint's own thread, at once or later.
Reply = Callable[[Response], None]


def refusal(status: int, text: str, allow: str = "") -> Response:
    """Return an error as the Open Inference Protocol writes it."""
    return Response(msgspec.json.encode({"error": text}), status, allow=allow)


def head_of(response: Response, *, keep_alive: bool) -> bytes:
    """Return the status line and the headers."""
    lines = [
        f"HTTP/1.1 {response.status} {_PHRASES.get(response.status, '')}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "X-Content-Type-Options: nosniff",
    ]
    if response.json_bytes is not None:
        lines.append(f"Inference-Header-Content-Length: {response.json_bytes}")
    if response.allow:
        lines.append(f"Allow: {response.allow}")
    if not keep_alive:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
