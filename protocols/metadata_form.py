"""The form that signed metadata must have before anything reads it: JSON that means one thing, within bounds.

Signatures are checked over a canonical form of what a parser made of the bytes, so bytes that two parsers read
differently (a key twice, half of a surrogate pair) are refused before there is a signature to check.
"""

import json
from typing import Any, NoReturn

from protocols.errors import MetadataFormError

MAX_DEPTH = 64
#: The largest whole number that every JSON reader keeps exactly (RFC 8259, section 6).
MAX_NUMBER = 2**53 - 1


def check_form(name: str, data: bytes) -> None:
    """Return if the bytes are metadata in form; what it says, and who signed it, is not looked at.

    Raises:
        MetadataFormError: the text names the file and what is wrong with it.
    """
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        raise MetadataFormError(name, f"it nests deeper than {MAX_DEPTH} levels") from None
    except (_FormError, ValueError) as error:  # not UTF-8, not JSON, a number of thousands of digits
        raise MetadataFormError(name, f"it is not JSON that can be read in one way: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("signed"), dict):
        raise MetadataFormError(name, "it is not an object with a `signed` part")
    try:
        _check_values(document)
    except _FormError as error:
        raise MetadataFormError(name, str(error)) from None


class _FormError(Exception):
    """What is wrong, before the file's name is known."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _FormError(f"the key {twice[:80]!r} is there twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise _FormError(f"{text} is no number")


def _check_values(document: dict[str, Any]) -> None:
    """Walk without recursion: the depth is the sender's choice."""
    waiting: list[tuple[Any, int]] = [(document, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise _FormError(f"it nests deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            waiting.extend((key, depth) for key in value)
            waiting.extend((inner, depth + 1) for inner in value.values())
        elif isinstance(value, list):
            waiting.extend((inner, depth + 1) for inner in value)
        elif isinstance(value, str):
            _check_text(value)
        elif isinstance(value, int) and abs(value) > MAX_NUMBER:
            raise _FormError(f"a number of {len(str(value))} digits is beyond {MAX_NUMBER}")


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _FormError("a text holds half of a surrogate pair, which is no character") from None
