"""Training: a table in, a proven release candidate out."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from protocols.card import Card
from protocols.manifest import Lineage, Manifest
from trainer.assembly import Subject, assemble
from trainer.candidate import check_output, write_candidate
from trainer.card.content import sections
from trainer.card.figures import Material, make_card
from trainer.card.markdown import markdown
from trainer.card.page import html
from trainer.cases import make_cases
from trainer.explanation import explain
from trainer.export import export_pipeline
from trainer.featurizer import feature_names, to_frame
from trainer.fitting import one_thread
from trainer.graphs import open_graph
from trainer.guardrails.check import CheckedTable, Wishes, check_table
from trainer.guardrails.rail import Guardrail
from trainer.lineage import code_version, pins
from trainer.proving import Exporter, Proven, prove_best
from trainer.report import Report, encode_report
from trainer.request import TrainRequest, check_request
from trainer.search import Folds, Limits, Outcome, row_limit, search
from trainer.splitting import Layout, divide, draw
from trainer.tables import check_shape, file_digest, read_table, table_digest

Progress = Callable[[str, float], None]

#: Seconds kept from the budget for fit, export, proof and explanation; at most half of it.
RESERVE_S = 4.0
#: Share of the search's time that the plan fills nominally; the rest is room for slow and busy machines.
PLAN_SHARE = 0.4
#: Share of the budget that one fit may cost nominally; beyond it fewer rows are learned from.
FIT_SHARE = 0.1


class Stopwatch:
    """The budget's clock: seconds since the run began."""

    def __init__(self, budget_s: float, timer: Callable[[], float]) -> None:
        self._timer, self._start = timer, timer()
        self.budget_s = budget_s
        self.search_s = budget_s - min(RESERVE_S, budget_s / 2)

    @property
    def elapsed_s(self) -> float:
        return self._timer() - self._start

    def search_over(self) -> bool:
        return self.elapsed_s > self.search_s

    def explaining_over(self) -> Callable[[], bool]:
        """A question that turns true at the end of the budget, but not within the next second."""
        end = max(self.budget_s, self.elapsed_s + 1.0)
        return lambda: self.elapsed_s > end


def train(
    request: TrainRequest,
    out: Path,
    progress: Progress = lambda text, share: None,
    *,
    force: bool = False,
    exporter: Exporter = export_pipeline,
    clock: Callable[[], float] = time.time,
    timer: Callable[[], float] = time.monotonic,
) -> Manifest:
    """Check the data, search, fit, export, prove, explain, and write the candidate folder.

    Args:
        request: what to train from, on what, for how long.
        out: folder to write; refused where it holds anything.
        progress: told what is being done and the share that is done, 0 to 1.
        force: an earlier candidate in `out` is replaced.
        exporter: turns a fitted pipeline into a graph.
        clock: seconds since the epoch, for the manifest.
        timer: seconds that only rise, for the budget.

    Raises:
        TableError: the data cannot be used; the text says why.
        ParityError: no model's export computes what the model computes. Nothing is written.
        RequestError, OutputRefusedError, NameRefusedError: the request cannot be carried out.
    """
    watch = Stopwatch(request.budget_s, timer)
    check_request(request)
    check_output(out, force=force)
    progress("reading and checking the data", 0.0)
    table, name, digest = _load(request)
    wishes = Wishes(request.keep, request.drop, request.group, request.validate)
    checked = check_table(table, request.target, request.task, wishes)
    with one_thread():
        learn, held_out, guardrails = _split(checked, request)
        outcome = _search(checked, learn, request, progress, watch)
        progress("fitting, exporting and proving the best model", 0.8)
        cases = make_cases(checked.features, held_out)
        proven = prove_best(checked, learn, outcome.contenders(), request.seed, cases, exporter)
        progress("explaining", 0.9)
        session = open_graph(proven.graph)
        explained = explain(session, checked.features, held_out, learn, watch.explaining_over())
        progress("measuring", 0.95)
        subject = Subject(
            request.model,
            proven.graph,
            checked.features,
            checked.target,
            held_out,
            cases,
            proven.certificate,
            _lineage(request, checked, name, digest, outcome, proven),
            explained.importance,
            licence=request.licence,
            author=request.author,
            latency_limit_ms=request.latency_limit_ms,
        )
        manifest, files = assemble(subject, clock())
        material = Material(session, checked.features, checked.target, learn, held_out, explained)
        card = make_card(material, watch.explaining_over())
    report = Report.of(guardrails, outcome.trials, proven.refused, manifest, round(watch.elapsed_s, 2), card)
    cards = _cards(manifest, guardrails, card)
    write_candidate(out, manifest, {**files, **cards}, encode_report(report), force=force)
    progress("done", 1.0)
    return manifest


def _load(request: TrainRequest) -> tuple[pd.DataFrame, str, str]:
    """Return the table, what to call it, and its digest."""
    if isinstance(request.table, pd.DataFrame):
        table = check_shape(request.table, request.data_name or "the table")
        return table, request.data_name or "table", request.data_sha256 or table_digest(table)
    table = read_table(request.table, name=_file_name(request))
    return table, request.data_name or Path(request.table).name, request.data_sha256 or file_digest(request.table)


def _file_name(request: TrainRequest) -> str | None:
    """A blob's path ends in its digest: the data's name then says what kind of file it is."""
    return request.data_name if request.data_name and not Path(str(request.table)).suffix else None


def _split(
    checked: CheckedTable, request: TrainRequest
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], tuple[Guardrail, ...]]:
    """Return the rows to learn from, the rows held out, and the guardrails, with one for the budget if it binds."""
    learn, held_out = divide(checked, request.seed)
    allowance_s = FIT_SHARE * request.budget_s
    limit = row_limit(len(learn), len(checked.features), max(len(checked.target.classes), 1), allowance_s)
    if limit == len(learn):
        return learn, held_out, checked.guardrails
    seen = f"{len(learn)} rows to learn from are too many for a budget of {request.budget_s:g} s"
    newest = checked.ordered and checked.target.task == "regression"
    done = f"learned from {limit} of them, " + ("the newest" if newest else "drawn by the seed")
    override = f"--budget {math.ceil(request.budget_s * len(learn) / limit)}s"
    rail = Guardrail("budget", "alerted", (seen,), done, override)
    return draw(learn, checked, limit, request.seed), held_out, (*checked.guardrails, rail)


def _search(
    checked: CheckedTable, learn: np.ndarray[Any, Any], request: TrainRequest, progress: Progress, watch: Stopwatch
) -> Outcome:
    layout = Layout(checked.target.task, None if checked.groups is None else checked.groups[learn], checked.ordered)
    rows = Folds(to_frame(checked.features, learn), checked.target.values[learn], layout, request.seed)
    limits = Limits(PLAN_SHARE * watch.search_s, request.trials, watch.search_over)
    return search(rows, limits, request.seed, lambda text, share: progress(text, 0.05 + 0.75 * share))


def _cards(manifest: Manifest, guardrails: Sequence[Guardrail], card: Card) -> dict[str, bytes]:
    """The model card in its two forms, for people; the figures themselves are in the report."""
    told, title = sections(manifest, guardrails, card), f"Model card: {manifest.model}"
    return {"card.md": markdown(title, told), "card.html": html(title, told)}


def _lineage(
    request: TrainRequest, checked: CheckedTable, name: str, digest: str, outcome: Outcome, proven: Proven
) -> Lineage:
    return Lineage(
        data_sha256=digest,
        data_name=name,
        rows=len(checked.target.values),
        columns=tuple(feature_names(checked.features)),
        target=request.target,
        code_version=code_version(),
        pins=pins(),
        seed=request.seed,
        budget_s=request.budget_s,
        trials=len(outcome.trials),
        parameters=proven.trial.parameters,
        cut_short=outcome.cut_short,
        parent=request.parent,
        keep=request.keep,
        drop=request.drop,
        group=request.group,
        validate=request.validate,
        trials_asked=request.trials,
    )
