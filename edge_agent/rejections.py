"""Why a sensor message is not served."""

from typing import Literal, NamedTuple

#: A larger message is refused unread.
PAYLOAD_LIMIT_BYTES = 256 * 1024

Reason = Literal[
    "too-large", "not-json", "not-an-object", "missing-feature", "wrong-type", "not-finite", "model-failed", "dropped",
    "not-an-image", "broken-image",
]  # fmt: skip


class Rejection(NamedTuple):
    """Why one message was not served; `text` is for a person."""

    reason: Reason
    text: str
