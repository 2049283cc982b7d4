"""One model: its drift, its releases; one release: its manifest."""

from collections.abc import Sequence
from typing import Any

import msgspec
from flask import Blueprint, render_template

from protocols.manifest import ParityCertificate
from protocols.names import ReleaseRef
from registry.catalogue.jobs import Job
from registry.monitoring.reports import DriftReport
from registry.signing.image import ImageRepository
from registry.web.card import card_view
from registry.web.context import context
from registry.web.pages.fleet import bars, model_row
from registry.web.plot import drift_plot
from registry.web.shifts import shifts

models = Blueprint("model_pages", __name__, url_prefix="/models")

SHOWN_REPORTS = 200
SHOWN_TRIALS = 8


@models.get("/<model>")
def page(model: str) -> str:
    catalogue = context().catalogue
    row = model_row(catalogue, catalogue.models.get(model))
    policy = catalogue.policies.get(model)
    reports = catalogue.drift.list(model, SHOWN_REPORTS)
    newest = reports[0] if reports else None
    jobs = catalogue.jobs.list(model=model, limit=5)
    return render_template(
        "model.html",
        row=row,
        policy=policy,
        labelled_rows=catalogue.rows.count(model),
        releases=catalogue.releases.list(model),
        largest=_largest,
        bars=bars(row.champion.manifest.importance) if row.champion else [],
        newest=newest,
        features=sorted(newest.features, key=lambda one: (not one.drifted, -(one.psi or 0.0))) if newest else [],
        shifts=shifts(catalogue, newest) if newest else {},
        plot=drift_plot(model, reports, policy.psi_threshold),
        streak=_streak([report.drifted for report in reports if row.report and report.version == row.report.version]),
        before=_drifted_before(reports),
        telemetry=catalogue.telemetry.totals(model),
        jobs=jobs,
        measured=_measured(row.champion.version, jobs) if row.champion else None,
        challenger=next((job for job in jobs if job.kind == "retrain" and job.state in ("running", "waiting")), None),
        events=catalogue.events.list(model=model, limit=15),
    )


@models.get("/<model>/releases/<int:version>")
def release(model: str, version: int) -> str:
    catalogue = context().catalogue
    found = catalogue.releases.get(ReleaseRef(model, version))
    report = _trainer_report(found.report)
    return render_template(
        "release.html",
        release=found,
        manifest=found.manifest,
        champion=catalogue.models.get(model).champion == version,
        waits=ImageRepository(context().home, context().clock).waits(found.ref),
        bars=bars(found.manifest.importance, 40),
        report=report,
        view=card_view(report),
        running=[
            assignment.device
            for assignment in catalogue.assignments.running(model)
            if any(held.ref == found.ref for held in assignment.releases)
        ],
    )


class Measured(msgspec.Struct, frozen=True):
    """What the newest comparison on labelled rows said of the champion."""

    value: float
    rows: int
    job: int
    at: float


def _measured(champion: int, jobs: Sequence[Job]) -> Measured | None:
    """Return the champion's error on the newest labelled rows, from the last retraining that compared.

    Args:
        jobs: of this model, newest first. A champion that another has replaced since is not this one.
    """
    done = next((job for job in jobs if job.kind == "retrain" and job.state == "done" and job.result), None)
    if done is None or done.result is None or done.finished_at is None:
        return None
    result = done.result
    released = str(result.get("release") or "").rpartition("@")[2]
    if released not in ("", str(champion)):
        return None
    value = result.get("challenger" if released else "champion")
    return Measured(value, result["holdout_rows"], done.id, done.finished_at) if isinstance(value, float) else None


def _largest(parity: ParityCertificate) -> float:
    return max((case.largest_difference for case in parity.cases), default=0.0)


def _streak(drifted: list[bool]) -> int:
    """How many reports in a row have drifted, counted from the newest (first)."""
    return next((index for index, one in enumerate(drifted) if not one), len(drifted))


def _drifted_before(reports: Sequence[DriftReport]) -> DriftReport | None:
    """Return the last report of the release before the one that runs now, if it had drifted.

    Args:
        reports: newest first.
    """
    earlier = [report for report in reports if report.version != reports[0].version]
    return earlier[0] if earlier and earlier[0].drifted else None


def _trainer_report(data: bytes | None) -> dict[str, Any]:
    """The trainer's own report is shown where it has the known form; nothing depends on it."""
    try:
        return msgspec.convert(msgspec.json.decode(data or b"{}"), dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return {}
