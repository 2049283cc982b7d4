"""Documents: what the API takes and gives beyond the types that the rest of Genba has already."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from protocols.assignment import AssignedRelease, Assignment, StreamBinding
from protocols.manifest import Manifest, Task
from protocols.messages import Fault, Status
from protocols.sketches import CategorySketch, NumericSketch
from protocols.summaries import CategorySummary, NumericSummary
from protocols.wishes import TrainingWishes
from registry.catalogue.devices import Device
from registry.catalogue.models import Model
from registry.catalogue.releases import Release
from registry.catalogue.telemetry import Window
from registry.presence import Presence, presence
from registry.signature_key import Proof
from registry.signing.rooted import Waiting


class Health(msgspec.Struct, frozen=True):
    """The web process answers and the catalogue can be read."""

    status: Literal["ok"]
    version: str


class TokenBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which device an enrolment token is for, and for how many seconds it is good.

    `replace`: the name may be enrolled already, and whoever uses the token takes its place.
    """

    device: str
    site: str
    ttl_s: Annotated[float, msgspec.Meta(gt=0, le=30 * 86_400)] | None = None
    replace: bool = False


class TokenReply(msgspec.Struct, frozen=True):
    """An enrolment token, shown this once. `expires_at`: seconds since the epoch."""

    token: str
    expires_at: float


class AssignmentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a device should run; the device is in the path, and the registry gives the revision."""

    releases: tuple[AssignedRelease, ...] = ()
    streams: tuple[StreamBinding, ...] = ()
    window_s: float = 60.0
    confirm_s: float = 30.0


class BundleBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For which device, or of which release (`model@version`), and for how many days its metadata is to be good."""

    device: str | None = None
    release: str | None = None
    valid_days: int = 7


class ReturnReply(msgspec.Struct, frozen=True):
    """How many messages of a device the registry now has of those handed in, and the receipt for the device (DSSE)."""

    device: str
    messages: int
    receipt: msgspec.Raw


class SignatureBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model signature is to carry: the public key's digest, or a certificate of the registry's authority."""

    proof: Proof = "key"


class SwapBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A release (`model@version`) for devices: names, or `*`, `site=SITE`, `profile=PROFILE`."""

    release: str
    devices: list[str] | str


class ChampionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version a challenger has to beat."""

    version: int


class JobBody(TrainingWishes, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A training, or a retraining on the newest labelled rows.

    A training names its dataset and target, and what else is wished of it; a retraining keeps what its champion's user
    wished.
    """

    kind: Literal["train", "retrain"]
    model: str
    dataset: str | None = None
    target: str | None = None
    task: Task | None = None
    budget_s: Annotated[float, msgspec.Meta(gt=0, le=7 * 86_400)] = 60.0
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 0


class JobReply(msgspec.Struct, frozen=True):
    """The number of a queued job: GET /api/v1/jobs/{id} tells how far it is."""

    id: int


class RowsReply(msgspec.Struct, frozen=True):
    """How many labelled rows were kept by this request."""

    count: int


class DatasetReply(msgspec.Struct, frozen=True):
    """The digest under which a dataset is kept."""

    sha256: str


class ModelDocument(msgspec.Struct, frozen=True):
    """One model. `drifted` is what the newest drift report says; None before the first."""

    name: str
    champion: int | None
    last_version: int
    created_at: float
    drifted: bool | None
    labelled_rows: int


class ReleaseDocument(Manifest, frozen=True):
    """A release: its manifest, and who published it when. `waits`: the signatures that it lacks, before it may run."""

    published_at: float = 0.0
    published_by: str = ""
    champion: bool = False
    waits: Waiting | None = None


class DeviceDocument(msgspec.Struct, frozen=True):
    """One device. `revision` is that of its assignment; `status` its own last word.

    `presence` says more than `online`: `silent` said that it is online, and nothing since for three windows.
    `expires_at` is the end of its certificate; `revoked_at` since when it is locked out; `cloned_at` when two agents
    were seen to use its identity. All in seconds since the epoch.
    """

    name: str
    site: str
    profile: str
    serial: str
    enrolled_at: float
    online: bool
    presence: Presence
    seen_at: float | None
    revision: int | None
    status: Status | None
    expires_at: float | None = None
    revoked_at: float | None = None
    cloned_at: float | None = None


class NumericDocument(msgspec.Struct, frozen=True):
    """A numeric column in a window, in its unit; None where there were no values."""

    count: int
    missing: int
    out_of_range: int
    mean: float | None
    deviation: float | None
    p05: float | None
    p50: float | None
    p95: float | None


class CategoryDocument(msgspec.Struct, frozen=True):
    """A text column in a window; `frequent` maps its most frequent values to counts."""

    count: int
    missing: int
    unseen: int
    frequent: dict[str, int]


class WindowDocument(msgspec.Struct, frozen=True):
    """One telemetry window. Latencies in milliseconds; `size_bytes` is what the window itself weighed on the wire.

    `asked` is the provider that the device wanted, `provider` the one that took most nodes, `placement` all of them.
    """

    device: str
    site: str
    stream: str
    model: str
    version: int
    provider: str
    start: float
    end: float
    received_at: float
    predictions: int
    rejected: dict[str, int]
    dropped: int
    bytes_in: int
    size_bytes: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    sample: str | None
    faults: tuple[Fault, ...]
    numeric: dict[str, NumericDocument]
    categories: dict[str, CategoryDocument]
    outputs: dict[str, NumericDocument]
    asked: str = ""
    placement: dict[str, int] = {}


def model_document(model: Model, drifted: bool | None, labelled_rows: int) -> ModelDocument:
    return ModelDocument(model.name, model.champion, model.last_version, model.created_at, drifted, labelled_rows)


def release_document(release: Release, champion: int | None, waits: Waiting | None = None) -> ReleaseDocument:
    fields = {name: getattr(release.manifest, name) for name in Manifest.__struct_fields__}
    return ReleaseDocument(
        **fields,
        published_at=release.published_at,
        published_by=release.published_by,
        champion=release.version == champion,
        waits=waits,
    )


def device_document(
    device: Device, assignment: Assignment | None, now: float, expires_at: float | None
) -> DeviceDocument:
    found = presence(device, assignment, now)
    return DeviceDocument(
        device.name,
        device.site,
        device.profile,
        device.serial,
        device.enrolled_at,
        found == "online",
        found,
        device.seen_at,
        assignment.revision if assignment else None,
        device.status,
        expires_at,
        device.revoked_at,
        device.cloned_at,
    )


def window_document(window: Window) -> WindowDocument:
    """Read a window's sketches.

    Raises:
        SketchError: one of them cannot be read.
    """
    telemetry = window.telemetry
    p50, p99 = latency_ms(telemetry.latency)
    return WindowDocument(
        window.device,
        window.site,
        telemetry.stream,
        telemetry.model,
        telemetry.version,
        telemetry.provider,
        telemetry.start,
        telemetry.end,
        window.received_at,
        telemetry.predictions,
        telemetry.rejected,
        telemetry.dropped,
        telemetry.bytes_in,
        window.size_bytes,
        p50,
        p99,
        telemetry.sample,
        telemetry.faults,
        _numeric(telemetry.numeric),
        {name: _category(summary) for name, summary in telemetry.categories.items()},
        _numeric(telemetry.outputs),
        telemetry.asked,
        telemetry.placement,
    )


def latency_ms(summary: NumericSummary) -> tuple[float | None, float | None]:
    """Return the median and the 99th percentile, or None without values."""
    if not summary.count:
        return None, None
    p50, p99 = NumericSketch.of(summary).quantiles([0.5, 0.99]).tolist()
    return p50, p99


def _numeric(summaries: Mapping[str, NumericSummary]) -> dict[str, NumericDocument]:
    return {name: _numbers(NumericSketch.of(summary)) for name, summary in summaries.items()}


def _numbers(sketch: NumericSketch) -> NumericDocument:
    if not sketch.count:
        return NumericDocument(0, sketch.missing, sketch.out_of_range, None, None, None, None, None)
    p05, p50, p95 = sketch.quantiles([0.05, 0.5, 0.95]).tolist()
    return NumericDocument(
        sketch.count, sketch.missing, sketch.out_of_range, sketch.mean, sketch.deviation, p05, p50, p95
    )


def _category(summary: CategorySummary) -> CategoryDocument:
    sketch = CategorySketch.of(summary)
    frequent = dict(list(sketch.frequencies().items())[:10])
    return CategoryDocument(sketch.count, sketch.missing, sketch.unseen, frequent)
