"""One request and one response, as the rest of the endpoint sees them."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

import msgspec

JSON = "application/json"
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True, eq=False)
class Request:
    """A whole request. `path` is without its query, as it came; `headers` are those that the endpoint reads.

    `wanted` is false once nobody waits for its answer: the client is gone, or was told that it takes too long.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool
    wanted: bool = True


class Response(NamedTuple):
    """What answers it. `json_bytes`: how much of the body is JSON, where tensors in binary follow it."""

    body: bytes = b""
    status: int = 200
    content_type: str = JSON
    json_bytes: int | None = None
    allow: str = ""


#: Takes the response to a request; called once, in the endpoint's own thread, at once or later. Until then the
#: request's body counts as held.
Reply = Callable[[Response], None]


def refusal(status: int, text: str, allow: str = "") -> Response:
    """Return an error as the Open Inference Protocol writes it."""
    return Response(msgspec.json.encode({"error": text}), status, allow=allow)


@functools.cache
def _first_lines(status: int, content_type: str) -> str:
    first = f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\nX-Content-Type-Options: nosniff\r\n"
    return f"{first}Content-Type: {content_type}\r\nContent-Length: "


def head_of(response: Response, *, keep_alive: bool) -> bytes:
    """Return the status line and the headers."""
    lines = [_first_lines(response.status, response.content_type) + str(len(response.body))]
    if response.json_bytes is not None:
        lines.append(f"Inference-Header-Content-Length: {response.json_bytes}")
    if response.allow:
        lines.append(f"Allow: {response.allow}")
    if not keep_alive:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
