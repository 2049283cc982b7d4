"""Problems: how each error looks over HTTP, in one table.

Source: RFC 9457, "Problem Details for HTTP APIs".
"""

import logging
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException

from protocols.errors import GenbaError, ManifestError, MessageRefusedError, NameRefusedError, PathRefusedError
from registry import errors

log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """application/problem+json. `detail` is one line for a person: what, where, and the way out."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    instance: str = ""
    field: str | None = None


class Shape(NamedTuple):
    """How one kind of error looks: status and a short title that never varies."""

    status: HTTPStatus
    title: str


#: From the most to the least specific: the first class that matches counts.
TABLE: dict[type[GenbaError], Shape] = {
    errors.TooLargeError: Shape(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Too large"),
    errors.NotAuthorisedError: Shape(HTTPStatus.UNAUTHORIZED, "API token needed"),
    errors.UnknownDeviceError: Shape(HTTPStatus.NOT_FOUND, "Unknown device"),
    errors.NoDeviceSelectedError: Shape(HTTPStatus.NOT_FOUND, "No device selected"),
    errors.DeviceEnrolledError: Shape(HTTPStatus.CONFLICT, "Device is enrolled"),
    errors.UnknownModelError: Shape(HTTPStatus.NOT_FOUND, "Unknown model"),
    errors.UnknownReleaseError: Shape(HTTPStatus.NOT_FOUND, "Unknown release"),
    errors.UnknownFileError: Shape(HTTPStatus.NOT_FOUND, "Unknown file"),
    errors.UnknownJobError: Shape(HTTPStatus.NOT_FOUND, "Unknown job"),
    errors.NothingWaitsError: Shape(HTTPStatus.CONFLICT, "Nothing waits"),
    errors.UnknownMeasurementError: Shape(HTTPStatus.NOT_FOUND, "Unknown measurement"),
    errors.MeasurementRefusedError: Shape(HTTPStatus.UNPROCESSABLE_ENTITY, "Measurement refused"),
    errors.UnknownDatasetError: Shape(HTTPStatus.NOT_FOUND, "Unknown dataset"),
    errors.AssignmentRefusedError: Shape(HTTPStatus.UNPROCESSABLE_ENTITY, "Assignment refused"),
    errors.RequestRefusedError: Shape(HTTPStatus.BAD_REQUEST, "Request refused"),
    errors.CandidateRefusedError: Shape(HTTPStatus.UNPROCESSABLE_ENTITY, "Candidate refused"),
    errors.ReleaseExistsError: Shape(HTTPStatus.CONFLICT, "Release exists"),
    errors.TokenRefusedError: Shape(HTTPStatus.FORBIDDEN, "Enrolment token refused"),
    errors.RenewalRefusedError: Shape(HTTPStatus.FORBIDDEN, "Renewal refused"),
    errors.CertificateRefusedError: Shape(HTTPStatus.BAD_REQUEST, "Certificate request refused"),
    errors.ReturnRefusedError: Shape(HTTPStatus.UNPROCESSABLE_ENTITY, "Return refused"),
    errors.SignatureRefusedError: Shape(HTTPStatus.UNAUTHORIZED, "Signature refused"),
    errors.ResourceMissingError: Shape(HTTPStatus.NOT_FOUND, "Resource missing"),
    errors.ResourceNotReadyError: Shape(HTTPStatus.SERVICE_UNAVAILABLE, "Resource not ready"),
    errors.ResourceGoneError: Shape(HTTPStatus.GONE, "Resource gone"),
    errors.CallerError: Shape(HTTPStatus.BAD_REQUEST, "Request refused"),
    errors.CeremonyRefusedError: Shape(HTTPStatus.CONFLICT, "Ceremony refused"),
    errors.OperatorError: Shape(HTTPStatus.SERVICE_UNAVAILABLE, "The registry needs its operator"),
    NameRefusedError: Shape(HTTPStatus.BAD_REQUEST, "Name refused"),
    MessageRefusedError: Shape(HTTPStatus.BAD_REQUEST, "Request refused"),
    PathRefusedError: Shape(HTTPStatus.BAD_REQUEST, "JSON path refused"),
    ManifestError: Shape(HTTPStatus.UNPROCESSABLE_ENTITY, "Manifest refused"),
    GenbaError: Shape(HTTPStatus.INTERNAL_SERVER_ERROR, "The registry failed"),
}


def problem_of(error: GenbaError) -> Problem:
    """Return how an error looks over HTTP."""
    kind = next(kind for kind in TABLE if isinstance(error, kind))
    shape = TABLE[kind]
    slug = shape.title.lower().replace(" ", "-")
    return Problem(
        shape.title, shape.status.value, str(error), f"urn:genba:problem:{slug}", field=getattr(error, "field", None)
    )


def install(app: Flask) -> None:
    """Answer every error of this application as a problem: JSON under /api, a page elsewhere."""

    @app.errorhandler(GenbaError)
    def genba_error(error: GenbaError) -> Response:
        found = problem_of(error)
        if found.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, errors.ResourceNotReadyError):
            log.error("%s %s: %s", request.method, request.path, error)
        return _answer(found)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        response = error.get_response()
        if response.status_code < HTTPStatus.BAD_REQUEST:  # a redirect is an HTTPException too
            return Response(response.get_data(), response.status_code, dict(response.headers))
        status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
        answer = _answer(Problem(status.phrase, status.value, _detail(status, error)))
        if "Allow" in response.headers:
            answer.headers["Allow"] = response.headers["Allow"]
        return answer

    @app.errorhandler(Exception)
    def fault(error: Exception) -> Response:
        log.exception("fault while answering %s %s", request.method, request.path)
        detail = "a fault in the registry; its log says more"
        return _answer(Problem("The registry failed", HTTPStatus.INTERNAL_SERVER_ERROR.value, detail))


def _detail(status: HTTPStatus, error: HTTPException) -> str:
    if status is HTTPStatus.NOT_FOUND:
        return f"there is nothing at {request.path}; GET /openapi.json lists what there is"
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{request.method} is not possible at {request.path}; GET /openapi.json lists what is"
    if status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return f"the body is larger than the {request.max_content_length or 0:,} bytes that are allowed here"
    return (error.description or status.phrase).splitlines()[0]


def _answer(problem: Problem) -> Response:
    problem = msgspec.structs.replace(problem, instance=request.path)
    headers: dict[str, Any] = {}
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="genba"'
    if request.path.startswith("/api/") or request.path in ("/openapi.json", "/healthz"):
        return Response(msgspec.json.encode(problem), problem.status, headers, content_type=PROBLEM_JSON)
    return Response(render_template("problem.html", problem=problem), problem.status, headers, mimetype="text/html")
