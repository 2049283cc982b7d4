"""Login: a browser shows the API token once and gets a signed cookie, good for reading alone."""

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for

from registry.web.access import COOKIE, open_session
from registry.web.context import context

login = Blueprint("login", __name__)


@login.get("/login")
def form() -> str:
    return render_template("login.html", target=_target(request.args.get("next")), refused=False)


@login.post("/login")
def enter() -> Response:
    target = _target(request.form.get("next"))
    label = context().catalogue.tokens.label(request.form.get("token", "").strip())
    if label is None:
        return make_response(render_template("login.html", target=target, refused=True), 403)
    response = make_response(redirect(target, 303))
    open_session(response, label)
    return response


@login.get("/logout")
def leave() -> Response:
    response = make_response(redirect(url_for("login.form"), 303))
    response.delete_cookie(COOKIE, httponly=True, samesite="Strict", secure=request.is_secure)
    return response


def _target(text: str | None) -> str:
    """A path of our own pages: a login must not lead elsewhere."""
    if not text or not text.startswith("/") or text.startswith("//") or "\\" in text or any(c < " " for c in text):
        return "/"
    return text
