"""An assignment: what one device should run, and how its sensor topics bind to models."""

from typing import Literal

import msgspec

from protocols.errors import MessageRefusedError, UnknownVersionError
from protocols.names import ReleaseRef, check_name
from protocols.payloads import parse_path

ASSIGNMENT_VERSION = 1
#: Highest `queue_limit` and `max_batch` of a stream, and its longest latency budget: a day. More is a slip of the hand.
MOST_MESSAGES, MOST_BUDGET_MS = 1_000_000, 86_400_000.0
#: Contributions that a prediction carries at most: each costs its input's name on the wire.
MOST_CONTRIBUTIONS = 64
#: What a stream may ask of the device beyond its topics.
STREAM_LIMITS = ("latency_budget_ms", "max_batch", "queue_limit", "overflow", "delivery", "contributions")


Delivery = Literal["at-least-once", "at-most-once"]
Overflow = Literal["drop-oldest", "drop-newest", "refuse"]


class StreamBinding(msgspec.Struct, frozen=True, omit_defaults=True):
    """Sensor messages in, predictions out.

    Attributes:
        name: the stream's name on this device.
        model: which of the assigned releases serves it.
        topic: MQTT topic of the sensor messages (JSON objects); no wildcards.
        output_topic: where each prediction goes.
        inputs: model input -> JSON path in the message; an input that is absent is read from the key of its name.
        key: JSON path of a value that is copied to the prediction, so that a consumer can match the two.
        queue_limit: messages that may wait; what happens beyond it says `overflow`.
        max_batch: most messages served in one call of the model.
        latency_budget_ms: from a message's arrival to its prediction's hand-over. A batch is only so large that the
            oldest message in it is in time; a prediction that is not is counted as late. None: no such limit.
        overflow: what a full queue does: drop the oldest message, drop the newest, or refuse the newest with an answer
            that says so (`error`: `queue-full`). Counted in each case.
        delivery: `at-least-once` leaves a message with the broker until its prediction is on its way there, so that
            no crash loses it (of what is published at QoS 1). `at-most-once` acknowledges it on arrival: a crash loses
            what waits, and no broker's window of unacknowledged messages limits the stream.
        contributions: how many inputs each prediction names with what they added to it, those that added most; of a
            model whose graph tells it, others answer without.
    """

    name: str
    model: str
    topic: str
    output_topic: str
    inputs: dict[str, str] = {}
    key: str | None = None
    queue_limit: int = 10_000
    max_batch: int = 256
    delivery: Delivery = "at-least-once"
    latency_budget_ms: float | None = None
    overflow: Overflow = "drop-oldest"
    contributions: int = 0


class AssignedRelease(msgspec.Struct, frozen=True, omit_defaults=True):
    """One release to run. `attempt` rises when an operator asks for a refused release once more."""

    model: str
    version: int
    attempt: int = 1
    allow_fallback: bool = False

    @property
    def ref(self) -> ReleaseRef:
        return ReleaseRef(self.model, self.version)


class Assignment(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything one device should run. It travels as a target of the director repository, so it is signed."""

    device: str
    revision: int
    releases: tuple[AssignedRelease, ...] = ()
    streams: tuple[StreamBinding, ...] = ()
    window_s: float = 60.0
    confirm_s: float = 30.0
    v: int = ASSIGNMENT_VERSION


_decoder = msgspec.json.Decoder(Assignment)


def encode_assignment(assignment: Assignment) -> bytes:
    return msgspec.json.encode(assignment, order="deterministic")


def decode_assignment(data: bytes) -> Assignment:
    """Read an assignment and check it.

    Raises:
        MessageRefusedError: unreadable or contradictory; the text names the field.
        UnknownVersionError: written by a newer Genba.
        NameRefusedError, PathRefusedError: a name or path in it is refused.
    """
    try:
        assignment = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageRefusedError("assignment", str(error)) from error
    if assignment.v != ASSIGNMENT_VERSION:
        raise UnknownVersionError("assignment", assignment.v, ASSIGNMENT_VERSION)
    check_assignment(assignment)
    return assignment


def check_assignment(assignment: Assignment) -> None:
    """Raise what `decode_assignment` raises if the assignment contradicts itself."""
    check_name("device", assignment.device)
    models = [release.model for release in assignment.releases]
    if len(set(models)) != len(models):
        raise MessageRefusedError("assignment", f"releases: one release per model, got {models}")
    if assignment.window_s <= 0 or assignment.confirm_s < 0:
        raise MessageRefusedError("assignment", "window_s must be above 0 and confirm_s at least 0")
    streams = [stream.name for stream in assignment.streams]
    if len(set(streams)) != len(streams):
        raise MessageRefusedError("assignment", f"streams: each name once, got {streams}")
    for stream in assignment.streams:
        _check_stream(stream, models)


def _check_stream(stream: StreamBinding, models: list[str]) -> None:
    check_name("stream", stream.name)
    if stream.model not in models:
        raise MessageRefusedError("assignment", f"stream {stream.name!r}: model {stream.model!r} is not among {models}")
    for field, topic in (("topic", stream.topic), ("output_topic", stream.output_topic)):
        if not _is_plain(topic):
            raise MessageRefusedError(
                "assignment", f"stream {stream.name!r}: {field} {topic!r} must be a plain topic outside genba/"
            )
    if stream.topic == stream.output_topic:
        raise MessageRefusedError("assignment", f"stream {stream.name!r}: topic and output_topic are the same")
    _check_limits(stream)
    for path in [*stream.inputs.values(), *([stream.key] if stream.key else [])]:
        parse_path(path)


def _check_limits(stream: StreamBinding) -> None:
    for field, count in (("queue_limit", stream.queue_limit), ("max_batch", stream.max_batch)):
        if not 1 <= count <= MOST_MESSAGES:
            raise MessageRefusedError(
                "assignment", f"stream {stream.name!r}: {field} is {count}; it must be from 1 to {MOST_MESSAGES}"
            )
    if not 0 <= stream.contributions <= MOST_CONTRIBUTIONS:
        raise MessageRefusedError(
            "assignment",
            f"stream {stream.name!r}: contributions is {stream.contributions}; it must be from 0 to "
            f"{MOST_CONTRIBUTIONS}",
        )
    budget_ms = stream.latency_budget_ms
    if budget_ms is not None and not 0 < budget_ms <= MOST_BUDGET_MS:  # NaN is not either
        raise MessageRefusedError(
            "assignment",
            f"stream {stream.name!r}: latency_budget_ms is {budget_ms:g}; it must be above 0 and at most "
            f"{MOST_BUDGET_MS:.0f}",
        )


def _is_plain(topic: str) -> bool:
    """Whether a topic is a line's own: the broker's access list is made of these, so no control character either."""
    foreign = topic.startswith(("genba/", "$")) or topic != topic.strip()
    return bool(topic) and topic.isprintable() and not foreign and not any(sign in topic for sign in "+#")
