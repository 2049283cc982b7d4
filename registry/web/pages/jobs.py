"""The jobs: running, waiting, done and failed."""

from flask import Blueprint, render_template

from registry.web.context import context

jobs = Blueprint("job_pages", __name__, url_prefix="/jobs")


@jobs.get("")
def page() -> str:
    return render_template("jobs.html", jobs=context().catalogue.jobs.list(limit=100))
