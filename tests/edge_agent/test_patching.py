"""Releases by patch, from the registry's own store to the agent's: what travels, and what happens when it fails."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from simulators.registry_side import SignedReleases
from simulators.small_models import write_release
from tuf.api.exceptions import DownloadHTTPError

from edge_agent.errors import ResourceFinalError, TransferError
from edge_agent.fetchers import ResumingFetcher
from edge_agent.patching import Patching
from edge_agent.releases import ReleaseStore
from edge_agent.signed_metadata import PinnedRoots
from edge_agent.verification import Verifier
from protocols.names import ReleaseRef
from registry.delivery import Source
from registry.errors import ResourceMissingError, ResourceNotReadyError

ONE, TWO = ReleaseRef("large", 1), ReleaseRef("large", 2)
OTHER = ReleaseRef("other", 1)
DEVICE = "press-1"
BEFORE = random.Random(1).randbytes(400_000)
AFTER = BEFORE[:100_000] + b"another" + BEFORE[100_000:]


class Direct:
    """Downloads straight from the registry's source; `spoil` may change what travels."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.source, self._folder = Source(home), folder
        self.travelled: dict[str, int] = {}
        self.spoil: Callable[[str, bytes], bytes] = lambda resource, data: data
        folder.mkdir()

    def fetch(self, resource: str, limit_bytes: int) -> Path:
        deadline = time.monotonic() + 20
        while True:
            try:
                found = self.source.open(DEVICE, resource)
                break
            except ResourceMissingError as error:
                raise ResourceFinalError(resource, 404, str(error)) from error
            except ResourceNotReadyError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        if found.size > limit_bytes:
            raise TransferError(resource, "too large")
        data = self.spoil(resource, found.read(0, found.size))
        self.travelled[resource] = len(data)
        (self._folder / "file").write_bytes(data)
        return self._folder / "file"

    def forget(self, resource: str) -> None:
        (self._folder / "file").unlink(missing_ok=True)

    def of(self, kind: str) -> list[int]:
        return [size for name, size in self.travelled.items() if name.startswith(f"image/{kind}/large/2/")]


class World:
    """A device that has release 1, and is to run release 2."""

    def __init__(self, folder: Path, budget_bytes: int = 2**26, after: bytes = AFTER) -> None:
        self.signed = SignedReleases(folder / "registry")
        for ref, model in ((ONE, BEFORE), (TWO, after)):
            self.write(folder / str(ref), ref, model)
            self.signed.publish(ref, folder / str(ref))
        self.downloads = Direct(folder / "registry", folder / "partial")
        self.patching = Patching(budget_bytes)
        self.store = ReleaseStore(folder / "releases")
        roots = PinnedRoots(self.signed.image.root, self.signed.director.root)
        fetcher = ResumingFetcher(self.downloads)
        self.verifier = Verifier(
            folder / "metadata", roots, fetcher, device=DEVICE, profile="x86", patching=self.patching
        )
        self.signed.assign(DEVICE, ONE)
        self.verifier.fetch(ONE, self.store)
        self.signed.assign(DEVICE, TWO)

    def write(self, folder: Path, ref: ReleaseRef, model: bytes) -> None:
        import msgspec
        from simulators.small_models import file_info

        from protocols.manifest import encode_manifest

        manifest = write_release(folder, name=ref.model, version=ref.version)
        (folder / "model.onnx").write_bytes(model)
        files = {**manifest.files, "model.onnx": file_info(folder / "model.onnx")}
        (folder / "release.json").write_bytes(encode_manifest(msgspec.structs.replace(manifest, files=files)))

    def update(self) -> bytes:
        self.verifier.fetch(TWO, self.store)
        return (self.store.path(TWO) / "model.onnx").read_bytes()


def test_what_changed_travels_in_place_of_the_file(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.update() == AFTER
    assert world.patching.counts == {"patched": 1}
    assert len(world.downloads.of("patches")) == 1
    assert world.downloads.of("patches")[0] < 1000
    assert max(world.downloads.of("targets")) < 100_000
    made = list((tmp_path / "registry" / "patches").glob("[0-9a-f]*"))
    assert len(made) == 1


def test_where_a_patch_saves_nothing_the_file_travels_whole(tmp_path: Path) -> None:
    after = random.Random(9).randbytes(400_000)
    world = World(tmp_path, after=after)
    assert world.update() == after
    assert world.patching.counts == {"none": 1}
    assert max(world.downloads.of("targets")) == 400_000


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: bytes([*data[:40], data[40] ^ 4, *data[41:]]), lambda data: b"?"]
)
def test_a_patch_that_fails_gives_way_to_the_whole_file(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    world = World(tmp_path)
    world.downloads.spoil = lambda resource, data: damage(data) if "/patches/" in resource else data
    assert world.update() == AFTER
    assert world.patching.counts == {"failed": 1}
    assert sorted(path.name for path in world.store.path(TWO).iterdir()) == [
        "golden.npz", "model.onnx", "reference", "release.json",
    ]  # fmt: skip


def test_a_base_that_was_damaged_on_disk_is_no_harm(tmp_path: Path) -> None:
    world = World(tmp_path)
    (world.store.path(ONE) / "model.onnx").write_bytes(BEFORE[::-1])
    assert world.update() == AFTER
    assert world.patching.counts == {"failed": 1}


@pytest.mark.parametrize("gone", ["model.onnx", "release.json"])
def test_a_base_that_is_gone_is_no_harm(tmp_path: Path, gone: str) -> None:
    world = World(tmp_path)
    (world.store.path(ONE) / gone).unlink()
    assert world.update() == AFTER
    assert "patched" not in world.patching.counts


@pytest.mark.parametrize("budget", [0, 500_000])
def test_no_patch_is_asked_for_that_would_take_too_much_memory(tmp_path: Path, budget: int) -> None:
    world = World(tmp_path, budget_bytes=budget)
    assert world.update() == AFTER
    assert world.patching.counts == {}
    assert world.downloads.of("patches") == []


def test_a_device_gets_no_patch_towards_what_it_is_not_to_run(tmp_path: Path) -> None:
    world = World(tmp_path)
    fetcher = ResumingFetcher(world.downloads)
    resource = f"image/patches/large/2/{'a' * 64}.{'b' * 64}.model.onnx"
    with pytest.raises(DownloadHTTPError, match="404"), fetcher.download_file(resource, 1000):
        pass


@pytest.mark.parametrize("place", ["other/1/model.onnx", "large/1/golden.npz"])
def test_only_the_same_file_of_the_same_model_is_a_base(tmp_path: Path, place: str) -> None:
    world = World(tmp_path)
    world.write(tmp_path / "other", OTHER, AFTER[::-1])
    world.signed.publish(OTHER, tmp_path / "other")
    model, version, file = place.split("/")
    base = world.signed.files_of(ReleaseRef(model, int(version)))[file].sha256
    target = world.signed.files_of(TWO)["model.onnx"].sha256
    with pytest.raises(ResourceMissingError):
        world.downloads.source.open(DEVICE, f"image/patches/large/2/{base}.{target}.model.onnx")
