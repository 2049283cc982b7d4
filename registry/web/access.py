"""Access: who may read and who may change.

A change needs an API token in its `Authorization` header; the cookie of a login never suffices, so no other site can
make a browser change anything. Reads are free for programs and browsers on this machine where the registry listens on
this machine alone, and need the token or the cookie everywhere else.
"""

import hashlib
from urllib.parse import urlsplit

from flask import Flask, Response, g, redirect, request, url_for
from itsdangerous import BadSignature, URLSafeTimedSerializer

from registry.addresses import is_loopback
from registry.errors import NotAuthorisedError
from registry.web.context import context
from registry.web.operations import Operation

COOKIE = "genba-session"
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")
_READS = ("GET", "HEAD", "OPTIONS")


def install(app: Flask) -> None:
    """Check every request of this application before its view sees it."""

    @app.before_request
    def check() -> Response | None:
        described: Operation | None = getattr(app.view_functions.get(request.endpoint or ""), "operation", None)
        if request.endpoint in ("static", "login.form", "login.enter") or (
            described is not None and described.needs_token is False
        ):
            return None
        g.caller = _bearer() or (request.method in _READS and session_label()) or None
        if g.caller is not None:
            return None
        if request.method in _READS and _asked_from_here():
            g.caller = "this machine"
            return None
        if request.path.startswith("/api/") or request.path == "/openapi.json" or request.method not in _READS:
            raise NotAuthorisedError(f"{request.method} {request.path} needs the API token")
        answer = redirect(url_for("login.form", next=request.full_path.rstrip("?")))
        return Response(answer.get_data(), answer.status_code, dict(answer.headers))


def _asked_from_here() -> bool:
    """A foreign Host header means a rebound name or a proxy: then whoever asks may be anywhere."""
    host = urlsplit(f"//{request.host}").hostname or ""
    return context().loopback and is_loopback(host) and not any(name in request.headers for name in _FORWARDED)


def _bearer() -> str | None:
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, secret = header.partition(" ")
    label = context().catalogue.tokens.label(secret.strip()) if scheme.lower() == "bearer" else None
    if label is None:
        raise NotAuthorisedError("the API token is wrong")
    return label


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(context().session_key, salt=COOKIE, signer_kwargs={"digest_method": hashlib.sha256})


def open_session(response: Response, label: str) -> None:
    """Let a browser read the pages as whoever holds this token, until the session runs out."""
    response.set_cookie(
        COOKIE,
        _serializer().dumps(label),
        max_age=int(context().settings.session_s),
        httponly=True,
        samesite="Strict",
        secure=request.is_secure,
    )


def session_label() -> str | None:
    """Return whose login the request's cookie proves, or None."""
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        return None
    try:
        return str(_serializer().loads(cookie, max_age=int(context().settings.session_s)))
    except BadSignature:
        return None
