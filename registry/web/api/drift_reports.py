"""Drift reports: how far a model's inputs have moved from its training data."""

from flask import Blueprint

from registry.monitoring.reports import DriftReport
from registry.web.context import context
from registry.web.operations import operation, query_int

drift_reports = Blueprint("drift_reports", __name__, url_prefix="/api/v1/models/<model>/drift-reports")


@drift_reports.get("")
@operation(
    "List a model's drift reports",
    "drift reports",
    reply=list[DriftReport],
    query={"limit": (int, "how many, 1 to 1000; 100 by default")},
    errors=(404,),
)
def list_reports(model: str) -> list[DriftReport]:
    """Newest first, over all of the model's releases."""
    catalogue = context().catalogue
    catalogue.models.get(model)
    return catalogue.drift.list(model, query_int("limit", 100, 1, 1000))
