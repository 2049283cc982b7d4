"""The REST API: one module and one blueprint per noun, all under /api/v1."""

from flask import Blueprint

from registry.web.api.assignments import assignments
from registry.web.api.bundles import bundles
from registry.web.api.datasets import datasets
from registry.web.api.delivery import delivery
from registry.web.api.devices import devices
from registry.web.api.drift_reports import drift_reports
from registry.web.api.enrolment import enrolment
from registry.web.api.events import events
from registry.web.api.jobs import jobs
from registry.web.api.measurements import measurements
from registry.web.api.meta import meta
from registry.web.api.models import models
from registry.web.api.policies import policies
from registry.web.api.releases import releases
from registry.web.api.returns import returns
from registry.web.api.rows import rows
from registry.web.api.signatures import signatures
from registry.web.api.telemetry import telemetry
from registry.web.api.trust import trust

__all__ = ["API_BLUEPRINTS"]

API_BLUEPRINTS: tuple[Blueprint, ...] = (
    meta,
    enrolment,
    devices,
    delivery,
    telemetry,
    assignments,
    models,
    releases,
    signatures,
    bundles,
    returns,
    policies,
    rows,
    drift_reports,
    datasets,
    measurements,
    jobs,
    events,
    trust,
)
