"""The release manifest (`release.json`): what a release is, takes in, gives out, and was proven to do."""

import math
from typing import Literal

import msgspec

from protocols.errors import ManifestError
from protocols.feeding import IMAGE_INPUT, Feeding, Image, StatePair, Window, check_feeding
from protocols.names import ReleaseRef, check_name
from protocols.recipe import Recipe

#: The newest that this release of Genba reads. A plain table's release is of the first, so that older agents take it.
MANIFEST_VERSION = 2
#: A release with `feeding` or `state`, which an older agent would misread, or `variants`, which it would not fetch.
EXTENDED_VERSION = 2

Task = Literal["classification", "regression"]
Dtype = Literal["float32", "string", "int64"]
#: The output that says what each input adds.
CONTRIBUTIONS = "contributions"
#: Which model within the limits of a device is released.
Prefer = Literal["best", "readable", "smallest", "fastest"]
#: Of a variant; model.onnx itself counts as float32, whatever is inside.
Precision = Literal["float16", "int8"]


class TensorSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One input or output of the graph.

    An input is one raw column, shape (rows, 1). Missing is NaN for float32 and "" for string. Where the manifest has a
    `feeding`, it is what a window is made of, or a figure of an image that monitoring follows.
    `low` and `high` are the range seen in training, in `unit`; `categories` the values seen, most frequent first.
    """

    name: str
    dtype: Dtype
    shape: tuple[int | None, ...] = (None, 1)
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    categories: tuple[str, ...] | None = None


class FileInfo(msgspec.Struct, frozen=True):
    """Digest and size of one file of the release."""

    sha256: str
    size_bytes: int


class Tolerance(msgspec.Struct, frozen=True):
    """How far an output may lie from the golden one: |got - want| <= absolute + relative * |want|."""

    absolute: float
    relative: float


class ParityCase(msgspec.Struct, frozen=True):
    """ONNX against the fitted model on one set of rows (`held-out`, `missing`, `unseen`, `edges`)."""

    name: str
    rows: int
    largest_difference: float
    mean_difference: float
    label_flips: int
    passed: bool


class ParityCertificate(msgspec.Struct, frozen=True):
    """Proof that the exported graph computes what the fitted model computes. No certificate, no release."""

    tolerance: Tolerance
    cases: tuple[ParityCase, ...]
    onnxruntime: str

    @property
    def passed(self) -> bool:
        return bool(self.cases) and all(case.passed for case in self.cases)


class Importance(msgspec.Struct, frozen=True):
    """Mean absolute SHAP contribution of one input, in the output's unit: the target's, or for classifiers probability.

    `direction` is what the output does as the input rises; of two classes it is the probability of the one that
    raises the alarm where costs of mistakes were given, else of the rarer one.
    `error` is half of the 95 % interval of the value, where it is known; older releases, whose classifiers have their
    values in log-odds, do not know it.
    """

    feature: str
    value: float
    direction: Literal["rises", "falls", "mixed"] = "mixed"
    error: float | msgspec.UnsetType = msgspec.UNSET


class Contributions(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the output `contributions` is: shape (rows, inputs), what each input adds to the sum behind a prediction.

    A row's contributions and the base are that sum: the prediction itself (`target`), the log-odds of the class that
    `of` names, or, of more than two classes, the score of the row's own answer, whose softmax is its probability.

    Attributes:
        base: the sum for a row as usual: one, or of `score` one for each class.
    """

    unit: Literal["target", "log-odds", "score"]
    base: tuple[float, ...]
    of: str | None = None


class LimitsAsked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the device was said to allow when the release was searched for."""

    latency_ms: float | None = None
    size_bytes: int | None = None
    memory_bytes: int | None = None


class Lineage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the release comes from: enough to train it again and get the same model digest.

    `keep`, `drop`, `group`, `validate`, `trials_asked`, `metric_asked`, `fairness`, `limits_asked`,
    `prefer_asked` and `quantise_asked` are what the user asked for beyond target, seed and budget.
    `recipe` is what the search found: with it the model is fitted again without another search.
    """

    data_sha256: str
    data_name: str
    rows: int
    columns: tuple[str, ...]
    target: str
    code_version: str
    pins: dict[str, str]
    seed: int
    budget_s: float
    trials: int
    parameters: dict[str, str | int | float | bool | None]
    cut_short: bool = False
    parent: str | None = None
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    group: str | None = None
    validate: Literal["newest", "random"] | None = None
    trials_asked: int | None = None
    metric_asked: str | None = None
    fairness: tuple[str, ...] = ()
    limits_asked: LimitsAsked | None = None
    prefer_asked: Prefer = "best"
    quantise_asked: tuple[Precision, ...] = ()
    recipe: Recipe | None = None


class Footprint(msgspec.Struct, frozen=True):
    """What serving this model took on the machine that proved it; a device measures its own in preflight."""

    memory_bytes: int
    latency_p50_ms: float
    latency_p99_ms: float
    measured_on: str


class Variant(msgspec.Struct, frozen=True):
    """The same model in less precision, in a file of its own: a device serves it where it measures it to be better.

    Attributes:
        file: among the release's files; it takes and gives what model.onnx does.
        tolerance: how far its outputs may lie from the golden ones, on any provider.
        made: how, for a person.
        largest_difference, mean_difference, label_flips: from model.onnx, on the rows of the proof.
    """

    file: str
    tolerance: Tolerance
    made: str
    largest_difference: float
    mean_difference: float
    label_flips: int


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One release. `version` 0 is a candidate: it gets its version when the registry publishes it.

    `latency_limit_ms` is what its user allows one row to take on the device that serves it: a preflight whose 99th
    percentile is above it refuses the release, and a trial in which more than a few rows are gives it up.
    `feeding` and `state` say how the graph is fed where it takes more than one row; `v` is 2 with one of them or with
    `variants`, else 1.
    `cpu_features` are those that a processor must have to serve it, as the kernel calls them (avx2, asimddp).

    `providers` are those that the publisher proved it on. `elsewhere` is how far another's outputs may lie from the
    golden ones, so that a device which has one can prove the release on it by itself; None: it may not.
    """

    model: str
    task: Task
    target: str
    created: str
    files: dict[str, FileInfo]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: dict[str, int]
    operators: tuple[str, ...]
    providers: dict[str, Tolerance]
    footprint: Footprint
    lineage: Lineage
    parity: ParityCertificate
    metric: str
    metrics: dict[str, float]
    importance: tuple[Importance, ...] = ()
    classes: tuple[str, ...] = ()
    version: int = 0
    licence: str | None = None
    author: str | None = None
    profiles: tuple[str, ...] = ()
    latency_limit_ms: float | None = None
    feeding: Feeding | None = None
    state: tuple[StatePair, ...] = ()
    elsewhere: Tolerance | None = None
    cpu_features: tuple[str, ...] = ()
    variants: dict[Precision, Variant] = {}
    contributions: Contributions | None = None
    v: int = 1

    @property
    def release(self) -> ReleaseRef:
        return ReleaseRef(self.model, self.version)

    def tolerance(self, provider: str, precision: str = "float32") -> Tolerance | None:
        """Return how far outputs on that provider may lie from the golden ones; None: it is not to run there."""
        proven = self.providers.get(provider, self.elsewhere)
        variant = next((found for name, found in self.variants.items() if name == precision), None)
        return variant.tolerance if proven is not None and variant is not None else proven

    @property
    def digest(self) -> str:
        """SHA-256 of model.onnx, as hex."""
        return self.files["model.onnx"].sha256

    @property
    def fed(self) -> bool:
        """Whether one row alone is not what the graph takes."""
        return self.feeding is not None or bool(self.state)

    @property
    def graph_inputs(self) -> tuple[TensorSpec, ...]:
        """What the graph takes: the columns, or the tensor that is made of them, then its state."""
        feeding = self.feeding
        if isinstance(feeding, Window):
            fed: tuple[TensorSpec, ...] = (
                TensorSpec(feeding.tensor, "float32", (feeding.batch, feeding.rows, len(self.inputs))),
            )
        elif isinstance(feeding, Image):
            fed = (TensorSpec(feeding.tensor, "float32", (feeding.batch, *feeding.shape)),)
        else:
            fed = self.inputs
        return (*fed, *(TensorSpec(pair.input, "float32", pair.shape) for pair in self.state))

    @property
    def graph_outputs(self) -> tuple[TensorSpec, ...]:
        """What the graph gives: the outputs, then its new state."""
        return (*self.outputs, *(TensorSpec(pair.output, "float32", pair.shape) for pair in self.state))

    @property
    def bound_inputs(self) -> tuple[str, ...]:
        """What a stream's binding may name: what is read from a message."""
        return (IMAGE_INPUT,) if isinstance(self.feeding, Image) else tuple(spec.name for spec in self.inputs)


_decoder = msgspec.json.Decoder(Manifest)


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as `release.json`: indented, keys in declared order, so equal manifests are equal bytes."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """Read `release.json` and check that it does not contradict itself.

    Raises:
        ManifestError: unreadable, of another version, or contradictory; the text names the field.
    """
    try:
        manifest = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestError(f"release.json: {error}") from error
    if not 1 <= manifest.v <= MANIFEST_VERSION:
        raise ManifestError(
            f"release.json: version {manifest.v}, and this release of Genba reads up to {MANIFEST_VERSION}"
        )
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    check_name("model", manifest.model)
    if manifest.version < 0:
        raise ManifestError(f"release.json: version is {manifest.version}; it counts from 1")
    if "model.onnx" not in manifest.files:
        raise ManifestError("release.json: files has no model.onnx")
    for precision, variant in manifest.variants.items():
        if variant.file != f"model.{precision}.onnx" or variant.file not in manifest.files:
            raise ManifestError(f"release.json: variant {precision} names {variant.file!r}, which files must list")
    for side, specs in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        names = [spec.name for spec in specs]
        if not names or len(set(names)) != len(names):
            raise ManifestError(f"release.json: {side} must be named, each once; got {names}")
    if manifest.task == "classification" and len(manifest.classes) < 2:
        raise ManifestError("release.json: a classifier names at least two classes")
    _check_contributions(manifest)
    limit_ms = manifest.latency_limit_ms
    if limit_ms is not None and not (math.isfinite(limit_ms) and limit_ms > 0):
        raise ManifestError(f"release.json: latency_limit_ms is {limit_ms}; it must be a number above 0, or absent")
    extended = manifest.fed or bool(manifest.variants)
    if extended != (manifest.v >= EXTENDED_VERSION):
        what = "with" if extended else "without"
        raise ManifestError(
            f"release.json: version {manifest.v} {what} feeding, state or variants, which are of {EXTENDED_VERSION}"
        )
    check_feeding(manifest.feeding, manifest.state, [(spec.name, spec.dtype) for spec in manifest.inputs])
    for spec in manifest.inputs:
        if spec.low is not None and spec.high is not None and not (math.isfinite(spec.low) and spec.low <= spec.high):
            raise ManifestError(f"release.json: input {spec.name!r} has the range {spec.low} to {spec.high}")


def _check_contributions(manifest: Manifest) -> None:
    told, spec = manifest.contributions, next((one for one in manifest.outputs if one.name == CONTRIBUTIONS), None)
    if told is None and spec is None:
        return
    if told is None or spec is None or manifest.fed:
        raise ManifestError(
            f"release.json: contributions and an output of that name go together, in a model of plain columns; "
            f"got {told} and {spec}"
        )
    sums = len(manifest.classes) if told.unit == "score" else 1
    if spec.dtype != "float32" or spec.shape != (None, len(manifest.inputs)) or len(told.base) != sums:
        raise ManifestError(
            f"release.json: contributions are float32 of shape [null, {len(manifest.inputs)}] with {sums} bases; "
            f"got {spec.dtype} {list(spec.shape)} with {len(told.base)}"
        )
