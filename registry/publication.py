"""Publication: a proven candidate becomes a signed, catalogued release that never changes again."""

import hashlib
import io
import mmap
from pathlib import Path

import msgspec
from filelock import FileLock

from protocols.errors import ManifestError, OnnxRefusedError, SketchError
from protocols.manifest import FileInfo, Manifest, decode_manifest, encode_manifest
from protocols.names import ReleaseRef
from protocols.onnx_file import check_onnx, read_onnx
from protocols.reference import decode_reference
from protocols.resources import RELEASE_FILES
from registry.blobs import Blobs
from registry.catalogue import Catalogue
from registry.errors import CandidateRefusedError
from registry.signing.image import ImageRepository
from registry.signing.metadata import Clock
from registry.signing.rooted import Waiting

#: A manifest, or a trainer's report, is never larger.
TEXT_LIMIT_BYTES = 8 * 1024 * 1024
REPORT_FILE = "report.json"
_LISTED = tuple(name for name in RELEASE_FILES if name != "release.json")


def publish(
    home: Path, catalogue: Catalogue, candidate: Path, clock: Clock, *, published_by: str = "registry"
) -> Manifest:
    """Check a candidate's folder, give it the model's next version, sign it and catalogue it.

    Where the release keys are offline, it is catalogued and waits for their signatures before it may be assigned.

    The first release of a model becomes its champion. At a power cut the release is there or it is not; its version
    number is then not given again.

    Returns:
        The manifest as it was signed, with its version.

    Raises:
        CandidateRefusedError: incomplete, edited after it was made, published already, or without a passed proof.
    """
    manifest = check_candidate(candidate)
    blobs = Blobs(home)
    (home / "run").mkdir(exist_ok=True)
    with FileLock(home / "run" / "publication.lock", timeout=120):
        for name, info in manifest.files.items():
            with (candidate / name).open("rb") as file:
                if blobs.put(file) != info.sha256:
                    raise CandidateRefusedError(candidate.name, f"{name} changed while it was read; publish it again")
        released = msgspec.structs.replace(manifest, version=catalogue.releases.next_version(manifest.model))
        files = {"release.json": _keep_manifest(blobs, released), **released.files}
        image = ImageRepository(home, clock)
        image.publish(released.release, files, released.profiles)
        waits = image.waits(released.release)
        with catalogue.transaction():
            catalogue.releases.add(released, published_by, _read_report(candidate))
            if catalogue.models.champion(released.model) is None:
                catalogue.models.set_champion(released.release)
            catalogue.events.record(
                "published",
                f"{released.release} was published and signed" if waits is None else _waits(released.release, waits),
                level="info" if waits is None else "warning",
                model=released.model,
                version=released.version,
                detail={"by": published_by, "digest": released.digest},
            )
    return released


def check_candidate(candidate: Path) -> Manifest:
    """Return a candidate's manifest if it may be published.

    Raises:
        CandidateRefusedError: the text names the file and what is wrong with it.
    """
    try:
        manifest = decode_manifest(_read(candidate, "release.json"))
        reference = _read(candidate, "reference")
        decode_reference(reference)
    except (ManifestError, SketchError) as error:
        raise CandidateRefusedError(candidate.name, f"{error}; make it again with `genba train`") from error
    if manifest.version:
        raise CandidateRefusedError(
            candidate.name, f"it is the release {manifest.release} already; publish a candidate (version 0)"
        )
    if not manifest.parity.passed:
        raise CandidateRefusedError(candidate.name, _unproven(manifest))
    wanted = [*_LISTED, *(variant.file for variant in manifest.variants.values())]
    if sorted(manifest.files) != sorted(wanted):
        raise CandidateRefusedError(
            candidate.name, f"release.json lists {', '.join(manifest.files)}; a release has {', '.join(wanted)}"
        )
    for name, info in manifest.files.items():
        _check_file(candidate, name, info)
    for name in manifest.files:
        if name.endswith(".onnx"):
            _check_graph(candidate, name)
    return manifest


def _waits(ref: ReleaseRef, waiting: Waiting) -> str:
    return (
        f"{ref} was published and waits for its release keys: {waiting.have} of {waiting.need} signatures; "
        f"when they are there: genba assign {ref} DEVICE"
    )


def _unproven(manifest: Manifest) -> str:
    failed = [
        f"{case.name} (largest difference {case.largest_difference:.2g}, {case.label_flips} label flips)"
        for case in manifest.parity.cases
        if not case.passed
    ]
    what = f"it failed on {', '.join(failed)}" if failed else "no case was run"
    return f"its parity certificate is not passed: {what}; without proof that ONNX computes the same, no release"


def _check_file(candidate: Path, name: str, info: FileInfo) -> None:
    path = candidate / name
    if path.is_symlink() or not path.is_file():
        raise CandidateRefusedError(candidate.name, f"{name} is missing; make the candidate again with `genba train`")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != info.sha256 or path.stat().st_size != info.size_bytes:
        raise CandidateRefusedError(
            candidate.name,
            f"{name} is not the file that release.json describes (SHA-256 {sha256[:12]}… and {info.sha256[:12]}…): "
            "it was edited or damaged; make the candidate again",
        )


def _check_graph(candidate: Path, name: str) -> None:
    """Refuse a model that no device could run; whoever made the candidate may not have used our trainer."""
    with (candidate / name).open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if file.seek(0, 2) else b""
    try:
        check_onnx(read_onnx(data))
    except OnnxRefusedError as error:
        raise CandidateRefusedError(candidate.name, f"{name}: {error}") from error


def _read(candidate: Path, name: str) -> bytes:
    path = candidate / name
    if path.is_symlink() or not path.is_file():
        raise CandidateRefusedError(
            candidate.name, f"{name} is missing; a candidate is the folder that `genba train --out` made"
        )
    if path.stat().st_size > TEXT_LIMIT_BYTES:
        raise CandidateRefusedError(candidate.name, f"{name} is larger than {TEXT_LIMIT_BYTES:,} bytes")
    return path.read_bytes()


def _read_report(candidate: Path) -> bytes | None:
    """The trainer's report travels along where it is readable; nothing depends on it."""
    path = candidate / REPORT_FILE
    if path.is_symlink() or not path.is_file() or path.stat().st_size > TEXT_LIMIT_BYTES:
        return None
    data = path.read_bytes()
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return data


def _keep_manifest(blobs: Blobs, manifest: Manifest) -> FileInfo:
    data = encode_manifest(manifest)
    return FileInfo(blobs.put(io.BytesIO(data)), len(data))
