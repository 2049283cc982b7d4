"""Names of the things that travel in blocks: TUF metadata and release files.

A resource is a relative path, the same over MQTT, HTTP and a directory on a stick:
`image/metadata/2.root.json`, `image/targets/ccpp/3/<sha256>.model.onnx`, `director/metadata/timestamp.json`,
`image/patches/ccpp/3/<sha256 of what the device has>.<sha256>.model.onnx`.
The director's part is the asking device's own: no resource names a device.
"""

from typing import Literal

from protocols.errors import NameRefusedError
from protocols.names import ReleaseRef, check_name

Repository = Literal["image", "director"]
Kind = Literal["metadata", "targets", "patches"]

#: The files of a release, in the order in which a device fetches them.
RELEASE_FILES = ("release.json", "golden.npz", "reference", "model.onnx")
#: The same model in less precision, as far as a release has any.
VARIANT_FILES = ("model.float16.onnx", "model.int8.onnx")
#: The one target that only the director has: what this device should run and how.
ASSIGNMENT_TARGET = "assignment.json"


def metadata_url(repository: Repository) -> str:
    return f"{repository}/metadata/"


def targets_url(repository: Repository) -> str:
    return f"{repository}/targets/"


def target_path(release: ReleaseRef, file: str) -> str:
    """The TUF target path of one file of a release: `ccpp/3/model.onnx`."""
    return f"{release.model}/{release.version}/{file}"


def parse_target_path(path: str) -> tuple[ReleaseRef, str]:
    """Return the release and file that a TUF target path names.

    Raises:
        ValueError: it is not the path of a release's file.
    """
    levels = path.split("/")
    if len(levels) != 3 or not levels[1].isdigit():
        raise ValueError(f"{path!r} is not model/version/file")
    check_name("model", levels[0])
    return ReleaseRef(levels[0], int(levels[1])), levels[2]


def release_of(resource: str) -> ReleaseRef | None:
    """Return the release that a resource is a part of, or None where it is metadata or no resource."""
    parsed = parse_resource(resource)
    if parsed is None or parsed[1] == "metadata":
        return None
    try:
        return parse_target_path(parsed[2])[0]
    except (ValueError, NameRefusedError):
        return None


def parse_resource(resource: str) -> tuple[Repository, Kind, str] | None:
    """Return (repository, kind, rest) of a resource name, or None if it is not one (`..` never is)."""
    repository, _, rest = resource.partition("/")
    kind, _, name = rest.partition("/")
    parts = name.split("/")
    if not name or any(part in ("", ".", "..") for part in parts) or "\\" in name or "\x00" in name:
        return None
    if repository == "image" and kind == "metadata":
        return "image", "metadata", name
    if repository == "image" and kind == "targets":
        return "image", "targets", name
    if repository == "image" and kind == "patches":
        return "image", "patches", name
    if repository == "director" and kind == "metadata":
        return "director", "metadata", name
    if repository == "director" and kind == "targets":
        return "director", "targets", name
    return None
