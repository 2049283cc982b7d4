"""From a recipe to a proven graph: fit, write, compare."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from protocols.manifest import Contributions, ParityCertificate
from protocols.recipe import Decision, Recipe
from trainer.cases import Case
from trainer.families import FAMILIES
from trainer.graph.blend import Blend, Part, with_contributions, write_graph
from trainer.graph.encoded import Array
from trainer.graph.featurizer import feature_names
from trainer.graphs import open_graph
from trainer.guardrails.check import CheckedTable
from trainer.parity import Decider, certify, check_certificate, tolerance_for
from trainer.search.final_fit import fit_members
from trainer.search.material import Material, final_rows
from trainer.workers import Workers

#: Writes the graph of a blend; another one stands in for a converter that is broken.
Writer = Callable[..., bytes]


@dataclass(frozen=True, slots=True)
class Proven:
    """A graph that computes what the fitted models compute, the recipe that it was made by, and what its output
    `contributions` is, where it has one."""

    recipe: Recipe
    graph: bytes
    certificate: ParityCertificate
    contributions: Contributions | None = None


def fit_and_prove(
    checked: CheckedTable,
    material: Material,
    cases: Sequence[Case],
    recipe: Recipe,
    workers: Workers,
    left_s: Callable[[], float] | None,
    progress: Callable[[int, int], None],
    writer: Writer = write_graph,
) -> Proven:
    """Fit a recipe's members on all rows, write the graph and compare it with them on every case.

    Raises:
        ParityError, ExportError: the graph is not what was fitted.
        SearchFailedError: nothing could be fitted.
    """
    fitted = fit_members(workers, recipe.members, left_s, progress)
    total = sum(one.member.weight for one in fitted)
    members = tuple(
        msgspec.structs.replace(one.member, weight=float(f"{one.member.weight / total:.6g}")) for one in fitted
    )
    parts = tuple(
        Part(member.weight, FAMILIES[member.family].matrix, one.piece, one.answers)
        for member, one in zip(members, fitted, strict=True)
    )
    featurizers = {kind: final_rows(material, kind)[0] for kind in dict.fromkeys(part.kind for part in parts)}
    plain = Blend(parts, recipe.temperature, recipe.decision)
    made = (checked.features, material.rows, featurizers, checked.target)
    blend = with_contributions(plain, *made)
    graph = writer(blend, *made)
    certificate = _certify(checked, blend, graph, cases)
    told = None if blend.live is None else blend.live.told
    return Proven(msgspec.structs.replace(recipe, members=members), graph, certificate, told)


def _certify(checked: CheckedTable, blend: Blend, graph: bytes, cases: Sequence[Case]) -> ParityCertificate:
    places = {case.name: place for place, case in enumerate(cases)}
    certificate = certify(
        lambda case: blend.answers(places[case.name]),
        open_graph(graph),
        feature_names(checked.features),
        cases,
        tolerance_for(checked.target.task, checked.target.values),
        checked.target.classes,
        decide=_decider(blend.decision, checked.target.classes),
    )
    check_certificate(certificate)
    return certificate


def _decider(decision: Decision | None, classes: Sequence[str]) -> Decider | None:
    if decision is None:
        return None
    positive = classes.index(decision.positive)

    def decide(probabilities: Array) -> tuple[Array, Array]:
        above = probabilities[:, positive] - decision.threshold
        return np.where(above >= 0, positive, 1 - positive), np.abs(above)

    return decide
