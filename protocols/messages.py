"""The messages on the MQTT topics: one struct per channel, each with the version it speaks.

Evolution: unknown fields are ignored, new fields come with a default, and a message whose `v` is higher than
ours is refused. MessagePack on the wire, because most of what travels is bytes.
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from protocols.errors import MessageRefusedError, UnknownVersionError
from protocols.measuring import RunningMeasurement
from protocols.renewal import RenewalReply, RenewalRequest
from protocols.summaries import CategorySummary, NumericSummary

MESSAGE_VERSION = 1
#: No message of ours is larger; a larger one is refused unread.
MESSAGE_LIMIT_BYTES = 2 * 1024 * 1024

#: The number of an event or window, as SQLite can keep it.
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Level = Literal["info", "warning", "error"]
ReleaseState = Literal["assigned", "fetched", "verified", "preflight", "active", "confirmed", "refused", "rolled-back"]


class Fault(msgspec.Struct, frozen=True):
    """Why messages of a stream were not served: `count` of them alike, the last at `last_at`; `text` is its own."""

    reason: str
    text: str
    count: int
    last_at: float


class ServedStream(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stream as it runs now. `provider` is what ONNX Runtime really placed most nodes on.

    `asked`: the provider that this device wanted; `placement`: provider -> nodes, as ONNX Runtime gave them out.

    `dropped`: messages that found no room in the queue; `late`: predictions that missed the stream's latency budget.
    `faults`: the last few different ones since the agent started, the newest first. `warming`: messages that no
    prediction belongs to, since they only filled the window of a model that looks back; `window`, while it fills: rows
    that it has, and rows that it needs before the first prediction.
    """

    stream: str
    model: str
    version: int
    provider: str
    predictions: int = 0
    rejected: int = 0
    faults: tuple[Fault, ...] = ()
    dropped: int = 0
    late: int = 0
    asked: str = ""
    placement: dict[str, int] = {}
    warming: int = 0
    window: tuple[int, int] | None = None


class Building(msgspec.Struct, frozen=True, omit_defaults=True):
    """An engine that a provider compiles of a release: for how long already, of how long at most, in seconds.

    `share`: how much of it is done, by how long the last one of this model took; None: there was none.
    """

    seconds: float
    limit_s: float
    share: float | None = None


class HeldRelease(msgspec.Struct, frozen=True, omit_defaults=True):
    """One release on the device and how far it has come. `building`: its engine, while one is compiled."""

    model: str
    version: int
    state: ReleaseState
    reason: str | None = None
    building: Building | None = None


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """up/status, retained: how the device is now; also the last will, with `online` false.

    `instance` is drawn anew by each agent that starts: two that come in turns are two agents with one identity.
    `measures`: whether it takes measuring jobs; `measuring`: the one that it has in hand.
    """

    at: float
    online: bool
    agent_version: str = ""
    profile: str = ""
    revision: int = 0
    streams: tuple[ServedStream, ...] = ()
    releases: tuple[HeldRelease, ...] = ()
    probe: dict[str, Any] = {}
    outbox_waiting: int = 0
    outbox_dropped: int = 0
    instance: str = ""
    measures: bool = False
    measuring: RunningMeasurement | None = None
    v: int = MESSAGE_VERSION


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """up/event: something happened that the registry must know. `id` rises per device, never reused."""

    id: int
    at: float
    kind: str
    level: Level
    text: str
    model: str | None = None
    version: int | None = None
    detail: dict[str, Any] = {}
    v: int = MESSAGE_VERSION


class Telemetry(msgspec.Struct, frozen=True, omit_defaults=True):
    """up/telemetry: one stream's window.

    `latency` sketches milliseconds from a message's arrival to its prediction's hand-over. `rejected` counts the
    messages that were not served, by reason; `dropped` those that no longer fitted the queue; `late` the predictions
    that missed the stream's latency budget. `bytes_in` is what the served and rejected sensor messages weighed.
    `asked` and `placement` as in ServedStream. `faults`: the last few different ones of the window, the newest first,
    for a person; `sample` quotes one.
    `instance` is that of the agent that made it (see Status). `warming`: messages that only filled a window of rows.
    """

    id: int
    stream: str
    model: str
    version: int
    provider: str
    start: float
    end: float
    predictions: int
    rejected: dict[str, int]
    dropped: int
    bytes_in: int
    latency: NumericSummary
    numeric: dict[str, NumericSummary]
    categories: dict[str, CategorySummary]
    outputs: dict[str, NumericSummary]
    sample: str | None = None
    faults: tuple[Fault, ...] = ()
    instance: str = ""
    late: int = 0
    asked: str = ""
    placement: dict[str, int] = {}
    warming: int = 0
    v: int = MESSAGE_VERSION


class BlockRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """up/blocks: send me these blocks. `transfer` is the device's own number for this download.

    Block first + i is wanted where bit i of `mask` (little endian) is set. The device does not know the size
    before the first block arrives: blocks beyond the end are not sent, and asking for them is not an error.
    """

    transfer: int
    resource: str
    block_bytes: int
    first: int
    mask: bytes
    v: int = MESSAGE_VERSION


class Block(msgspec.Struct, frozen=True, omit_defaults=True):
    """down/blocks: one block, or, with `status` other than 200, why there is none (404, 410: final; 503: later)."""

    transfer: int
    index: int = 0
    size_bytes: int = 0
    data: bytes = b""
    digest: bytes = b""
    status: int = 200
    reason: str | None = None
    v: int = MESSAGE_VERSION


class AssignmentChanged(msgspec.Struct, frozen=True):
    """down/assignment, retained: a nudge. What counts is the assignment that the director has signed."""

    revision: int
    v: int = MESSAGE_VERSION


class MeasuringChanged(msgspec.Struct, frozen=True):
    """down/measuring, retained: a nudge. `number` is the newest measuring job; what counts is what is signed."""

    number: Number
    v: int = MESSAGE_VERSION


class Ack(msgspec.Struct, frozen=True):
    """down/ack: these events and telemetry windows are safe in the catalogue; the device may forget them."""

    ids: tuple[Number, ...]
    v: int = MESSAGE_VERSION


Message = (
    Status
    | Event
    | Telemetry
    | BlockRequest
    | RenewalRequest
    | Block
    | AssignmentChanged
    | MeasuringChanged
    | Ack
    | RenewalReply
)
M = TypeVar(
    "M",
    Status,
    Event,
    Telemetry,
    BlockRequest,
    RenewalRequest,
    Block,
    AssignmentChanged,
    MeasuringChanged,
    Ack,
    RenewalReply,
)

UP: dict[str, type[Status] | type[Event] | type[Telemetry] | type[BlockRequest] | type[RenewalRequest]] = {
    "status": Status,
    "event": Event,
    "telemetry": Telemetry,
    "blocks": BlockRequest,
    "renewal": RenewalRequest,
}
DOWN: dict[str, type[AssignmentChanged] | type[Block] | type[Ack] | type[RenewalReply] | type[MeasuringChanged]] = {
    "assignment": AssignmentChanged,
    "blocks": Block,
    "ack": Ack,
    "renewal": RenewalReply,
    "measuring": MeasuringChanged,
}

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in (*UP.values(), *DOWN.values())
}


class _Version(msgspec.Struct):
    v: int = MESSAGE_VERSION


_version_decoder = msgspec.msgpack.Decoder(_Version)


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def decode(kind: type[M], data: bytes) -> M:
    """Read one message.

    Raises:
        UnknownVersionError: it was written by a newer Genba.
        MessageRefusedError: it is too large, not MessagePack, or not a `kind`; the text names the field.
    """
    name = kind.__name__
    if len(data) > MESSAGE_LIMIT_BYTES:
        raise MessageRefusedError(name, f"{len(data)} bytes, and {MESSAGE_LIMIT_BYTES} are allowed")
    try:
        version = _version_decoder.decode(data).v
        if version != MESSAGE_VERSION:
            raise UnknownVersionError(name, version, MESSAGE_VERSION)
        message: M = _decoders[kind].decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageRefusedError(name, str(error)) from error
    return message
