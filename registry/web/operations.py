"""Operations: a REST route, its description for the OpenAPI document, and its body checked on the way in."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from flask import Response, request

from protocols.errors import PathRefusedError
from protocols.payloads import ABSENT, extract, parse_path
from registry.errors import RequestRefusedError

#: What a JSON body may weigh where an operation says nothing else, in bytes.
BODY_LIMIT_BYTES = 1024 * 1024
JSON = "application/json"

T = TypeVar("T")
View = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """What the OpenAPI document says of one route. `query` maps a parameter's name to (type, what it is)."""

    summary: str
    tag: str
    reply: Any = None
    status: int = 200
    reply_media: str = JSON
    body: Any = None
    body_media: tuple[str, ...] = (JSON,)
    query: dict[str, tuple[type, str]] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    #: None: a change needs the API token, a read does where the registry listens beyond this machine.
    needs_token: bool | None = None


def operation(summary: str, tag: str, **facts: Any) -> Callable[[View], View]:
    """Describe a view, and let it speak structs.

    The view returns a value (encoded as JSON with the operation's status), a (value, headers) pair, or a Response.
    Where the operation has a JSON `body`, it is read, checked and passed as `body`.
    """
    described = Operation(summary, tag, **facts)

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def answer(**arguments: Any) -> Response:
            if described.body is not None and JSON in described.body_media:
                arguments["body"] = read_json(described.body)
            found = view(**arguments)
            if isinstance(found, Response):
                return found
            value, headers = found if isinstance(found, tuple) else (found, {})
            return Response(msgspec.json.encode(value), described.status, headers, content_type=JSON)

        answer.operation = described  # type: ignore[attr-defined]
        return answer

    return decorate


def read_json(kind: type[T]) -> T:
    """Return the request's JSON body as a `kind`.

    Raises:
        RequestRefusedError: it is not one; the text names the field, its value and what was expected.
    """
    data = request.get_data()
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise _refused(str(error), data, kind.__name__) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestRefusedError("body", f"not JSON: {error}; {_way_out(kind.__name__)}") from error


_PLACE = re.compile(r"(?P<reason>.*) - at `(?P<path>[^`]+)`\Z", re.DOTALL)
_NAMED = re.compile(r"Object (?P<what>missing required|contains unknown) field `(?P<name>[^`]+)`")


def _refused(text: str, data: bytes, kind: str) -> RequestRefusedError:
    place = _PLACE.match(text)
    reason, path = (place["reason"], place["path"]) if place else (text, "$")
    at = path.removeprefix("$").removeprefix(".")
    named = _NAMED.match(reason)
    if named is not None:
        what = "is missing" if named["what"].startswith("missing") else "is not a field that exists there"
        return RequestRefusedError(".".join(filter(None, (at, named["name"]))), f"{what}; {_way_out(kind)}")
    got = _value(data, path)
    reason = reason[:1].lower() + reason[1:]
    return RequestRefusedError(at or "body", f"{reason}{f', which is {got}' if got else ''}; {_way_out(kind)}")


def _way_out(kind: str) -> str:
    return f"GET /openapi.json describes {kind}"


def _value(data: bytes, path: str) -> str:
    try:
        found = extract(msgspec.json.decode(data), parse_path(path))
    except (PathRefusedError, msgspec.DecodeError):
        return ""
    if found is ABSENT:
        return ""
    text = msgspec.json.encode(found).decode()
    return text if len(text) <= 60 else text[:57] + "..."


def query_int(name: str, default: int, low: int, high: int) -> int:
    """Return a query parameter that is a whole number.

    Raises:
        RequestRefusedError: it is not one, or outside `low` to `high`.
    """
    text = request.args.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,9}", text) or not low <= int(text) <= high:
        raise RequestRefusedError(name, f"{text!r} is not a whole number from {low} to {high}")
    return int(text)
