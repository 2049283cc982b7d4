"""What the registry says of itself: its health, and its API."""

from typing import Any

from flask import Blueprint, current_app

from registry.web.context import context
from registry.web.documents import Health
from registry.web.openapi import document
from registry.web.operations import operation
from registry.web.version import genba_version

meta = Blueprint("meta", __name__)


@meta.get("/healthz")
@operation("Whether the registry can serve", "registry", reply=Health, needs_token=False)
def health() -> Health:
    context().catalogue.devices.names()
    return Health("ok", genba_version())


@meta.get("/openapi.json")
@operation("This document", "registry", reply=dict[str, Any])
def openapi() -> dict[str, Any]:
    return document(current_app, genba_version())
