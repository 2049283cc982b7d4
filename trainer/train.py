"""Training: a table in, a proven release candidate out."""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from protocols.card import Card
from protocols.manifest import LimitsAsked, Lineage, Manifest
from protocols.measuring import MeasureGraph
from protocols.recipe import Recipe
from trainer.assembly import Subject, assemble
from trainer.candidate import check_output, write_candidate
from trainer.card.content import sections
from trainer.card.figures import Material as Shown
from trainer.card.figures import make_card
from trainer.card.markdown import markdown
from trainer.card.page import html
from trainer.errors import RequestError
from trainer.explain.explanation import alarm_place, explain
from trainer.families import Parameters
from trainer.graph.blend import write_graph
from trainer.graph.featurizer import feature_names
from trainer.graphs import open_graph
from trainer.guardrails.rail import Guardrail
from trainer.limits import UNLIMITED, Limits
from trainer.lineage import code_version, pins
from trainer.metrics import METRIC, METRICS, Metric, metric_named
from trainer.precision.offers import VARIANT_S, offer_variants
from trainer.report import Report, TriedModel, encode_report
from trainer.request import TrainRequest, check_request
from trainer.search.boards import Boards
from trainer.search.choosing import (
    Candidates,
    Earlier,
    Fitting,
    Found,
    choose,
    fit_recipe,
    front_recipes,
    interpretable,
    readable_graph,
    shown_front,
)
from trainer.search.division import TRIAL_SHARE
from trainer.search.journal import Journal
from trainer.search.loop import Plan, Search, try_members
from trainer.search.material import save_material
from trainer.search.preparation import Prepared, prepare
from trainer.search.proving import Writer
from trainer.search.run_folder import RunFolder, kept_pace
from trainer.search.trial import Tried, open_bench
from trainer.workers import FromFolder, Nursery, Workers, open_workers, warm_up
from trainer.workers.lasting import LastingWorkers

Progress = Callable[[str, float], None]

#: Seconds of the budget for proof, explanation and writing; at most this share of it, and of it for variants.
FINISH_S, FINISH_SHARE, VARIANTS_SHARE = 4.0, 0.4, 0.3
#: Share of that which the last fits may use as well.
LATE_SHARE = 0.4
#: Seconds that an explanation gets in any case.
EXPLAIN_S = 0.3


class Stopwatch:
    """The budget's clock: seconds since the run began. Where a person wants an end, the budget ends soon after."""

    def __init__(
        self,
        budget_s: float,
        timer: Callable[[], float],
        begun: float | None = None,
        more_s: float = 0.0,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._timer, self._start = timer, timer() if begun is None else begun
        self._budget_s, self._interrupted, self._cut = budget_s, interrupted, False
        self._variants_s = min(more_s, VARIANTS_SHARE * budget_s)
        self.finish_s = min(FINISH_S, FINISH_SHARE * budget_s) + self._variants_s

    @property
    def elapsed_s(self) -> float:
        return self._timer() - self._start

    @property
    def budget_s(self) -> float:
        """Seconds from the beginning to the end; from an interrupt on, time for one last fit and its description."""
        if not self._cut and self._interrupted():
            self._budget_s, self._cut = min(self._budget_s, self.elapsed_s + 2 * self.finish_s), True
        return self._budget_s

    def fitting_left_s(self) -> float:
        """Seconds until every model should be fitted."""
        return self.budget_s - self.finish_s - self.elapsed_s

    def left_s(self) -> float:
        """Seconds until the end."""
        return self.budget_s - self.elapsed_s

    def late_s(self) -> float:
        """Seconds that fits may take longer than that: what is left is enough for a short description."""
        return LATE_SHARE * (self.finish_s - self._variants_s)

    def explaining_over(self, share: float) -> Callable[[], bool]:
        """A question that turns true when this share of the time that is left is gone, but not at once."""
        begun = self.elapsed_s
        return lambda: self.elapsed_s > begun + max(EXPLAIN_S, (self.budget_s - self._variants_s - begun) * share)


def train(
    request: TrainRequest,
    out: Path,
    progress: Progress = lambda text, share: None,
    *,
    force: bool = False,
    writer: Writer = write_graph,
    measure: MeasureGraph | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    begun: float | None = None,
    nursery: Nursery | None = None,
    earlier: Earlier | None = None,
    clock: Callable[[], float] = time.time,
    timer: Callable[[], float] = time.monotonic,
) -> Manifest:
    """Check the data, search, fit, export, prove, explain, and write the candidate folder.

    Args:
        request: what to train from, on what, for how long.
        out: folder to write; refused where it holds anything.
        progress: told what is being done and the share that is done, 0 to 1.
        force: an earlier candidate in `out` is replaced.
        writer: turns fitted parts into a graph.
        measure: has a graph measured on boards, whose figures the limits are then judged by.
        interrupted: asked whether the search is to end with what it has.
        begun: when the budget began, by `timer`; None: now.
        nursery: of the workers, where one is warm already; it is closed in the end.
        earlier: of a request with a recipe, the search that found it.
        clock: seconds since the epoch, for the manifest.
        timer: seconds that only rise, for the budget.

    Raises:
        TableError: the data cannot be used; the text says why.
        ParityError: no model's export computes what the model computes. Nothing is written.
        SearchFailedError: no model could be fitted.
        RequestError, OutputRefusedError, NameRefusedError: the request cannot be carried out.
    """
    watch = Stopwatch(request.budget_s, timer, begun, VARIANT_S * len(request.quantise), interrupted)
    progress = _rising(progress)
    check_request(request)
    check_output(out, force=force)
    with ExitStack() as open_things:
        nursery = nursery or warm_up()
        open_things.callback(nursery.close)
        progress("reading and checking the data", 0.0)
        prepared = prepare(request, pace=kept_pace(out, request))
        mine = RunFolder(out, request, prepared.digest, prepared.pace, anew=request.anew)
        folder = open_things.enter_context(mine)
        save_material(folder.table, prepared.material)
        alerts: list[Guardrail] = []
        workers = _open_workers(request, folder.table, nursery, alerts)
        open_things.callback(workers.close)
        candidates = _candidates(request, prepared, workers, folder, watch, progress, interrupted, alerts)
        boards = None if measure is None else Boards(measure, request.limits)

        def left_s() -> float:
            return watch.fitting_left_s() if request.timed or interrupted() else math.inf

        fitting = Fitting(workers, left_s, progress, writer)
        found = choose(request, prepared, candidates, fitting.sooner(-watch.late_s()), boards)
        readable = None if interrupted() else readable_graph(request, prepared, candidates, found, fitting)
        workers.close()
        guardrails = (*prepared.guardrails, *alerts)
        progress("explaining and measuring", 0.92)
        manifest, files, card = _describe(request, prepared, found, readable, earlier, watch, clock())
        asked = (request.quantise, request.variant_tolerance)
        ends = watch.left_s if request.timed else lambda: math.inf
        manifest, files, refused = offer_variants(*asked, manifest, files, prepared.cases, ends)
        trials = [_tried_model(one) for one in sorted(found.trials, key=lambda one: one.loss or 0.0)]
        report = Report.of(guardrails, trials, found.refused, manifest, round(watch.elapsed_s, 2), card)
        report = msgspec.structs.replace(
            report,
            variants=refused,
            boards=tuple(boards.figures) if boards else (),
            front=front_recipes(request, prepared, found, candidates.truth) if earlier is None else earlier.recipes,
        )
        told, title = sections(manifest, guardrails, card), f"Model card: {manifest.model}"
        cards = {"card.md": markdown(title, told), "card.html": html(title, told)}
        write_candidate(out, manifest, {**files, **cards}, encode_report(report), force=force)
    progress("done", 1.0)
    return manifest


def _rising(progress: Progress) -> Progress:
    """Tell no share that is less than one told before, as where the next model is fitted."""
    told = 0.0

    def tell(text: str, share: float) -> None:
        nonlocal told
        told = max(told, share)
        progress(text, told)

    return tell


def refit(request: TrainRequest, recipe: Recipe, folder: Path, progress: Progress) -> bytes:
    """Return the graph that a recipe gives, without a search.

    Args:
        folder: for the workers' table; empty.

    Raises:
        What `train` raises.
    """
    check_request(request)
    with ExitStack() as open_things:
        nursery = warm_up()
        open_things.callback(nursery.close)
        progress("reading and checking the data", 0.0)
        prepared = prepare(request, recipe)
        save_material(folder, prepared.material)
        workers = _open_workers(request, folder, nursery, [])
        open_things.callback(workers.close)
        return fit_recipe(prepared, recipe, Fitting(workers, None, progress)).graph


def _open_workers(request: TrainRequest, table: Path, nursery: Nursery, alerts: list[Guardrail]) -> Workers:
    """Return workers of this machine, or of a cluster for as long as there is one."""
    setup = FromFolder(open_bench, table)
    here = partial(open_workers, setup, size=request.workers, memory_bytes=request.memory_bytes)
    if request.dask is None:
        return here(nursery=nursery)

    def lost(why: str) -> None:
        done = "the run went on with the cores of this machine"
        alerts.append(Guardrail("cluster", "alerted", (why,), done, "leave out --dask"))

    cluster = open_workers(setup, memory_bytes=request.memory_bytes, dask=request.dask, insecure=request.dask_insecure)
    return LastingWorkers(cluster, partial(here, nursery=nursery), lost)


def _candidates(
    request: TrainRequest,
    prepared: Prepared,
    workers: Workers,
    folder: RunFolder,
    watch: Stopwatch,
    progress: Progress,
    interrupted: Callable[[], bool],
    alerts: list[Guardrail],
) -> Candidates:
    """Search, or try what a recipe names."""
    material = prepared.material
    truth = np.concatenate([np.asarray(material.target[validate]) for _, validate in material.folds])
    metric = _metric(request, prepared)
    if request.recipe is not None:
        progress("trying the members of the recipe", 0.1)
        members = request.recipe.members
        tried = try_members(workers, members, metric)
        return Candidates(tried, truth, metric, members)
    spent, search_s = folder.spent_s, request.budget_s - watch.finish_s

    def left_s() -> float:
        folder.spend(spent + watch.elapsed_s)
        # A run that goes on has at least a fifth of the time for itself.
        return watch.fitting_left_s() - min(spent, 0.8 * search_s)

    plan = Plan(
        left_s if request.timed else None,
        search_s,
        request.trials,
        prepared.division.fits,
        TRIAL_SHARE * request.budget_s,
        request.limits,
        request.prefer,
        interrupted,
    )
    journal = Journal(folder.journal, request.seed, plan.guiding)
    if journal.finished:
        seen = f"{len(journal.finished)} trials of this request were there from an earlier run"
        alerts.append(Guardrail("resumed", "done", (seen,), "went on from them", "--anew"))

    def told(text: str, share: float) -> None:
        progress(text, 0.05 + 0.7 * share)

    search = Search(workers, journal, material.shape, truth, metric, plan, told)
    return Candidates(search.run(), truth, metric)


def _metric(request: TrainRequest, prepared: Prepared) -> Metric:
    """Return what the search is to make good. Raises RequestError where it, or a cost, does not fit the task."""
    target = prepared.checked.target
    costs, of = request.costs, f"a {target.task} of {target.name!r}"
    if costs is not None and len(target.classes) != 2:
        raise RequestError(f"costs of false alarms and misses need two classes, and this is {of}: leave them out")
    if costs is not None and costs.positive is not None and costs.positive not in target.classes:
        raise RequestError(f"--positive {costs.positive!r} is no class: give one of {', '.join(target.classes)}")
    metric = metric_named(request.metric or METRIC[target.task])
    if metric.task != target.task:
        fitting = ", ".join(one.name for one in METRICS.values() if one.task == target.task)
        raise RequestError(f"--metric {metric.name} does not measure {of}: give one of {fitting}")
    return metric


def _describe(
    request: TrainRequest,
    prepared: Prepared,
    found: Found,
    readable: bytes | None,
    earlier: Earlier | None,
    watch: Stopwatch,
    now: float,
) -> tuple[Manifest, dict[str, bytes], Card]:
    """Explain and measure the graph."""
    checked, division = prepared.checked, prepared.division
    session = open_graph(found.proven.graph)
    place = alarm_place(found.proven.recipe, checked.target.classes)
    explained = explain(
        session, checked.features, division.held_out, division.learn, watch.explaining_over(0.5), alarm=place
    )
    subject = Subject(
        request.model,
        found.proven.graph,
        checked.features,
        checked.target,
        division.held_out,
        prepared.cases,
        found.proven.certificate,
        _lineage(request, prepared, found),
        explained.importance,
        licence=request.licence,
        author=request.author,
        latency_limit_ms=request.latency_limit_ms,
        output=found.selected.held_out,
        contributions=found.proven.contributions,
    )
    manifest, files = assemble(subject, now)
    shown = Shown(
        session,
        checked.features,
        checked.target,
        division.learn,
        division.held_out,
        explained,
        output=found.selected.held_out,
        answers=found.selected.answers(checked.target),
        interpretable=interpretable(found) if earlier is None else earlier.interpretable,
        loss_name=found.metric.loss_name,
        front=shown_front(found) if earlier is None else earlier.front,
        fairness=prepared.fairness,
        interpretable_session=None if readable is None else open_graph(readable),
        place=place,
    )
    return manifest, files, make_card(shown, watch.explaining_over(0.9))


def _tried_model(tried: Tried) -> TriedModel:
    return TriedModel(tried.loss or 0.0, {"family": tried.family, **tried.parameters})


def _lineage(request: TrainRequest, prepared: Prepared, found: Found) -> Lineage:
    recipe = found.proven.recipe
    first = recipe.members[0]
    alone: Parameters = {"family": first.family, **first.parameters}
    several: Parameters = {"family": found.choice.name} | {
        f"{place + 1}: {member.family}": member.weight for place, member in enumerate(recipe.members)
    }
    return Lineage(
        data_sha256=prepared.digest,
        data_name=prepared.name,
        rows=len(prepared.checked.target.values),
        columns=tuple(feature_names(prepared.checked.features)),
        target=request.target,
        code_version=code_version(),
        pins=pins(),
        seed=request.seed,
        budget_s=request.budget_s,
        trials=len(found.trials),
        parameters=alone if len(recipe.members) == 1 else several,
        cut_short=len(recipe.members) < len(found.choice.members),
        parent=request.parent,
        keep=request.keep,
        drop=request.drop,
        group=request.group,
        validate=request.validate,
        trials_asked=request.trials,
        metric_asked=request.metric,
        fairness=request.fairness,
        limits_asked=_limits_asked(request.limits),
        prefer_asked=request.prefer,
        quantise_asked=request.quantise,
        recipe=recipe,
    )


def _limits_asked(limits: Limits) -> LimitsAsked | None:
    if limits == UNLIMITED:
        return None
    return LimitsAsked(limits.latency_ms, limits.size_bytes, limits.memory_bytes)
