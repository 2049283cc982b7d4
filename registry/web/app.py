"""The application factory: the one place where the web process is put together."""

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from flask import Flask, Response, request

from registry.addresses import is_loopback
from registry.catalogue import Catalogue
from registry.settings import read_settings
from registry.web import access, problems, words
from registry.web.api import API_BLUEPRINTS
from registry.web.context import EXTENSION, Context
from registry.web.operations import BODY_LIMIT_BYTES
from registry.web.pages import PAGE_BLUEPRINTS

#: Nothing from elsewhere is loaded, nothing runs, and no other site may frame the pages.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'none'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
EMBEDDED_BROKER = "mqtt://127.0.0.1:1883"


def create_app(
    home: Path,
    *,
    clock: Callable[[], float] = time.time,
    broker_url: str | None = None,
    host: str = "127.0.0.1",
) -> Flask:
    """Build the application that serves one registry's home.

    Args:
        clock: seconds since the epoch.
        broker_url: what devices are told at enrolment; by default what registry.toml says.
        host: the address that the server listens on; beyond this machine, reading needs the API token too.

    Raises:
        NotInitialisedError: there is no registry in `home`.
    """
    app = Flask(__name__)
    settings = read_settings(home)
    app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT_BYTES
    app.url_map.strict_slashes = False
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.extensions[EXTENSION] = Context(
        home=home,
        catalogue=Catalogue.open(home, clock),
        clock=clock,
        settings=settings,
        broker_url=broker_url or settings.broker_url or EMBEDDED_BROKER,
        loopback=is_loopback(host),
        session_key=_session_key(home),
    )
    for blueprint in (*API_BLUEPRINTS, *PAGE_BLUEPRINTS):
        app.register_blueprint(blueprint)
    access.install(app)
    problems.install(app)
    words.install(app)
    app.after_request(_harden)
    return app


def _harden(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def _session_key(home: Path) -> bytes:
    """Return the key that signs logins; made when first needed, readable by the owner alone."""
    path = home / "keys" / "session.key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
    return path.read_bytes()
