"""Bytes that are no metadata in form, by name, each with what the refusal must say."""

import json

from protocols.metadata_form import MAX_DEPTH

GOOD = {"signatures": [], "signed": {"_type": "timestamp", "version": 3, "text": "夜 é \U0001f512"}}


def nested(depth: int) -> bytes:
    return b'{"signed": {"x": ' + b"[" * depth + b"]" * depth + b"}}"


BAD = {
    "empty": (b"", "not JSON"),
    "not-json": (b"<html>502 Bad Gateway</html>", "not JSON"),
    "cut-off": (json.dumps(GOOD).encode()[:-9], "not JSON"),
    "two-documents": (json.dumps(GOOD).encode() * 2, "not JSON"),
    "latin-1": (b'{"signed": {"x": "\xe9"}}', "not JSON"),
    "utf-16": (json.dumps(GOOD).encode("utf-16"), "not JSON"),
    "byte-order-mark": (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "not JSON"),
    "a-list": (b"[1, 2]", "not an object"),
    "null": (b"null", "not an object"),
    "no-signed-part": (b'{"signatures": []}', "not an object"),
    "signed-is-text": (b'{"signed": "root"}', "not an object"),
    "a-key-twice": (b'{"signed": {"version": 1, "version": 2}}', "'version' is there twice"),
    "a-key-twice-by-escape": (b'{"signed": {"version": 1, "\\u0076ersion": 2}}', "'version' is there twice"),
    "two-signed-parts": (b'{"signed": {"version": 1}, "signed": {"version": 2}}', "'signed' is there twice"),
    "half-a-surrogate-pair": (b'{"signed": {"x": "\\ud800"}}', "surrogate"),
    "half-a-surrogate-pair-in-a-key": (b'{"signed": {"\\udfff": 1}}', "surrogate"),
    "huge-version": (b'{"signed": {"version": 9007199254740992}}', "16 digits"),
    "huge-negative": (b'{"signed": {"version": -9007199254740992}}', "beyond"),
    "version-of-ten-thousand-digits": (b'{"signed": {"version": 1' + b"0" * 10_000 + b"}}", "not JSON"),
    "nan": (b'{"signed": {"version": NaN}}', "NaN is no number"),
    "infinity": (b'{"signed": {"version": Infinity}}', "Infinity is no number"),
    "sixty-five-levels": (nested(MAX_DEPTH - 1), "nests deeper"),
    "a-thousand-levels": (nested(1_000), "nests deeper"),
    "ten-thousand-levels": (nested(10_000), "nests deeper"),
    "a-million-levels": (nested(1_000_000), "nests deeper"),
    "ten-thousand-levels-left-open": (b"[" * 10_000, "nests deeper|not JSON"),
}
