"""Releases: signed, immutable versions; uploading a candidate makes one."""

import shutil
import tempfile
from pathlib import Path

from flask import Blueprint, Response, request, send_file, url_for

from protocols.errors import ManifestError
from protocols.manifest import decode_manifest
from protocols.names import ReleaseRef, check_name
from protocols.resources import RELEASE_FILES, VARIANT_FILES
from registry.blobs import Blobs
from registry.errors import CandidateRefusedError, RequestRefusedError, UnknownFileError
from registry.publication import REPORT_FILE, TEXT_LIMIT_BYTES, publish
from registry.signing.image import ImageRepository
from registry.web.context import caller, context
from registry.web.documents import ReleaseDocument, release_document
from registry.web.operations import operation

releases = Blueprint("releases", __name__, url_prefix="/api/v1/models/<model>/releases")

UPLOADED = (*RELEASE_FILES, *VARIANT_FILES, REPORT_FILE)
_MEDIA = {"release.json": "application/json"}


@releases.get("")
@operation("List a model's releases", "releases", reply=list[ReleaseDocument], errors=(404,))
def list_releases(model: str) -> list[ReleaseDocument]:
    """Newest first."""
    catalogue = context().catalogue
    champion = catalogue.models.get(model).champion
    image = ImageRepository(context().home, context().clock)
    found = catalogue.releases.list(model)
    return [release_document(release, champion, image.waits(release.ref)) for release in found]


@releases.get("/<int:version>")
@operation("Describe one release", "releases", reply=ReleaseDocument, errors=(404,))
def get_release(model: str, version: int) -> ReleaseDocument:
    """Its manifest, and who published it when."""
    catalogue = context().catalogue
    release = catalogue.releases.get(ReleaseRef(model, version))
    waits = ImageRepository(context().home, context().clock).waits(release.ref)
    return release_document(release, catalogue.models.get(model).champion, waits)


@releases.get("/<int:version>/files/<file>")
@operation("Download one file of a release", "releases", reply_media="application/octet-stream", errors=(404,))
def get_file(model: str, version: int, file: str) -> Response:
    """model.onnx, golden.npz, reference or release.json, as they were signed."""
    parts = context()
    release = parts.catalogue.releases.get(ReleaseRef(model, version))
    if file not in release.files:
        raise UnknownFileError(release.ref, file, release.files)
    sha256 = release.files[file].sha256
    response = send_file(
        Blobs(parts.home).path(sha256).resolve(),
        mimetype=_MEDIA.get(file, "application/octet-stream"),
        as_attachment=True,
        download_name=file,
        etag=sha256,
        max_age=365 * 86_400,
    )
    response.headers["Cache-Control"] = "private, max-age=31536000, immutable"
    return response


@releases.post("")
@operation(
    "Publish a candidate",
    "releases",
    body_media=("multipart/form-data",),
    reply=ReleaseDocument,
    status=201,
    errors=(413, 422),
)
def post_release(model: str) -> tuple[ReleaseDocument, dict[str, str]]:
    """One part per file: release.json, golden.npz, reference, model.onnx and, if there are any, variants of it
    and report.json.

    The registry checks digests and proof, gives the version and signs.
    """
    parts = context()
    check_name("model", model)
    request.max_content_length = parts.settings.upload_limit_bytes
    # On the same file system as the blobs, and out of reach of whoever cleans /tmp.
    folder = Path(tempfile.mkdtemp(prefix="upload-", dir=parts.home / "run"))
    try:
        _receive(folder, model)
        manifest = publish(parts.home, parts.catalogue, folder, parts.clock, published_by=caller())
    except CandidateRefusedError as error:
        raise CandidateRefusedError(f"of {model!r}", error.reason) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    document = release_document(
        parts.catalogue.releases.get(manifest.release),
        parts.catalogue.models.get(model).champion,
        ImageRepository(parts.home, parts.clock).waits(manifest.release),
    )
    place = url_for("releases.get_release", model=model, version=manifest.version)
    return document, {"Location": place}


def _receive(folder: Path, model: str) -> None:
    for part in request.files.values():
        name = part.filename or part.name or ""
        if name not in UPLOADED:
            raise RequestRefusedError(name or "part", f"is not a file of a candidate; send {', '.join(UPLOADED)}")
        part.save(folder / name)
    manifest = folder / "release.json"
    if not manifest.is_file() or manifest.stat().st_size > TEXT_LIMIT_BYTES:
        raise CandidateRefusedError("", "release.json is missing; send every file of the candidate as its own part")
    try:
        said = decode_manifest(manifest.read_bytes()).model
    except ManifestError as error:
        raise CandidateRefusedError("", str(error)) from error
    if said != model:
        raise CandidateRefusedError("", f"its release.json names the model {said!r}, and the address {model!r}")
