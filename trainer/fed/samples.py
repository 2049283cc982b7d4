"""Samples of models that take windows, images or state: a table's rows in their order, or a folder of images."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image as Pictures

from protocols.errors import ImageRefusedError
from protocols.feeding import FIGURES, Image
from protocols.images import figures, read_pixels, to_tensor
from protocols.manifest import Tolerance
from trainer.columns import Column, type_column
from trainer.errors import ImportRefusedError, MissingColumnError
from trainer.foreign.float_pitfalls import float_rail
from trainer.guardrails.rail import Guardrail
from trainer.import_request import MIN_SAMPLE_ROWS, ImportRequest, check_numbers
from trainer.tables import file_digest, read_table

Array = np.ndarray[Any, Any]

ENDINGS = (".jpg", ".jpeg", ".png")
#: Images that are enough, and that are looked at: evenly spread over the folder, since each takes milliseconds.
MIN_IMAGES, MOST_IMAGES = 10, 200
#: Windows and rows that are looked at, from the beginning: a state's past cannot be left out.
MOST_WINDOWS = 2000
#: A golden image's file is at most so large; a larger one is made smaller first.
GOLDEN_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class FedSample:
    """What a model was given to be proven on.

    Attributes:
        rows: what the graph takes, less state: one tensor, or one (rows, 1) array a column.
        features: what monitoring follows, of every row of the sample.
        truth: true values of `rows`, numbers or texts; None where there are none.
        files: of images, in the order of `rows`.
        count: rows or images of the whole sample.
        rails: what was seen in it.
    """

    rows: tuple[Array, ...]
    features: tuple[Column, ...]
    truth: "pd.Series | None"
    name: str
    sha256: str
    count: int
    files: tuple[Path, ...] = ()
    labels: tuple[str, ...] = ()
    rails: tuple[Guardrail, ...] = ()


def read_rows(request: ImportRequest) -> tuple[FedSample, Array]:
    """Read a table of numbers in the order of time; return the sample without `rows`, and the matrix.

    Raises:
        ImportRefusedError: a column or a cell is no number, or there are too few rows.
        TableError: it cannot be read.
    """
    table = request.sample if isinstance(request.sample, pd.DataFrame) else read_table(request.sample)
    if request.target is not None and request.target not in table.columns:
        raise MissingColumnError("target", request.target, table.columns)
    names = [name for name in table.columns if name != request.target]
    features = tuple(type_column(name, table[name]) for name in names)
    text = next((column for column in features if column.kind != "number"), None)
    if text is not None:
        raise ImportRefusedError(
            f"column {text.name!r} of the sample holds {text.kind} values, and windows and state are of numbers: give "
            "--sample a table of the model's columns, in their order (and --target)"
        )
    for column in features:
        check_numbers(column, table[column.name])
    needed = MIN_SAMPLE_ROWS + (request.feeding.window or 1) - 1
    if len(table) < needed:
        raise ImportRefusedError(
            f"the sample has {len(table)} rows; at least {needed} are needed, in the order of time"
        )
    path = None if isinstance(request.sample, pd.DataFrame) else Path(request.sample)
    sample = FedSample(
        (), features, table[request.target] if request.target is not None else None,
        path.name if path else "table", file_digest(path) if path else "", len(table),
        rails=(float_rail(table, features, None, Tolerance(0.0, 0.0)),),
    )  # fmt: skip
    return sample, np.column_stack([column.values for column in features]).astype(np.float32)


def read_images(request: ImportRequest, image: Image) -> FedSample:
    """Read a folder of images; the folders that they lie in, if there are several, are their classes.

    Raises:
        ImportRefusedError: it is no folder, has too few images, or one of them cannot be decoded; the text names it.
    """
    folder = Path(request.sample) if not isinstance(request.sample, pd.DataFrame) else None
    if folder is None or not folder.is_dir():
        given = str(folder) if folder is not None else "a table"
        raise ImportRefusedError(f"the sample is {given}; an image model's is a folder of JPEG and PNG files")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if len(files) < MIN_IMAGES:
        raise ImportRefusedError(f"{folder} holds {len(files)} JPEG or PNG files; at least {MIN_IMAGES} are needed")
    picked = [files[place] for place in np.unique(np.linspace(0, len(files) - 1, MOST_IMAGES).astype(int))]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    pixels = [_pixels(path, image) for path in picked]
    followed = np.array([figures(one, image) for one in pixels], dtype=np.float32)
    features = tuple(Column(name, "number", followed[:, place]) for place, name in enumerate(FIGURES))
    parents = [path.parent.name for path in picked]
    labelled = all(path.parent != folder for path in picked) and len(set(parents)) > 1
    return FedSample(
        (to_tensor(np.stack(pixels), image),), features, pd.Series(parents) if labelled else None,
        folder.name, digest.hexdigest(), len(files), tuple(picked), tuple(sorted(set(parents))) if labelled else (),
    )  # fmt: skip


def golden_file(path: Path, image: Image) -> bytes:
    """Return an image as it travels with a release: the file itself, or where that is large a smaller one."""
    data = path.read_bytes()
    if len(data) <= GOLDEN_FILE_BYTES:
        return data
    with Pictures.open(path) as picture:
        form = "JPEG" if picture.format == "JPEG" else "PNG"
        smaller = picture.convert("RGB")
    smaller.thumbnail((2 * image.width, 2 * image.height))
    file = io.BytesIO()
    smaller.save(file, form)
    return file.getvalue()


def _pixels(path: Path, image: Image) -> Array:
    try:
        return read_pixels(path.read_bytes(), image)
    except ImageRefusedError as error:
        raise ImportRefusedError(f"{path}: {error}; take it out of the sample") from error
