"""The two repositories, read by the reference TUF client through a fetcher that serves from this registry's home."""

import hashlib
from pathlib import Path

import pytest
from simulators.home_fetcher import Clock, HomeFetcher
from tuf.api.exceptions import BadVersionNumberError, UnsignedMetadataError
from tuf.ngclient import Updater, UpdaterConfig

from protocols.assignment import AssignedRelease, Assignment, decode_assignment
from protocols.manifest import FileInfo
from protocols.names import ReleaseRef
from protocols.resources import ASSIGNMENT_TARGET, metadata_url, target_path, targets_url
from registry.blobs import Blobs
from registry.delivery import Source
from registry.errors import NotInitialisedError, ReleaseExistsError, ResourceMissingError
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository
from registry.signing.keys import ROLES, create_keys

REF = ReleaseRef("press", 1)
MODEL = b"not really a graph, but bytes are bytes"
INFO = FileInfo(hashlib.sha256(MODEL).hexdigest(), len(MODEL))
DAY_S = 86_400.0


@pytest.fixture
def directed(home: Path, clock: Clock) -> Path:
    """A home with one release signed, and directed to device-a."""
    with (home / "model").open("wb") as file:
        file.write(MODEL)
    with (home / "model").open("rb") as file:
        assert Blobs(home).put(file) == INFO.sha256
    ImageRepository(home, clock).publish(REF, {"model.onnx": INFO})
    assignment = Assignment("device-a", 1, (AssignedRelease("press", 1),))
    DirectorRepository(home, clock).direct(assignment, {target_path(REF, "model.onnx"): INFO}, "x86")
    return home


def updater(home: Path, folder: Path, clock: Clock, repository: str, device: str = "device-a") -> Updater:
    root = ImageRepository(home, clock).root if repository == "image" else DirectorRepository(home, clock).root
    metadata = folder / repository
    metadata.mkdir(parents=True, exist_ok=True)
    return Updater(
        str(metadata),
        metadata_url(repository),  # type: ignore[arg-type]
        str(folder),
        targets_url(repository),  # type: ignore[arg-type]
        HomeFetcher(Source(home, clock), device),
        UpdaterConfig(),
        bootstrap=root,
    )


def test_a_release_reaches_the_device_that_it_is_directed_to(directed: Path, tmp_path: Path, clock: Clock) -> None:
    director = updater(directed, tmp_path / "device", clock, "director")
    image = updater(directed, tmp_path / "device", clock, "image")
    told = director.get_targetinfo(ASSIGNMENT_TARGET)
    assert told is not None
    assignment = decode_assignment(Path(director.download_target(told)).read_bytes())
    assert assignment.releases == (AssignedRelease("press", 1),)
    info = image.get_targetinfo(target_path(REF, "model.onnx"))
    assert info is not None
    assert Path(image.download_target(info)).read_bytes() == MODEL


def test_another_device_may_not_read_the_release_or_the_assignment(directed: Path, clock: Clock) -> None:
    source = Source(directed, clock)
    image_target = f"{targets_url('image')}press/1/{INFO.sha256}.model.onnx"
    assert source.open("device-a", image_target).size == len(MODEL)
    for resource in (image_target, "director/metadata/timestamp.json"):
        with pytest.raises(ResourceMissingError):
            source.open("device-b", resource)


@pytest.mark.parametrize(
    "resource",
    [
        "image/metadata/../../keys/image-root.pem",
        "director/metadata/../x.json",
        "keys/image-root.pem",
        "image/targets/a",
    ],
)
def test_a_name_outside_the_resources_is_missing(directed: Path, clock: Clock, resource: str) -> None:
    with pytest.raises(ResourceMissingError):
        Source(directed, clock).open("device-a", resource)


def test_a_release_is_signed_once_and_never_again(directed: Path, clock: Clock) -> None:
    with pytest.raises(ReleaseExistsError):
        ImageRepository(directed, clock).publish(REF, {"model.onnx": FileInfo("0" * 64, 3)})


def test_older_director_metadata_is_refused(directed: Path, tmp_path: Path, clock: Clock) -> None:
    folder = directed / "director" / "devices" / "device-a" / "metadata"
    old = (folder / "timestamp.json").read_bytes()
    DirectorRepository(directed, clock).direct(Assignment("device-a", 2), {}, "x86")
    updater(directed, tmp_path / "device", clock, "director").refresh()
    (folder / "timestamp.json").write_bytes(old)
    with pytest.raises(BadVersionNumberError):
        updater(directed, tmp_path / "device", clock, "director").refresh()


def test_metadata_signed_by_another_registry_is_refused(
    directed: Path, tmp_path: Path, clock: Clock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    create_keys(other)
    DirectorRepository(other, clock).create()
    DirectorRepository(other, clock).direct(Assignment("device-a", 9), {}, "x86")
    for path in (other / "director" / "devices" / "device-a" / "metadata").iterdir():
        (directed / "director" / "devices" / "device-a" / "metadata" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UnsignedMetadataError):
        updater(directed, tmp_path / "device", clock, "director").refresh()


def test_a_live_registry_never_serves_expired_metadata(directed: Path, tmp_path: Path, clock: Clock) -> None:
    before = ImageRepository(directed, clock).metadata("timestamp.json")
    clock.now += 6 * DAY_S
    after = ImageRepository(directed, clock).metadata("timestamp.json")
    assert before != after
    assert DirectorRepository(directed, clock).metadata("device-a", "timestamp.json") is not None
    updater(directed, tmp_path / "device", clock, "image").refresh()
    updater(directed, tmp_path / "device", clock, "director").refresh()


def test_keys_are_readable_by_their_owner_alone(home: Path) -> None:
    assert (home / "keys").stat().st_mode & 0o777 == 0o700
    assert {path.name for path in (home / "keys").iterdir()} == {f"{role}.pem" for role in ROLES}
    assert {path.stat().st_mode & 0o777 for path in (home / "keys").iterdir()} == {0o600}


def test_keys_stay_when_made_again(home: Path) -> None:
    before = {path.name: path.read_bytes() for path in (home / "keys").iterdir()}
    create_keys(home)
    assert before == {path.name: path.read_bytes() for path in (home / "keys").iterdir()}


def test_a_home_without_keys_says_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(NotInitialisedError, match="genba registry init"):
        ImageRepository(tmp_path)
