"""The pages: server-rendered, read-only, without a script."""

from flask import Blueprint

from registry.web.pages.devices import devices
from registry.web.pages.jobs import jobs
from registry.web.pages.login import login
from registry.web.pages.models import models
from registry.web.pages.overview import overview

__all__ = ["PAGE_BLUEPRINTS"]

PAGE_BLUEPRINTS: tuple[Blueprint, ...] = (overview, models, devices, jobs, login)
