"""The fleet at a glance."""

from flask import Blueprint, render_template

from registry.signing.ceremony import trust_state
from registry.web.context import context
from registry.web.pages.fleet import device_rows, model_row

overview = Blueprint("overview", __name__)

SHOWN_DEVICES = 50
SHOWN_EVENTS = 15


@overview.get("/")
def page() -> str:
    catalogue = context().catalogue
    devices = device_rows(catalogue, context().clock())
    models = [model_row(catalogue, model) for model in catalogue.models.list()]
    return render_template(
        "overview.html",
        models=models,
        # What needs a person comes first.
        devices=sorted(devices, key=lambda row: (not row.refused, row.online, row.device.name))[:SHOWN_DEVICES],
        device_count=len(devices),
        online_count=sum(row.online for row in devices),
        jobs=[*catalogue.jobs.list(state="running"), *catalogue.jobs.list(state="waiting")],
        events=catalogue.events.list(limit=SHOWN_EVENTS),
        home=context().home,
        warnings=trust_state(context().home, context().clock).warnings,
    )
