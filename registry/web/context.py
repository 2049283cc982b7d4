"""What every request needs: the registry's parts, built once by the application factory."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from flask import current_app, g

from registry.catalogue import Catalogue
from registry.settings import Settings

EXTENSION = "genba"


@dataclass(frozen=True, slots=True)
class Context:
    """`loopback`: the server listens on this machine alone. `broker_url` is what devices are told at enrolment."""

    home: Path
    catalogue: Catalogue
    clock: Callable[[], float]
    settings: Settings
    broker_url: str
    loopback: bool
    session_key: bytes


def context() -> Context:
    """Return the parts of the application that serves the current request."""
    return cast(Context, current_app.extensions[EXTENSION])


def caller() -> str:
    """Return the label of the token that authorised the current request: whom a change is put down to."""
    return str(g.get("caller", "anonymous"))
