"""What is asked of an import: the model, its sample, and for models that take more than one row how they are fed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from protocols.feeding import Colours, Resize
from protocols.manifest import Precision
from trainer.errors import ImportRefusedError

if TYPE_CHECKING:
    import pandas as pd

    from trainer.columns import Column

#: Rows of a sample that are enough for ranges, golden vectors and a proof.
MIN_SAMPLE_ROWS = 20
#: Endings of files that hold no code, whatever is in them.
_NO_CODE = (".onnx", ".txt", ".lgb", ".json", ".ubj", ".cbm")

#: How a graph's tensor lies: N rows or images of a batch, T rows of a window, C columns or channels.
Layout = Literal["NTC", "NCT", "TNC", "NCHW", "NHWC"]


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """How an image becomes what the graph takes; see `protocols.feeding.Image`."""

    height: int
    width: int
    colours: Colours = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    resize: Resize = "stretch"


@dataclass(frozen=True, slots=True)
class FeedingRequest:
    """How a graph is fed that takes more than one row.

    Attributes:
        window: rows of a window; None: one.
        image: None where the sample is a table.
        state: (input, output) pairs of the graph.
        classes: what the graph's numbers are the probabilities of, in their order.
        layout: of the graph's tensor, where its shape does not tell.
    """

    window: int | None = None
    image: ImageRequest | None = None
    state: tuple[tuple[str, str], ...] = ()
    classes: tuple[str, ...] = ()
    layout: Layout | None = None


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """One model to take in.

    Attributes:
        file: a model's file or folder; `trainer.foreign.kinds` says which are taken.
        sample: rows as the model will see them, a path or a table, at least 20; of an image model a folder of images.
        model: name of the model, as topics carry it.
        target: column of the sample with the true values, if it has one; the model is measured on them.
        trusted: a file that holds code may be loaded, which runs it.
        feeding: how it is fed, where its graph takes more than one row.
        cpu_features: that a device's processor must have.
        variants: the same model in less precision, as files; taken in where they are close enough.
        quantise: precisions that variants are made in here.
        variant_tolerance: how far their outputs may lie from the model's, in the output's unit; None: by precision.
    """

    file: Path
    sample: "pd.DataFrame | Path | str"
    model: str
    target: str | None = None
    trusted: bool = False
    licence: str | None = None
    author: str | None = None
    latency_limit_ms: float | None = None
    feeding: FeedingRequest = field(default_factory=FeedingRequest)
    cpu_features: tuple[str, ...] = ()
    variants: Mapping[Precision, Path] = field(default_factory=dict)
    quantise: tuple[Precision, ...] = ()
    variant_tolerance: float | None = None

    @property
    def fed(self) -> bool:
        """Whether its graph takes more than one row."""
        return self.feeding != FeedingRequest()

    @property
    def may_run_code(self) -> bool:
        """Whether loading the file may run code of whoever made it: it is trusted, and of a kind that can hold some."""
        return self.trusted and self.file.suffix.lower() not in _NO_CODE


def check_sample(request: ImportRequest) -> None:
    """Refuse a folder where a table is needed, and options of an image that no image could have.

    Raises:
        ImportRefusedError: the text names the option.
    """
    image = request.feeding.image
    if image is None:
        if isinstance(request.sample, Path | str) and Path(request.sample).is_dir():
            raise ImportRefusedError(
                f"--sample {request.sample} is a folder: for a model that takes images say their size with --image "
                "HxW; else give a table's file"
            )
        return
    channels = 1 if image.colours == "L" else 3
    for option, values in (("--mean", image.mean), ("--deviation", image.deviation)):
        if values and len(values) != channels:
            raise ImportRefusedError(
                f"{option} has {len(values)} numbers, and an image in {image.colours} has {channels} "
                f"channel{'s' * (channels > 1)}: give one for each"
            )
    for option, values in (("--scale", (image.scale,)), ("--deviation", image.deviation)):
        if any(value <= 0 for value in values):
            raise ImportRefusedError(f"{option} {','.join(f'{value:g}' for value in values)}: it must be above 0")


def check_numbers(column: "Column", series: "pd.Series") -> None:
    """Refuse text among a sample's numbers.

    Raises:
        ImportRefusedError: there is some; the text names row, column and value.
    """
    if column.kind != "number" or not column.mixed:
        return
    from trainer.columns import first_text

    row, text = first_text(series)
    more = f" ({column.mixed - 1} more like it)" if column.mixed > 1 else ""
    raise ImportRefusedError(
        f"row {row + 1} of the sample has {text[:40]!r} in column {column.name!r}{more}, and the model takes a number "
        "there: mend the row, or leave the cell empty where the value is missing"
    )
