"""Reproduction: a release is fitted again from its lineage, and must come out with the same digest."""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from protocols.card import Card
from protocols.manifest import Manifest
from protocols.recipe import Recipe
from protocols.wishes import wishes_of
from trainer.candidate import read_candidate
from trainer.errors import CandidateError, NotReproducedError
from trainer.lineage import code_version, pins
from trainer.report import decode_report
from trainer.request import TrainRequest, wished
from trainer.search.choosing import Earlier
from trainer.tables import file_digest, read_table, table_digest
from trainer.train import refit, train


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A model that came out again. `differences` are of the surroundings, and did not matter."""

    digest: str
    differences: tuple[str, ...]


def reproduce_release(
    folder: Path, data: Path, progress: Callable[[str, float], None] = lambda text, share: None
) -> Reproduction:
    """Fit a release's recipe again on its data and compare the digests of the models.

    The search is not run again: how far it came depends on the machine, and what it found is in the recipe.

    Args:
        folder: of a release or candidate.
        data: the table that it was trained from, as a file.

    Raises:
        NotReproducedError: it came out otherwise, or could not be trained again; the text says what differs.
        CandidateError: the folder is no release.
        TableError: the data cannot be read.
    """
    manifest = read_candidate(folder)
    name = str(manifest.release) if manifest.version else f"the candidate of {manifest.model!r}"
    if not manifest.lineage.trials:
        raise NotReproducedError(name, ["it was imported, not trained; its maker alone can make it again"])
    if problem := _other_data(manifest, data):
        raise NotReproducedError(name, [problem])
    if manifest.lineage.recipe is None or not all(member.seeds for member in manifest.lineage.recipe.members):
        raise NotReproducedError(
            name, ["its lineage has no such recipe: an older Genba made it, and can make it again"]
        )
    around = _surroundings(manifest)
    with tempfile.TemporaryDirectory(prefix="genba-reproduce-") as kept:
        graph = refit(_request(manifest, data), manifest.lineage.recipe, Path(kept), progress)
    digest = hashlib.sha256(graph).hexdigest()
    if digest == manifest.digest:
        return Reproduction(digest, tuple(around))
    changed = f"model.onnx was {manifest.digest[:16]}… and is {digest[:16]}… now"
    raise NotReproducedError(name, [changed, *(around or ["nothing around it: look at the machine"])])


def choose_again(
    folder: Path,
    entry: int,
    data: Path,
    out: Path,
    progress: Callable[[str, float], None] = lambda text, share: None,
    *,
    force: bool = False,
) -> Manifest:
    """Make a candidate of another entry of a candidate's front.

    Args:
        folder: of the candidate, with its report.json.
        entry: its number, from 1.
        data: the table that it was trained from.
        out: folder of the new candidate.

    Raises:
        CandidateError: the folder is no candidate of `genba train`, or its front has no such entry.
        NotReproducedError: the data are others.
        What `train` raises.
    """
    manifest = read_candidate(folder)
    try:
        report = decode_report((folder / "report.json").read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise CandidateError(f"{folder}: report.json cannot be read: train again") from error
    recipes = report.front
    if not recipes or not all(member.seeds for recipe in recipes for member in recipe.members):
        raise CandidateError(f"{folder} has no front to choose from: it was imported, or an older Genba trained it")
    if not 1 <= entry <= len(recipes):
        raise CandidateError(f"{folder} has no entry {entry} on its front: give 1 to {len(recipes)}")
    if problem := _other_data(manifest, data):
        raise NotReproducedError(f"the candidate of {manifest.model!r}", [problem])
    request = replace(
        _request(manifest, data),
        recipe=recipes[entry - 1],
        licence=manifest.licence,
        author=manifest.author,
        latency_limit_ms=manifest.latency_limit_ms,
    )
    earlier = None if report.card is None else _with_chosen(report.card, recipes, entry)
    return train(request, out, progress, force=force, earlier=earlier)


def _with_chosen(card: Card, recipes: tuple[Recipe, ...], entry: int) -> Earlier:
    """The front of a card with another entry released; its numbers stay."""
    front = tuple(msgspec.structs.replace(one, chosen=place == entry) for place, one in enumerate(card.front, 1))
    return Earlier(front, recipes, card.interpretable)


def _request(manifest: Manifest, data: Path) -> TrainRequest:
    lineage = manifest.lineage
    return TrainRequest(
        table=data,
        target=lineage.target,
        model=manifest.model,
        task=manifest.task,
        budget_s=lineage.budget_s,
        seed=lineage.seed,
        data_name=lineage.data_name if Path(lineage.data_name).suffix == data.suffix else "",
        data_sha256=lineage.data_sha256,
        **wished(wishes_of(manifest)),
    )


def _other_data(manifest: Manifest, data: Path) -> str | None:
    """Say how the data differ; a table that came without a file is known by the digest of its values."""
    wanted = manifest.lineage.data_sha256
    table = read_table(data)
    found = file_digest(data)
    if wanted in (found, table_digest(table)):
        return None
    return (
        f"the data differ: it learned from {manifest.lineage.data_name} with SHA-256 {wanted[:16]}…, and {data.name} "
        f"has {found[:16]}… ({len(table)} rows, of which it saw {manifest.lineage.rows} labelled)"
    )


def _surroundings(manifest: Manifest) -> list[str]:
    """What is otherwise than it was then."""
    lineage = manifest.lineage
    differences = []
    if code_version() != lineage.code_version:
        differences.append(f"Genba {lineage.code_version} then, {code_version()} now")
    here = pins()
    for name in sorted({*lineage.pins, *here}):
        then, now = lineage.pins.get(name, "none"), here.get(name, "none")
        if then != now:
            differences.append(f"{name} {then} then, {now} now")
    return differences
