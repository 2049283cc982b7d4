"""Jobs: long work in the background."""

import msgspec
from flask import Blueprint, url_for

from protocols.names import check_name
from protocols.wishes import TrainingWishes
from registry.catalogue.jobs import Job
from registry.errors import RequestRefusedError
from registry.promotion import release_waiting
from registry.web.context import caller, context
from registry.web.documents import JobBody, JobReply
from registry.web.operations import operation, query_int

jobs = Blueprint("jobs", __name__, url_prefix="/api/v1/jobs")


@jobs.get("")
@operation(
    "List the newest jobs",
    "jobs",
    reply=list[Job],
    query={"limit": (int, "how many, 1 to 1000; 100 by default")},
)
def list_jobs() -> list[Job]:
    """Newest first."""
    return context().catalogue.jobs.list(limit=query_int("limit", 100, 1, 1000))


@jobs.get("/<int:job>")
@operation("Describe one job", "jobs", reply=Job, errors=(404,))
def get_job(job: int) -> Job:
    return context().catalogue.jobs.get(job)


@jobs.post("")
@operation("Queue a training", "jobs", body=JobBody, reply=JobReply, status=202, errors=(404,))
def post_job(body: JobBody) -> tuple[JobReply, dict[str, str]]:
    """A training takes a dataset and publishes what it makes; a retraining challenges the model's champion."""
    parameters = _training(body) if body.kind == "train" else _retraining(body)
    number = context().catalogue.jobs.add(body.kind, parameters, f"asked for by {caller()}")
    return JobReply(number), {"Location": url_for("jobs.get_job", job=number)}


@jobs.post("/<int:job>/release")
@operation("Release the candidate that a retraining left", "jobs", reply=Job, errors=(404, 409, 422))
def post_release(job: int) -> Job:
    """For a policy without `auto_release`: publishes it, makes it the champion and, with `auto_assign`, assigns it."""
    parts = context()
    release_waiting(parts.home, parts.catalogue, job, parts.clock, caller())
    return parts.catalogue.jobs.get(job)


def _training(body: JobBody) -> dict[str, object]:
    check_name("model", body.model)
    if body.dataset is None or not body.target:
        missing = "dataset" if body.dataset is None else "target"
        raise RequestRefusedError(missing, "is missing; a training needs it (POST /api/v1/datasets gives the dataset)")
    if body.target in body.drop:
        raise RequestRefusedError("drop", f"names {body.target!r}, which is the target")
    context().catalogue.datasets.describe(body.dataset)
    return {
        "model": body.model,
        "dataset": body.dataset,
        "target": body.target,
        "task": body.task,
        "budget_s": body.budget_s,
        "seed": body.seed,
        "wishes": msgspec.to_builtins(wishes(body)),
    }


def wishes(body: JobBody) -> TrainingWishes:
    """Return what is wished of the training alone.

    Raises:
        RequestRefusedError: a cost lacks the other, or a column is both kept and dropped.
    """
    found = TrainingWishes(**{name: getattr(body, name) for name in TrainingWishes.__struct_fields__})
    for column in found.keep:
        if column in found.drop:
            raise RequestRefusedError("drop", f"names {column!r}, and so does keep; name it in one of them")
    given = found.false_alarm_cost, found.miss_cost
    if (None in given) and (given, found.positive) != ((None, None), None):
        missing = "false_alarm_cost" if found.false_alarm_cost is None else "miss_cost"
        both = "false_alarm_cost and miss_cost belong together, and positive to both"
        raise RequestRefusedError(missing, f"is missing; {both}")
    return found


def _retraining(body: JobBody) -> dict[str, object]:
    asked, none = wishes(body), TrainingWishes()
    if asked != none:
        named = next(name for name in none.__struct_fields__ if getattr(asked, name) != getattr(none, name))
        raise RequestRefusedError(named, "is not for a retraining, which keeps what its champion's user wished")
    model = context().catalogue.models.get(body.model)
    return {"model": model.name, "budget_s": body.budget_s, "seed": body.seed}
