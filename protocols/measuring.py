"""Measuring: a graph that is not released is timed on real devices, and never serves. What the two sides say of it.

The director signs for each device which jobs wait for it (`measuring.json`) and their files, as targets of metadata
that device trusts already. None of these targets has the path of a release's file, and the image repository lists none
of them: nothing that was signed to be measured can be installed.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import msgspec

from protocols.errors import MessageRefusedError, UnknownVersionError
from protocols.names import check_name

MEASURING_VERSION = 1
#: The director's target that lists the jobs which wait for a device.
MEASURING_TARGET = "measuring.json"
#: The files of a job, in the order in which a device fetches them.
MEASURED_FILES = ("release.json", "golden.npz", "model.onnx")
#: The kind of event that brings a device's figures home; its detail is a `Measured`.
MEASURED_EVENT = "measured"
#: Jobs that may wait for one device at a time.
MOST_ORDERS = 16
#: How long a device may measure one graph, in seconds.
LEAST_SECONDS, MOST_SECONDS = 1.0, 600.0

#: What became of a job on one device: `refused` says that it did not measure it, or that the graph did not hold there.
Outcome = Literal["measured", "refused", "expired", "cancelled"]
#: What a device does with the job in hand: it waits for what is served to leave room, fetches the graph, measures it.
Step = Literal["waiting", "fetching", "measuring"]


class MeasuringOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One job for a device.

    Attributes:
        number: rises over the whole registry; a device takes none that is not above the last one it is done with.
        model: what the graph calls itself, for a person.
        expires_at: seconds since the epoch, from when on nobody waits for it.
        seconds: longest that measuring may take, once it has begun.
    """

    number: Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
    model: str
    expires_at: float
    seconds: Annotated[float, msgspec.Meta(ge=LEAST_SECONDS, le=MOST_SECONDS)]


class Measuring(msgspec.Struct, frozen=True, omit_defaults=True):
    """The jobs that wait for one device. A target of the director repository, so it is signed."""

    device: str
    orders: Annotated[tuple[MeasuringOrder, ...], msgspec.Meta(max_length=MOST_ORDERS)] = ()
    v: int = MEASURING_VERSION


class DeviceFigures(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a graph does on one device, or why that is not known.

    Attributes:
        outcome: `measured`: the golden vectors hold there and the figures count; else `reason` says why they do not.
        check: of a refusal, what failed: fit, start, files, load, golden, latency, memory, time; empty: another reason.
        provider: what ONNX Runtime really placed most nodes on; `asked`: what the device wanted.
        placement: provider -> nodes.
        latency_p50_ms, latency_p99_ms: of one row alone, beside whatever the device serves.
        memory_bytes: what loading and running it took.
        size_bytes: of the graph as it travelled.
        rows: golden rows that were compared; `largest_difference`: from their outputs.
        threads: of one run. onnxruntime: its version there.
        machine: board or processor, for a person.
    """

    device: str
    profile: str
    outcome: Outcome
    reason: str = ""
    check: str = ""
    provider: str = ""
    asked: str = ""
    placement: dict[str, int] = {}
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    memory_bytes: int | None = None
    size_bytes: int | None = None
    load_s: float | None = None
    rows: int = 0
    largest_difference: float | None = None
    threads: int = 0
    onnxruntime: str = ""
    machine: str = ""

    @property
    def measured(self) -> bool:
        """Whether there are figures, of a graph whose golden vectors hold on the device."""
        return self.outcome == "measured"


class Measured(msgspec.Struct, frozen=True):
    """The detail of an event of kind `measured`: what one job came to on the device that sends it."""

    job: int
    figures: DeviceFigures
    v: int = MEASURING_VERSION


class RunningMeasurement(msgspec.Struct, frozen=True, omit_defaults=True):
    """A measuring job that a device has in hand: since when (seconds since the epoch), and what it does now."""

    job: int
    model: str
    since: float
    step: Step = "waiting"


#: What a search is given to learn what a graph (model.onnx) does on real devices, by its golden vectors (golden.npz).
MeasureGraph = Callable[[bytes, bytes], Sequence[DeviceFigures]]

_decoder = msgspec.json.Decoder(Measuring)


def measured_path(number: int, file: str) -> str:
    """The TUF target path of one file of a job: `measuring-12.model.onnx`, which no release's file can have."""
    return f"measuring-{number}.{file}"


def encode_measuring(measuring: Measuring) -> bytes:
    return msgspec.json.encode(measuring, order="deterministic")


def decode_measuring(data: bytes) -> Measuring:
    """Read the jobs of a device.

    Raises:
        MessageRefusedError: unreadable or contradictory; the text names the field.
        UnknownVersionError: written by a newer Genba.
        NameRefusedError: a name in it is refused.
    """
    try:
        measuring = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageRefusedError("measuring", str(error)) from error
    if measuring.v != MEASURING_VERSION:
        raise UnknownVersionError("measuring", measuring.v, MEASURING_VERSION)
    check_name("device", measuring.device)
    numbers = [order.number for order in measuring.orders]
    if sorted(set(numbers)) != numbers:
        raise MessageRefusedError("measuring", f"orders: their numbers must rise, and are {numbers}")
    for order in measuring.orders:
        check_name("model", order.model)
    return measuring


def read_measured(detail: object) -> Measured:
    """Return what the detail of a `measured` event says.

    Raises:
        MessageRefusedError: it is not of this form.
        UnknownVersionError: written by a newer Genba.
    """
    try:
        measured = msgspec.convert(detail, Measured)
    except msgspec.ValidationError as error:
        raise MessageRefusedError("measured", str(error)) from error
    if measured.v != MEASURING_VERSION:
        raise UnknownVersionError("measured", measured.v, MEASURING_VERSION)
    return measured
