"""Devices that slept, started in 1970, or were off for ninety days: keys, roots and clocks moved on without them."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulators.device_bench import ONE, Bench, Wire
from simulators.registry_side import SignedReleases
from simulators.tuf_repository import TufRepository, make_signers
from tuf.api.exceptions import ExpiredMetadataError, RepositoryError, UnsignedMetadataError
from tuf.api.metadata import TargetFile

from edge_agent.errors import TrustError
from edge_agent.trusted_time import TrustedTime
from edge_agent.updater import MetadataUpdater
from edge_agent.verification import check_release
from protocols.names import ReleaseRef

TWO = ReleaseRef("ccpp", 2)
DAY = 86_400.0
NOW = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
FAR = datetime(2099, 1, 1, tzinfo=UTC).timestamp()
MODEL = "ccpp/1/model.onnx"


class Follower:
    """A device that follows one repository from its first root."""

    def __init__(self, repository: TufRepository, folder: Path) -> None:
        self.repository, self.root, self._folder = repository, repository.root, folder
        self.wire = Wire(lambda url: repository.files.get(url))

    def refresh(self) -> MetadataUpdater:
        updater = MetadataUpdater(
            self._folder, "m/", "t/", self.wire, root=self.root, now=lambda root: self.repository.clock()
        )
        updater.refresh()
        return updater

    def target(self) -> TargetFile | None:
        return self.refresh().get_targetinfo(MODEL)


@pytest.fixture
def repository() -> TufRepository:
    repository = TufRepository("m/", root=3, targets=3)
    repository.thresholds |= {"root": 2, "targets": 2}
    repository.targets[MODEL] = TargetFile.from_data(MODEL, b"model")
    repository.publish_root()
    repository.publish()
    return repository


@pytest.fixture
def device(repository: TufRepository, tmp_path: Path) -> Follower:
    device = Follower(repository, tmp_path / "device")
    (tmp_path / "device").mkdir()
    device.refresh()
    return device


def test_the_root_rotates_three_times_while_a_device_sleeps(repository: TufRepository, device: Follower) -> None:
    for roles in (("root",), ("root", "snapshot", "timestamp"), ("root", "targets")):
        repository.rotate(*roles)
    repository.publish()
    device.wire.asked.clear()
    updater = device.refresh()
    assert updater.root_version == 4
    assert updater.get_targetinfo(MODEL) is not None
    assert [url for url in device.wire.asked if "root" in url] == [f"m/{number}.root.json" for number in (2, 3, 4, 5)]


def test_a_root_that_the_keys_before_it_did_not_sign_is_not_followed(
    repository: TufRepository, device: Follower
) -> None:
    repository.rotate("root")
    repository.rotate("root", sign_with_old=False)
    repository.publish()
    with pytest.raises(UnsignedMetadataError, match="root was signed by 0/2 keys"):
        device.refresh()


def test_a_root_is_not_skipped(repository: TufRepository, device: Follower) -> None:
    repository.rotate("root")
    repository.rotate("root")
    repository.files["m/2.root.json"] = repository.files["m/3.root.json"]
    with pytest.raises(RepositoryError):
        device.refresh()


def test_a_chain_of_roots_that_was_cut_off_goes_on_where_it_stopped(
    repository: TufRepository, device: Follower
) -> None:
    for _ in range(3):
        repository.rotate("root")
    whole, repository.files = repository.files, {k: v for k, v in repository.files.items() if k != "m/4.root.json"}
    assert device.refresh().root_version == 3
    repository.files = whole
    device.wire.asked.clear()
    assert device.refresh().root_version == 4
    assert "m/2.root.json" not in device.wire.asked


def test_a_revoked_release_key_signs_nothing_any_more(repository: TufRepository, device: Follower) -> None:
    stolen = repository.signers["targets"][0]
    repository.signers["targets"][0] = make_signers(1)[0]
    repository.publish_root()
    held = repository.signers["targets"]
    repository.signers["targets"] = [held[1], stolen]
    repository.publish()
    with pytest.raises(UnsignedMetadataError, match="targets was signed by 1/2 keys"):
        device.refresh()
    repository.signers["targets"] = held
    repository.publish()
    assert device.target() is not None


@pytest.mark.parametrize(("signing", "follows"), [((0, 1), True), ((1, 2), True), ((0,), False), ((0, 0), False)])
def test_two_of_three_release_keys_are_needed_and_enough(
    repository: TufRepository, device: Follower, signing: tuple[int, ...], *, follows: bool
) -> None:
    repository.signers["targets"] = [repository.signers["targets"][index] for index in signing]
    repository.publish()
    if follows:
        assert device.target() is not None
    else:
        with pytest.raises((UnsignedMetadataError, RepositoryError)):
            device.refresh()


@pytest.mark.parametrize(("signing", "follows"), [((0, 1), True), ((0, 2), True), ((1,), False)])
def test_two_of_three_root_keys_are_needed_and_enough(
    repository: TufRepository, device: Follower, signing: tuple[int, ...], *, follows: bool
) -> None:
    repository.publish_root(signers=[repository.signers["root"][index] for index in signing])
    if follows:
        assert device.refresh().root_version == 2
    else:
        with pytest.raises(UnsignedMetadataError, match="root was signed by 1/2 keys"):
            device.refresh()


def test_a_version_that_stolen_online_keys_drove_up_is_forgotten_with_them(
    repository: TufRepository, device: Follower
) -> None:
    """The fast-forward attack: TUF specification, 5.3.11."""
    repository.version = 2**40
    repository.publish()
    assert device.target() is not None
    repository.version = 1
    repository.rotate("snapshot", "timestamp")
    repository.targets.clear()
    repository.publish()
    assert device.target() is None


def test_a_root_that_expired_stops_new_installs_until_there_is_another(
    repository: TufRepository, device: Follower
) -> None:
    repository.clock = lambda: time.time() + 30 * DAY
    repository.publish()
    with pytest.raises(ExpiredMetadataError, match=r"root.json is expired"):
        device.refresh()
    repository.publish_root()
    assert device.target() is not None


class Machine:
    """A registry that knows the time, and a device with a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.true, self.clock, self.ticks, self.folder = NOW, NOW, 0.0, folder
        self.signed = SignedReleases(folder / "registry", clock=lambda: self.true)
        self.restart()
        self.bench.publish(ONE)

    def restart(self) -> None:
        self.time = TrustedTime(self.folder / "time.json", clock=lambda: self.clock, ticks=lambda: self.ticks)
        self.bench = Bench(self.signed, self.folder / "device", time=self.time)

    def wait(self, seconds: float, *, clock: float | None = None) -> None:
        self.true += seconds
        self.clock = self.true if clock is None else clock

    def sync(self) -> Any:
        return self.bench.verifier.assignment()

    def install(self, ref: ReleaseRef) -> None:
        self.signed.assign("press-1", ref)
        assert self.sync() is not None
        self.bench.verifier.fetch(ref, self.bench.store)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_device_that_wakes_in_1970_installs_what_is_fresh(machine: Machine) -> None:
    machine.install(ONE)
    machine.wait(30 * DAY, clock=0.0)
    machine.restart()
    machine.bench.publish(TWO)
    machine.install(TWO)
    assert check_release(TWO, machine.bench.store).release == TWO


def test_a_device_that_wakes_in_1970_does_not_take_what_expired_while_it_was_offline(machine: Machine) -> None:
    """An attacker kept what the director signed, showed it to nobody, and waits for the device to lose its clock."""
    machine.install(ONE)
    machine.wait(DAY)
    machine.bench.publish(TWO)
    machine.signed.assign("press-1", TWO)
    names = ("timestamp.json", "2.snapshot.json", "2.targets.json")
    withheld = {name: machine.signed.read("press-1", f"director/metadata/{name}") for name in names}
    machine.wait(30 * DAY)
    machine.ticks += 31 * DAY
    machine.time.keep()  # as the daemon does at every poll, link or none
    machine.clock = 0.0
    machine.restart()
    machine.bench.wire.tamper = lambda url, data: withheld.get(url.rpartition("/")[2], data)
    with pytest.raises(TrustError, match=r"director: timestamp.json is expired"):
        machine.sync()


def test_a_clock_in_the_far_future_stops_new_installs_and_leaves_nothing_behind(machine: Machine) -> None:
    machine.install(ONE)
    machine.wait(DAY, clock=FAR)
    with pytest.raises(TrustError, match="expired"):
        machine.sync()
    assert check_release(ONE, machine.bench.store).release == ONE
    machine.restart()
    machine.wait(DAY)
    machine.bench.publish(TWO)
    machine.install(TWO)


def test_a_registry_that_was_in_the_far_future_for_a_day_shuts_no_device_out(machine: Machine) -> None:
    machine.install(ONE)
    machine.true, machine.clock = FAR, NOW + DAY
    machine.signed.assign("press-1", ONE)
    assert machine.sync() is not None
    machine.true = NOW + 2 * DAY
    machine.wait(0)
    machine.signed.assign("press-1", ONE)
    machine.restart()
    assert machine.sync() is not None


def test_after_ninety_days_offline_what_is_installed_is_whole_and_what_is_new_waits_for_fresh_metadata(
    machine: Machine,
) -> None:
    machine.install(ONE)
    machine.bench.publish(TWO)
    machine.signed.assign("press-1", TWO)
    stale = {url: machine.signed.read("press-1", url) for url in ("director/metadata/timestamp.json",)}
    machine.wait(90 * DAY)
    machine.restart()
    assert check_release(ONE, machine.bench.store).release == ONE
    machine.bench.wire.tamper = lambda url, data: stale.get(url, data)
    with pytest.raises(TrustError, match=r"director: timestamp.json is expired"):
        machine.bench.verifier.fetch(TWO, machine.bench.store)
    machine.bench.wire.tamper = lambda url, data: data
    machine.bench.verifier.fetch(TWO, machine.bench.store)
    assert check_release(TWO, machine.bench.store).release == TWO


def test_expiry_between_install_and_restart_harms_nothing(machine: Machine) -> None:
    machine.install(ONE)
    machine.wait(400 * DAY)
    machine.restart()
    assert check_release(ONE, machine.bench.store).release == ONE


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["good", "1970", "far"]), st.booleans()), min_size=1, max_size=6))
def test_whatever_the_clock_did_a_device_with_a_good_clock_and_a_good_registry_installs(
    tmp_path_factory: pytest.TempPathFactory, days: list[tuple[str, bool]]
) -> None:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    for clock, restarts in days:
        machine.wait(DAY, clock={"good": None, "1970": 3600.0, "far": FAR}[clock])
        machine.ticks += DAY
        machine.signed.assign("press-1", ONE)
        if restarts:
            machine.restart()
        if clock == "far":
            with pytest.raises(TrustError, match="expired"):
                machine.sync()
        else:
            assert machine.sync() is not None
    machine.wait(DAY)
    machine.install(ONE)
