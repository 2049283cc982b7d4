"""What a release needs of a file, looked at before anything is written."""

from collections.abc import Sequence
from pathlib import Path

from edge_agent.errors import ScoreError
from edge_agent.scoring.cells import is_readable
from edge_agent.scoring.image_folder import SUFFIXES, ImageFolder
from edge_agent.scoring.results import prediction_fields
from edge_agent.scoring.sources import Source
from edge_agent.session_plan import Provider
from protocols.feeding import Image
from protocols.manifest import Manifest


def named(manifest: Manifest) -> str:
    """Return how a person calls the release."""
    return str(manifest.release) if manifest.version else f"the candidate {manifest.model!r}"


def faults_beside(out: Path) -> Path:
    """Return where bad rows go unless another place is named."""
    return out.with_name(f"{out.name}.errors.jsonl")


def check_places(source: Path, out: Path, faults: Path, summary: Path | None = None) -> None:
    """Check that what is written is not what is read, nor written twice, and that its folders are there.

    Raises:
        ScoreError: the text names the option.
    """
    taken = {source.resolve(): "the input"}
    for option, path, what in (
        ("--out", out, "the result"),
        ("--errors", faults, "the file of bad rows"),
        ("--summary", summary, "the summary"),
    ):
        if path is None:
            continue
        try:
            _check_place(option, path)
        except OSError as error:
            raise ScoreError(f"{option} {path}: {error.strerror}") from error
        place = path.resolve()
        if place in taken:
            raise ScoreError(f"{option} {path} is {taken[place]}; give another file")
        if source.resolve() in place.parents and place.suffix.lower() in SUFFIXES:
            raise ScoreError(f"{option} {path} is one of the input's images; give another file")
        unfinished = (".part", ".part.checkpoint", ".part.checkpoint.new", ".part-journal")
        taken |= {place: what} | {place.with_name(place.name + suffix): f"{what}, unfinished" for suffix in unfinished}


def _check_place(option: str, path: Path) -> None:
    """Folders are their owner's to make: a wrong one is a slip of the pen."""
    folder = path.parent
    if not folder.is_dir():
        found = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        if not found.is_dir():
            raise ScoreError(f"{option} {path}: {found} is a file, not a folder; give another place")
        raise ScoreError(f"{option} {path}: there is no folder {folder}; make it first (mkdir -p {folder})")
    if path.is_dir():
        raise ScoreError(f"{option} {path} is a folder; give a file")
    if path.exists() and not path.is_file():
        raise ScoreError(f"{option} {path} is no file that could be replaced; give another")


def proven_providers(manifest: Manifest) -> list[Provider]:
    """Return the providers of this ONNX Runtime that the release is proven on."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    proven: list[Provider] = [name for name in available if name in manifest.providers]
    if not proven:
        raise ScoreError(
            f"{named(manifest)} is proven on {', '.join(manifest.providers)}, and the ONNX Runtime here has "
            f"{', '.join(available)}; install a build that has one of them"
        )
    return proven


def checked_columns(
    source: Path, opened: Source, manifest: Manifest, keep: Sequence[str] | None, *, contributions: bool = False
) -> list[str]:
    """Return the columns to copy, once the model finds the columns that it needs.

    Raises:
        ScoreError: a column is missing, of a wrong type, or its name is taken; the text names it. Or the model tells no
            contributions.
    """
    if contributions and manifest.contributions is None:
        raise ScoreError(
            f"--contributions: {named(manifest)} is no sum over its inputs, so its graph does not tell what each of "
            "them adds; `genba explain` samples it"
        )
    names = opened.names
    listed = ", ".join(map(repr, names))
    pictured = isinstance(manifest.feeding, Image)
    if pictured != isinstance(opened, ImageFolder):
        needs = "images: give a folder of them" if pictured else "a table: give a file of one"
        raise ScoreError(f"{source}: {named(manifest)} takes {needs}")
    absent = [spec.name for spec in manifest.inputs if spec.name not in names and not pictured]
    if absent:
        columns = f"column{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))}"
        raise ScoreError(f"{source} lacks the {columns} that {named(manifest)} needs; it has {listed}")
    unknown = [name for name in keep or () if name not in names]
    if unknown:
        raise ScoreError(f"--keep {unknown[0]!r}: {source} has no such column; it has {listed}")
    kept = list(dict.fromkeys(keep if keep is not None else names))
    made = {field.name for field in prediction_fields(manifest, contributions=contributions)}
    clash = [name for name in kept if name in made]
    if clash:
        raise ScoreError(f"{source} has a column {clash[0]!r} already; name the columns to copy with --keep")
    _check_types(source, opened, manifest)
    return kept


def _check_types(source: Path, opened: Source, manifest: Manifest) -> None:
    if opened.notation != "typed" or isinstance(opened, ImageFolder):
        return
    types = opened.types([spec.name for spec in manifest.inputs])
    for spec in manifest.inputs:
        kind = types.field(spec.name).type
        if not is_readable(kind, spec):
            wanted = "text" if spec.dtype == "string" else "numbers"
            raise ScoreError(f"{source}: the column {spec.name!r} is of type {kind}; {named(manifest)} needs {wanted}")
