"""Sensor payloads: JSON paths into a line's messages, and the prediction that answers one."""

import hashlib
import re
from typing import Any

import msgspec

from protocols.errors import PathRefusedError

Path = tuple[str | int, ...]

_STEP = re.compile(
    r"""\.?(?P<name>[^.\[\]'"$]+) | \[(?P<index>\d{1,9})\] | \['(?P<quoted>(?:[^'\\]|\\.)*)'\]""", re.VERBOSE
)

#: The value that `extract` returns for a path that leads nowhere; JSON null is None.
ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "ABSENT", "__bool__": lambda self: False})()


def parse_path(path: str) -> Path:
    """Read a JSON path: `$.a.b`, `a[0].b`, `$['Torque [Nm]']`. No wildcards, filters or slices.

    Raises:
        PathRefusedError: it is not one; the text shows the form.

    Source: the singular queries of RFC 9535, section 2.3.5.1, with the leading `$.` optional.
    """
    rest = path[1:] if path.startswith("$") else path
    steps: list[str | int] = []
    while rest:
        match = _STEP.match(rest)
        if match is None:
            raise PathRefusedError(path, f"cannot read {rest!r}")
        if match["index"] is not None:
            steps.append(int(match["index"]))
        elif match["quoted"] is not None:
            steps.append(re.sub(r"\\(.)", r"\1", match["quoted"]))
        else:
            steps.append(match["name"])
        rest = rest[match.end() :]
    if not steps:
        raise PathRefusedError(path, "it is empty")
    return tuple(steps)


def begins(data: bytes, most: int = 40) -> str:
    """Return in words how data begins that are not what they should be: a text quoted, anything else as bytes."""
    try:
        text = data[:most].decode()
    except UnicodeDecodeError as error:
        text = data[: error.start].decode() if error.reason == "unexpected end of data" else "\0"
    if text and all(letter.isprintable() or letter in "\r\n\t" for letter in text):
        return f"it begins {text!r}"
    return f"it begins with the bytes {data[: min(most, 16)].hex(' ')}" if data else "it is empty"


def quote_name(name: str) -> str:
    """Return the JSON path of the top-level key `name`, whatever characters it holds."""
    return "$['" + name.replace("\\", "\\\\").replace("'", "\\'") + "']"


def extract(document: Any, path: Path) -> Any:
    """Return the value at `path`, or ABSENT."""
    for step in path:
        if isinstance(step, int):
            if not isinstance(document, list) or step >= len(document):
                return ABSENT
        elif not isinstance(document, dict) or step not in document:
            return ABSENT
        document = document[step]
    return document


def message_id(payload: bytes | int) -> str:
    """Return the id that a prediction carries of the sensor message that it answers.

    It is of the message's bytes, so that two answers to the same message have the same id whoever gave them and when.
    Two messages have different ids if they differ in a time, a count or a value; those of a window or of state should,
    since equal ones have different answers.
    """
    data = payload if isinstance(payload, bytes) else str(payload).encode()
    return hashlib.blake2b(data, digest_size=8).hexdigest()


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a stream publishes for one sensor message.

    A message is answered at least once. `id` names it (see `message_id`), and `again` is true where the broker sent
    it a second time, after a crash or a lost connection: a consumer that has seen the id drops such an answer.
    `error` says why there is no prediction (`queue-full`), on a stream that refuses what it has no room for.
    `contributions` are what the inputs that did most added to it, on a stream that asks for them; the release's
    manifest says in which unit.
    """

    prediction: float | int | str | None
    model: str
    version: int
    key: str | int | float | None = None
    probabilities: dict[str, float] | None = None
    id: str | None = None
    again: bool = False
    error: str | None = None
    contributions: dict[str, float] | None = None
