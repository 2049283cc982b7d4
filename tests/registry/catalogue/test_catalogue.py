"""The catalogue: what goes in comes out, once, from any thread and process, across restarts."""

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from simulators.candidates import manifest_of, readings, reference_of, sketch

from protocols.assignment import Assignment
from protocols.messages import Event, HeldRelease, Status, Telemetry
from protocols.names import ReleaseRef
from registry.catalogue import Catalogue
from registry.errors import (
    NotInitialisedError,
    ReleaseExistsError,
    TokenRefusedError,
    UnknownDatasetError,
    UnknownDeviceError,
    UnknownJobError,
    UnknownModelError,
    UnknownReleaseError,
)
from registry.monitoring.merging import merge
from registry.monitoring.policy import Policy
from registry.monitoring.reports import DriftReport
from registry.retention import forget
from registry.settings import Settings

NOW = 1_800_000_000.0
FILES = {"model.onnx": b"graph", "golden.npz": b"golden", "reference": b"reference"}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def catalogue(tmp_path, clock):
    opened = Catalogue.create(tmp_path, clock)
    yield opened
    opened.close()


def telemetry(number: int, end: float = NOW, temperature: float = 14.0) -> Telemetry:
    profile = reference_of(readings(50, temperature))
    return Telemetry(
        id=number,
        stream="main",
        model="ccpp",
        version=1,
        provider="CPUExecutionProvider",
        start=end - 60,
        end=end,
        predictions=50,
        rejected={"not-json": 2},
        dropped=0,
        bytes_in=4000,
        latency=sketch(readings(50, 1.0)["AT"]),
        numeric=profile.numeric,
        categories=profile.categories,
        outputs=profile.outputs,
    )


def report(version: int, end: float, drifted: bool = False) -> DriftReport:
    return DriftReport("ccpp", version, end - 60, end, ("a",), 50, (), (), 0.0, drifted)


def add_device(catalogue: Catalogue, name: str = "press-1") -> None:
    catalogue.devices.add(name, "osaka", "x86", "PEM", "a1")


def add_release(catalogue: Catalogue, model: str = "ccpp") -> ReleaseRef:
    version = catalogue.releases.next_version(model)
    catalogue.releases.add(manifest_of(FILES, model=model, version=version), "anna")
    return ReleaseRef(model, version)


def test_a_folder_without_a_catalogue_is_not_a_home(tmp_path):
    with pytest.raises(NotInitialisedError, match="genba registry init --home"):
        Catalogue.open(tmp_path)


def test_what_was_kept_is_there_after_a_restart(tmp_path, clock):
    first = Catalogue.create(tmp_path, clock)
    secret = first.tokens.create("anna")
    first.close()
    again = Catalogue.open(tmp_path, clock)
    assert again.tokens.label(secret) == "anna"
    assert not again.tokens.check(secret + "x")
    again.close()


def test_a_transaction_keeps_everything_or_nothing(catalogue):
    def half() -> None:
        with catalogue.transaction():
            add_device(catalogue)
            with catalogue.transaction():
                catalogue.events.record("x", "inside")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert catalogue.devices.names() == []
    assert catalogue.events.list() == []


def test_an_inner_failure_undoes_the_inner_block_alone(catalogue):
    def inner() -> None:
        with catalogue.transaction():
            add_device(catalogue, "lost")
            raise RuntimeError

    with catalogue.transaction():
        add_device(catalogue, "kept")
        with pytest.raises(RuntimeError):
            inner()
    assert catalogue.devices.names() == ["kept"]


class TestEnrolments:
    def test_a_secret_works_once(self, catalogue):
        secret = catalogue.enrolments.create("press-1", "osaka", 60)
        assert len(secret) == 32
        catalogue.enrolments.use(secret, "press-1", "osaka")
        with pytest.raises(TokenRefusedError, match="it was used at 2027-01-15 08:00:00 UTC"):
            catalogue.enrolments.use(secret, "press-1", "osaka")

    def test_a_refused_use_does_not_use_it_up(self, catalogue):
        secret = catalogue.enrolments.create("press-1", "osaka", 60)
        with pytest.raises(TokenRefusedError, match="not for 'press-1' at 'nagoya'"):
            catalogue.enrolments.use(secret, "press-1", "nagoya")
        catalogue.enrolments.use(secret, "press-1", "osaka")

    def test_it_expires(self, catalogue, clock):
        secret = catalogue.enrolments.create("press-1", "osaka", 60)
        clock.now += 60
        with pytest.raises(TokenRefusedError, match="it expired at"):
            catalogue.enrolments.use(secret, "press-1", "osaka")

    def test_of_many_threads_one_uses_it(self, catalogue):
        secret = catalogue.enrolments.create("press-1", "osaka", 60)

        def use(_: int) -> bool:
            try:
                catalogue.enrolments.use(secret, "press-1", "osaka")
            except TokenRefusedError:
                return False
            finally:
                catalogue.close()
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(use, range(16))) == 1


class TestDevices:
    def test_an_unknown_device_is_told_with_the_known_ones(self, catalogue):
        with pytest.raises(UnknownDeviceError, match="genba registry token"):
            catalogue.devices.get("press-9")
        for number in range(10):
            add_device(catalogue, f"press-{number}")
        with pytest.raises(UnknownDeviceError, match=r"press-0, press-1, .* and 2 more"):
            catalogue.devices.get("oven")

    def test_a_last_will_takes_it_offline_and_keeps_its_report(self, catalogue, clock):
        add_device(catalogue)
        full = Status(NOW, True, "0.1.0", releases=(HeldRelease("ccpp", 1, "confirmed"),))
        catalogue.devices.update_status("press-1", full)
        clock.now += 5
        catalogue.devices.update_status("press-1", Status(NOW, False))
        device = catalogue.devices.get("press-1")
        assert (device.online, device.seen_at, device.status) == (False, NOW + 5, full)

    def test_a_status_of_an_unknown_device_is_refused(self, catalogue):
        with pytest.raises(UnknownDeviceError):
            catalogue.devices.update_status("ghost", Status(NOW, True))

    def test_enrolling_anew_replaces_the_certificate_alone(self, catalogue):
        add_device(catalogue)
        catalogue.devices.update_status("press-1", Status(NOW, True, "0.1.0"))
        catalogue.devices.add("press-1", "osaka", "x86", "NEW", "b2")
        device = catalogue.devices.get("press-1")
        assert (device.certificate, device.serial) == ("NEW", "b2")
        assert device.status is not None


class TestReleases:
    def test_no_version_is_given_twice(self, catalogue):
        assert [catalogue.releases.next_version("ccpp") for _ in range(3)] == [1, 2, 3]
        assert catalogue.models.list() == []

    def test_a_release_comes_back_whole(self, catalogue):
        ref = add_release(catalogue)
        release = catalogue.releases.get(ref)
        assert release.manifest == manifest_of(FILES, version=1)
        assert sorted(release.files) == ["golden.npz", "model.onnx", "reference", "release.json"]
        assert (release.published_by, release.published_at) == ("anna", NOW)
        assert catalogue.releases.latest("ccpp") == release

    def test_a_release_never_changes(self, catalogue):
        add_release(catalogue)
        with pytest.raises(ReleaseExistsError):
            catalogue.releases.add(manifest_of(FILES, version=1))

    def test_the_unknown_is_told_with_the_known(self, catalogue):
        add_release(catalogue)
        with pytest.raises(UnknownReleaseError, match="ccpp has the versions 1"):
            catalogue.releases.get(ReleaseRef("ccpp", 10**30))
        with pytest.raises(UnknownModelError, match="known models: ccpp"):
            catalogue.models.get("cpp")
        with pytest.raises(UnknownReleaseError):
            catalogue.models.set_champion(ReleaseRef("ccpp", 2))

    def test_the_champion_is_a_release(self, catalogue):
        assert catalogue.models.champion("ccpp") is None
        ref = add_release(catalogue)
        catalogue.models.set_champion(ref)
        assert catalogue.models.champion("ccpp") == ref
        assert catalogue.models.get("ccpp").champion == 1


class TestAssignments:
    def test_revisions_rise_over_all_devices(self, catalogue):
        for name in ("a", "b"):
            add_device(catalogue, name)
        assert catalogue.assignments.changed_since(0) == []
        for name in ("a", "b", "a"):
            catalogue.assignments.set(Assignment(name, 0))
        assert catalogue.assignments.get("a").revision == 3
        assert catalogue.assignments.changed_since(0) == [("b", 2), ("a", 3)]
        assert catalogue.assignments.changed_since(2) == [("a", 3)]
        assert catalogue.assignments.changed_since(3) == []
        assert catalogue.assignments.running("ccpp") == []


class TestTelemetry:
    def test_a_window_is_kept_once(self, catalogue):
        assert catalogue.telemetry.add("a", "osaka", telemetry(1))
        assert not catalogue.telemetry.add("a", "osaka", telemetry(1))
        assert catalogue.telemetry.add("b", "osaka", telemetry(1))
        assert catalogue.telemetry.totals("ccpp").windows == 2
        assert catalogue.telemetry.totals("other").windows == 0

    def test_a_window_comes_back_as_it_was_sent(self, catalogue):
        catalogue.telemetry.add("a", "osaka", telemetry(1))
        (window,) = catalogue.telemetry.windows("ccpp", 1, NOW - 60, NOW)
        assert window.telemetry == telemetry(1)
        assert (window.device, window.site, window.received_at) == ("a", "osaka", NOW)
        assert merge([window]).rows == 50

    def test_windows_are_told_apart_by_when_they_end(self, catalogue):
        for number, end in enumerate((NOW - 120, NOW - 60, NOW), start=1):
            catalogue.telemetry.add("a", "osaka", telemetry(number, end))
        found = catalogue.telemetry.windows("ccpp", 1, NOW - 120, NOW - 60)
        assert [window.telemetry.id for window in found] == [2]
        assert [window.telemetry.id for window in catalogue.telemetry.by_device("a", 2)] == [3, 2]
        assert catalogue.telemetry.forget(NOW) == 2
        assert forget(catalogue, Settings(keep_telemetry_days=0.0, keep_events_days=0.0), NOW * 2) == (0, 0)


class TestEvents:
    def test_a_devices_event_is_kept_once(self, catalogue):
        event = Event(7, NOW, "confirmed", "info", "it runs", "ccpp", 1, {"provider": "CPU"})
        assert catalogue.events.add("a", event)
        assert not catalogue.events.add("a", event)
        (stored,) = catalogue.events.list(device="a")
        assert (stored.text, stored.detail, stored.device) == ("it runs", {"provider": "CPU"}, "a")

    def test_the_registrys_own_events_stand_beside_them(self, catalogue):
        catalogue.events.add("a", Event(1, NOW - 5, "x", "info", "older"))
        for text in ("first", "second"):
            catalogue.events.record("y", text, model="ccpp")
        assert [event.text for event in catalogue.events.list()] == ["second", "first", "older"]
        assert [event.text for event in catalogue.events.list(model="ccpp", limit=1)] == ["second"]


def test_drift_reports_come_newest_first(catalogue):
    for version, end in ((1, NOW - 60), (2, NOW), (1, NOW - 120)):
        catalogue.drift.add(report(version, end))
    assert [(one.version, one.end) for one in catalogue.drift.list("ccpp", 2)] == [(2, NOW), (1, NOW - 60)]


def test_a_model_without_a_policy_has_the_default(catalogue):
    assert catalogue.policies.get("ccpp") == Policy()
    changed = Policy(windows_in_a_row=9)
    catalogue.policies.set("ccpp", changed)
    assert catalogue.policies.get("ccpp") == changed


def test_labelled_rows_keep_their_order(catalogue):
    catalogue.rows.append("ccpp", [{"n": number, "grade": "é"} for number in range(5)], NOW)
    catalogue.rows.append("other", [{"n": 99}], NOW)
    assert [row["n"] for row in catalogue.rows.newest("ccpp", 3)] == [2, 3, 4]
    assert catalogue.rows.count("ccpp") == 5


def test_a_dataset_is_its_bytes(catalogue, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"a\n1\n")
    sha256 = catalogue.datasets.add("a.csv", path)
    assert catalogue.datasets.add("b.csv", b"a\n1\n") == sha256
    assert catalogue.datasets.get(sha256).read_bytes() == b"a\n1\n"
    assert [(one.name, one.size_bytes) for one in catalogue.datasets.list()] == [("b.csv", 4)]
    with pytest.raises(UnknownDatasetError):
        catalogue.datasets.get("0" * 64)


class TestJobs:
    def test_a_job_runs_through_its_states(self, catalogue, clock):
        number = catalogue.jobs.add("train", {"model": "ccpp", "seed": 1}, "asked for")
        job = catalogue.jobs.claim("w1")
        assert (job.id, job.state, job.worker, job.attempts) == (number, "running", "w1", 1)
        assert catalogue.jobs.claim("w2") is None
        catalogue.jobs.progress(number, "search", 0.4)
        clock.now += 3
        catalogue.jobs.finish(number, {"release": "ccpp@1"})
        done = catalogue.jobs.get(number)
        assert (done.state, done.text, done.fraction, done.result) == ("done", "", 1.0, {"release": "ccpp@1"})
        assert done.finished_at - done.started_at == 3
        catalogue.jobs.fail(number, "too late")
        assert catalogue.jobs.get(number).state == "done"

    def test_what_a_dead_worker_ran_waits_again_and_not_for_ever(self, catalogue):
        number = catalogue.jobs.add("train", {}, "asked for")
        for _ in range(2):
            catalogue.jobs.claim("w1")
            assert catalogue.jobs.requeue_lost("other") == []
            assert catalogue.jobs.requeue_lost("w1") == [number]
        catalogue.jobs.claim("w1")
        assert catalogue.jobs.requeue_lost("w1") == []
        assert catalogue.jobs.get(number).error == "its process died 3 times"

    def test_of_many_workers_one_gets_a_job(self, catalogue):
        numbers = [catalogue.jobs.add("train", {}, "asked for") for _ in range(5)]
        found, lock = [], threading.Lock()

        def work(name: str) -> None:
            while job := catalogue.jobs.claim(name):
                with lock:
                    found.append(job.id)
            catalogue.close()

        threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == numbers

    def test_jobs_are_listed_by_what_they_are(self, catalogue):
        catalogue.jobs.add("train", {"model": "a"}, "x")
        catalogue.jobs.add("retrain", {"model": "b"}, "x")
        catalogue.jobs.claim("w")
        assert [job.kind for job in catalogue.jobs.list()] == ["retrain", "train"]
        assert [job.model for job in catalogue.jobs.list(kind="retrain")] == ["b"]
        assert [job.model for job in catalogue.jobs.list(state="running")] == ["a"]
        assert catalogue.jobs.list(model="c") == []
        with pytest.raises(UnknownJobError):
            catalogue.jobs.get(99)


def _append_rows(home, name: str) -> None:
    catalogue = Catalogue.open(home)
    for number in range(20):
        catalogue.rows.append("ccpp", [{"from": name, "n": number}], NOW)
    catalogue.close()


def test_several_processes_write_at_the_same_time(catalogue, tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append_rows, args=(tmp_path, str(number))) for number in range(2)]
    for process in processes:
        process.start()
    _append_rows(tmp_path, "here")
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert catalogue.rows.count("ccpp") == 60


def test_rows_that_come_back_cannot_be_changed(catalogue):
    add_device(catalogue)
    with pytest.raises(AttributeError):
        catalogue.devices.get("press-1").site = "other"
    assert msgspec.structs.replace(catalogue.devices.get("press-1"), site="b").site == "b"
