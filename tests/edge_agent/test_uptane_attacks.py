"""Uptane's attacks, one test each, on a device that runs one release, with real repositories of the registry's making.

After each the device refuses with an error that names the cause, and the release that it runs serves as before.

Source: Uptane Standard 2.0.0, section 4.2, "Attacker capabilities and goals".
"""

import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulators.device_bench import ONE, Bench, Wire
from simulators.registry_side import SignedReleases
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, MetaFile, TargetFile, Targets, Timestamp
from tuf.ngclient.fetcher import FetcherInterface

from edge_agent.errors import ReleaseRefusedError, TransferError, TrustError
from edge_agent.fetchers import ResumingFetcher
from edge_agent.inference import Model
from edge_agent.metadata_here import read_here
from edge_agent.metadata_process import read_in_child
from edge_agent.releases import ReleaseStore, read_release
from edge_agent.signed_metadata import OpenReader, PinnedRoots
from edge_agent.transfer import BlockClient, TransferLimits
from edge_agent.trusted_time import TrustedTime
from edge_agent.verification import Verifier, check_release
from protocols.assignment import AssignedRelease, Assignment
from protocols.blocks import block_digest
from protocols.manifest import FileInfo
from protocols.messages import Block, BlockRequest
from protocols.names import ReleaseRef
from protocols.resources import RELEASE_FILES, target_path
from registry.signing.keys import Role, load_signer

TWO = ReleaseRef("ccpp", 2)
NOW = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
DAY = 86_400.0
EVIL = b"arbitrary software"


class Attacked(Bench):
    """A device that runs ccpp@1, and may be attacked now."""

    def __init__(self, folder: Path, open_reader: OpenReader) -> None:
        self.home, self.at, self.clock = folder / "registry", NOW, NOW
        signed = SignedReleases(self.home, clock=lambda: self.at)
        time = TrustedTime(folder / "time.json", clock=lambda: self.clock, ticks=lambda: 0.0)
        super().__init__(signed, folder / "device", time=time, open_reader=open_reader)
        self.publish(ONE)
        self.assign(ONE)
        self.verifier.assignment()
        self.verifier.fetch(ONE, self.store)

    def assign(self, *refs: ReleaseRef, device: str = "press-1", **more: Any) -> None:
        self.signed.assign(device, *refs, **more)

    def wait(self, seconds: float) -> None:
        self.at += seconds
        self.clock += seconds

    def recorded(self) -> Callable[[str], bytes | None]:
        """Return what the registry would answer today, for ever: an attacker with a recorder."""
        kept = self.folder.parent / f"recorded-{len(list(self.folder.parent.iterdir()))}"
        shutil.copytree(self.home, kept)
        at = self.at
        return lambda url: SignedReleases(kept, clock=lambda: at).read("press-1", url)

    def by(self, fetcher: FetcherInterface) -> Verifier:
        """Return this device's verifier with another link to the registry."""
        roots = PinnedRoots(self.signed.image.root, self.signed.director.root)
        time = TrustedTime(self.folder / "time.json", clock=lambda: self.clock)
        return Verifier(
            self.folder / "metadata",
            roots,
            fetcher,
            device="press-1",
            profile="x86",
            time=time,
            open_reader=self.open_reader,
        )

    def stolen(self, role: Role) -> Any:
        return load_signer(self.home, role)

    def answers(self, url: str, data: bytes) -> None:
        """Let the attacker answer one name, whatever the registry says."""
        before = self.wire.tamper
        self.wire.tamper = lambda asked, real: data if asked == url else before(asked, real)

    def unharmed(self) -> bool:
        """Whether ccpp@1 is all that is installed, is whole, and still predicts."""
        installed = [path for path in (self.folder / "releases").glob("*/*") if not path.name.startswith(".")]
        check_release(ONE, self.store)
        folder = self.store.path(ONE)
        columns = [np.array([[3.0]], np.float32), np.array([[1.0]], np.float32)]
        predicted = Model(folder, read_release(folder)).predict(columns).values
        return installed == [folder] and predicted.tolist() == [15.0]


@pytest.fixture(params=[read_here, read_in_child])
def attacked(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Attacked]:
    """Attacked twice: where this process reads the metadata, and where a child does, as under the daemon."""
    attacked = Attacked(tmp_path, request.param)
    yield attacked
    assert attacked.unharmed()


def forged(signed: Any, *signers: Any) -> bytes:
    metadata: Metadata[Any] = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def test_rollback_of_the_director(attacked: Attacked) -> None:
    """An older assignment, signed by the director in its day, is shown again."""
    recorded = attacked.recorded()
    attacked.assign(ONE)
    assert attacked.verifier.assignment() is not None
    attacked.wire.read = recorded
    with pytest.raises(TrustError, match=r"timestamp version 1 must be >= 2"):
        attacked.verifier.assignment()


def test_rollback_of_the_image_repository(attacked: Attacked) -> None:
    """An older list of releases is shown again, in which a withdrawn one still stands."""
    recorded = attacked.recorded()
    attacked.publish(TWO)
    attacked.assign(TWO)
    refreshed = ReleaseStore(attacked.folder / "elsewhere")
    attacked.verifier.fetch(TWO, refreshed)
    attacked.wire.tamper = lambda url, data: recorded(url) if url.startswith("image/metadata/") else data
    with pytest.raises(TrustError, match=r"timestamp version 2 must be >= 3"):
        attacked.verifier.fetch(TWO, attacked.store)


def test_freeze(attacked: Attacked) -> None:
    """The same state is shown for ever, so that a device never hears of the release that mends a fault."""
    frozen = attacked.recorded()
    attacked.wait(8 * DAY)
    attacked.publish(TWO)
    attacked.assign(TWO)
    attacked.wire.read = frozen
    with pytest.raises(TrustError, match=r"director: timestamp.json is expired"):
        attacked.verifier.assignment()
    with pytest.raises(TrustError, match=r"director: timestamp.json is expired"):
        attacked.verifier.fetch(TWO, attacked.store)


def test_freeze_of_the_image_repository_alone(attacked: Attacked) -> None:
    frozen = attacked.recorded()
    attacked.wait(8 * DAY)
    attacked.publish(TWO)
    attacked.assign(TWO)
    attacked.wire.tamper = lambda url, data: frozen(url) if url.startswith("image/metadata/") else data
    with pytest.raises(TrustError, match=r"image: timestamp.json is expired"):
        attacked.verifier.fetch(TWO, attacked.store)


def test_freeze_of_the_image_repository_on_a_device_whose_clock_is_in_1970(attacked: Attacked) -> None:
    """The director's signature proves the time by which the image repository's is judged."""
    frozen = attacked.recorded()
    attacked.wait(8 * DAY)
    attacked.publish(TWO)
    attacked.assign(TWO)
    attacked.clock = 0.0
    attacked.wire.tamper = lambda url, data: frozen(url) if url.startswith("image/metadata/") else data
    with pytest.raises(TrustError, match=r"image: timestamp.json is expired"):
        attacked.verifier.fetch(TWO, attacked.store)


def test_mix_and_match(attacked: Attacked) -> None:
    """Parts of two states that never were one: today's timestamp with yesterday's snapshot and targets."""
    attacked.publish(TWO)
    attacked.assign(TWO)
    old = {name: attacked.signed.read("press-1", f"image/metadata/2.{name}.json") for name in ("snapshot", "targets")}
    for name, data in old.items():
        assert data is not None
        attacked.answers(f"image/metadata/3.{name}.json", data)
    with pytest.raises(TrustError, match=r"image: Expected snapshot version 3, got 2"):
        attacked.verifier.fetch(TWO, attacked.store)
    snapshot = attacked.signed.read("press-1", "image/metadata/3.snapshot.json")
    assert snapshot is not None
    attacked.answers("image/metadata/3.snapshot.json", snapshot)
    with pytest.raises(TrustError, match=r"image: Expected targets v3, got v2"):
        attacked.verifier.fetch(TWO, attacked.store)


def test_mix_and_match_of_a_releases_files(attacked: Attacked) -> None:
    """The model of one release is served under the name of another."""
    attacked.publish(TWO)
    attacked.assign(TWO)
    other = (attacked.store.path(ONE) / "reference").read_bytes()
    attacked.wire.tamper = lambda url, data: other + b"" if url.endswith("model.onnx") else data
    with pytest.raises((ReleaseRefusedError, TrustError), match=r"ccpp/2/model.onnx"):
        attacked.verifier.fetch(TWO, attacked.store)


class Endless(FetcherInterface):
    """Answers some names with bytes that never end."""

    def __init__(self, wire: Wire, which: Callable[[str], bool]) -> None:
        self._wire, self._which = wire, which
        self.sent_bytes = 0

    def _fetch(self, url: str) -> Iterator[bytes]:
        if not self._which(url):
            data = self._wire.read(url)
            if data is None:
                raise DownloadHTTPError("not there", 404)
            yield data
            return
        while True:
            self.sent_bytes += 4096
            yield b"{" * 4096


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "3.snapshot.json", "3.targets.json", "model.onnx"])
def test_endless_data(attacked: Attacked, name: str) -> None:
    attacked.publish(TWO)
    attacked.assign(TWO)
    endless = Endless(attacked.wire, lambda url: url.startswith("image/") and url.endswith(name))
    with pytest.raises(TrustError, match="more arrives than may"):
        attacked.by(endless).fetch(TWO, attacked.store)
    assert 0 < endless.sent_bytes <= 5_000_000 + 4096


def test_slow_retrieval_by_silence(attacked: Attacked, tmp_path: Path) -> None:
    """The registry, or whoever stands before it, takes every request and answers none."""
    limits = TransferLimits(patience_s=0.005, longest_patience_s=0.01, tries=3)
    client = BlockClient(lambda request: True, tmp_path / "partial", limits)
    with pytest.raises(TransferError, match="no answer from the registry in 3 tries"):
        attacked.by(ResumingFetcher(client)).assignment()


def test_slow_retrieval_by_blocks_that_bring_nothing(attacked: Attacked, tmp_path: Path) -> None:
    """Answers without end that are no progress: what is of another transfer, damaged, or here already is silence."""
    limits = TransferLimits(patience_s=0.05, longest_patience_s=0.05, tries=3)
    stop = threading.Event()

    def answer(request: BlockRequest) -> bool:
        asked.append(request.transfer)
        return True

    def drip() -> None:
        while not stop.wait(0.001):
            for number in asked[-1:]:
                client.arrived(Block(number + 1000, 0, 5000, b"x" * 5000, block_digest(b"x" * 5000)))
                client.arrived(Block(number, 0, 5000, b"x" * 5000, b"no digest"))
                client.arrived(Block(number, 7, 5000, b"x" * 5000, block_digest(b"x" * 5000)))
                client.arrived(Block(number, status=503))

    asked: list[int] = []
    client = BlockClient(answer, tmp_path / "partial", limits)
    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        with pytest.raises(TransferError, match="no answer from the registry in 3 tries"):
            attacked.by(ResumingFetcher(client)).assignment()
    finally:
        stop.set()
        dripping.join()


def test_arbitrary_software_with_the_image_repositorys_online_keys_stolen(attacked: Attacked) -> None:
    """Timestamp and snapshot can be forged then, and the list of releases still cannot."""
    online, at = attacked.stolen("image-online"), datetime.fromtimestamp(NOW, UTC)
    expires = at + timedelta(days=7)
    attacked.assign(TWO)
    targets = Targets(9, expires=expires, targets={"ccpp/2/model.onnx": evil_target("ccpp/2/model.onnx")})
    snapshot = Metadata.from_bytes(attacked.signed.read("press-1", "image/metadata/2.snapshot.json") or b"").signed
    snapshot.version, snapshot.meta["targets.json"] = 9, MetaFile(9)
    attacked.answers("image/metadata/timestamp.json", forged(Timestamp(9, None, expires, MetaFile(9)), online))
    attacked.answers("image/metadata/9.snapshot.json", forged(snapshot, online))
    attacked.answers("image/metadata/9.targets.json", forged(targets, online))
    with pytest.raises(TrustError, match=r"image: targets was signed by 0/1 keys"):
        attacked.verifier.fetch(TWO, attacked.store)


def test_arbitrary_software_with_every_key_of_the_image_repository_stolen(attacked: Attacked) -> None:
    """The director has not asked for it."""
    attacked.signed.image.publish(TWO, {name: FileInfo("0" * 64, 10) for name in RELEASE_FILES})
    with pytest.raises(ReleaseRefusedError, match="the director has not signed it for this device"):
        attacked.verifier.fetch(TWO, attacked.store)


def test_arbitrary_software_in_the_place_of_a_release_with_every_key_of_the_image_repository_stolen(
    attacked: Attacked,
) -> None:
    """The director signs length and hashes as well, so a release that it asked for cannot be swapped."""
    attacked.publish(TWO)
    attacked.assign(TWO)
    release, online = attacked.stolen("image-targets"), attacked.stolen("image-online")
    expires = datetime.fromtimestamp(NOW, UTC) + timedelta(days=7)
    paths = [target_path(TWO, name) for name in RELEASE_FILES]
    targets = Targets(9, expires=expires, targets={path: evil_target(path) for path in paths})
    snapshot = Metadata.from_bytes(attacked.signed.read("press-1", "image/metadata/3.snapshot.json") or b"").signed
    snapshot.version, snapshot.meta["targets.json"] = 9, MetaFile(9)
    attacked.answers("image/metadata/timestamp.json", forged(Timestamp(9, None, expires, MetaFile(9)), online))
    attacked.answers("image/metadata/9.snapshot.json", forged(snapshot, online))
    attacked.answers("image/metadata/9.targets.json", forged(targets, release))
    with pytest.raises(ReleaseRefusedError, match=r"the image repository says length 18, the director says"):
        attacked.verifier.fetch(TWO, attacked.store)


def test_arbitrary_software_with_the_directors_key_stolen(attacked: Attacked) -> None:
    """Whoever signs as the director can ask for a release that the release keys never signed, and ask is all."""
    files = {target_path(TWO, name): FileInfo("0" * 64, 10) for name in RELEASE_FILES}
    attacked.signed.director.direct(Assignment("press-1", 9, (AssignedRelease("ccpp", 2),)), files, "x86")
    assert attacked.verifier.assignment() is not None
    with pytest.raises(ReleaseRefusedError, match="the image repository says target None"):
        attacked.verifier.fetch(TWO, attacked.store)


def test_arbitrary_software_in_the_place_of_a_release_with_the_directors_key_stolen(attacked: Attacked) -> None:
    attacked.publish(TWO)
    files = {target_path(TWO, name): FileInfo("0" * 64, 10) for name in RELEASE_FILES}
    attacked.signed.director.direct(Assignment("press-1", 9, (AssignedRelease("ccpp", 2),)), files, "x86")
    with pytest.raises(ReleaseRefusedError, match=r"the director says 10; not installed"):
        attacked.verifier.fetch(TWO, attacked.store)


def test_arbitrary_delegation_with_the_directors_key_stolen(attacked: Attacked) -> None:
    """A director that lets another key sign in its name would outlive the rotation of its own."""
    attacked.assign(ONE)
    online = attacked.stolen("director-online")
    name = "director/metadata/2.targets.json"
    targets = Metadata.from_bytes(attacked.signed.read("press-1", name) or b"").signed
    targets.unrecognized_fields["delegations"] = {"keys": {}, "roles": []}
    attacked.answers(name, forged(targets, online))
    with pytest.raises(TrustError, match="lets others sign in its name"):
        attacked.verifier.assignment()


def test_wrong_hardware(attacked: Attacked) -> None:
    """A release that the release keys signed for other boards is asked for by a stolen director's key."""
    attacked.publish(TWO, profiles=("raspberry-pi-4",))
    attacked.assign(TWO)
    with pytest.raises(ReleaseRefusedError, match=r"says profiles \['raspberry-pi-4'\], the director says 'x86'"):
        attacked.verifier.fetch(TWO, attacked.store)


def test_metadata_for_other_hardware(attacked: Attacked) -> None:
    attacked.publish(TWO)
    attacked.assign(TWO, profile="raspberry-pi-4")
    with pytest.raises(ReleaseRefusedError, match="profiles"):
        attacked.verifier.fetch(TWO, attacked.store)


def test_replay_to_another_device(attacked: Attacked) -> None:
    """What the director signed for press-2, newer than all that press-1 has seen, is shown to press-1."""
    attacked.publish(TWO)
    for _ in range(3):
        attacked.assign(TWO, device="press-2")
    attacked.wire.read = lambda url: attacked.signed.read("press-2", url)
    with pytest.raises(TrustError, match="the director signed it for device 'press-2', not 'press-1'"):
        attacked.verifier.assignment()
    with pytest.raises(TrustError, match="the director signed it for device 'press-2', not 'press-1'"):
        attacked.verifier.fetch(TWO, attacked.store)


def test_denial_that_anything_was_ever_assigned(attacked: Attacked) -> None:
    """A director that signed once cannot have signed nothing: its silence is a failure, not an empty assignment."""
    attacked.wire.tamper = lambda url, data: None if url.startswith("director/") else data
    with pytest.raises(TransferError, match=r"director: 404"):
        attacked.verifier.assignment()


def evil_target(path: str) -> TargetFile:
    return TargetFile.from_data(path, EVIL)
