"""The time by which metadata expires: wrong clocks neither shut a device out nor let old metadata in."""

import itertools
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.trusted_time import TrustedTime, issued_at

DAY = 86_400.0
NOW = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
FAR = datetime(2099, 1, 1, tzinfo=UTC).timestamp()


class Machine:
    """A device's clock, which may be set, and the seconds it has run, which only grow."""

    def __init__(self, file: Path, not_before: float = 0.0) -> None:
        self.clock, self.ticks = NOW, 100.0
        self._file, self._not_before = file, not_before
        self.restart()

    def restart(self) -> None:
        self.ticks = 0.0
        self.time = TrustedTime(
            self._file, not_before=self._not_before, clock=lambda: self.clock, ticks=lambda: self.ticks
        )

    def run(self, seconds: float) -> None:
        self.clock += seconds
        self.ticks += seconds


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "time.json")


def test_a_good_clock_is_taken_as_it_is(machine: Machine) -> None:
    assert machine.time.now() == NOW


def test_a_clock_that_fell_back_to_1970_does_not_take_the_time_with_it(machine: Machine) -> None:
    machine.time.learn(NOW)
    machine.clock = 0.0
    machine.restart()
    assert machine.time.now() >= NOW


def test_the_certificate_proves_a_time_before_anything_was_signed(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "time.json", not_before=NOW - DAY)
    machine.clock = 0.0
    assert machine.time.now() == NOW - DAY


def test_the_seconds_that_the_machine_runs_count_while_its_clock_stands_in_1970(machine: Machine) -> None:
    machine.time.learn(NOW)
    machine.clock = 0.0
    machine.run(10 * DAY)
    machine.time.keep()
    machine.restart()
    assert machine.time.now() >= NOW + 10 * DAY


def test_a_clock_in_the_far_future_leaves_nothing_behind(machine: Machine) -> None:
    machine.clock = FAR
    machine.time.learn(NOW)
    machine.time.keep()
    assert machine.time.now() == FAR
    machine.clock = NOW + DAY
    machine.restart()
    assert machine.time.now() == NOW + DAY


def test_a_signature_from_the_far_future_is_believed_no_further_than_the_devices_own_clock(machine: Machine) -> None:
    machine.time.learn(FAR)
    machine.run(DAY)
    machine.restart()
    assert machine.time.now() == NOW + DAY


def test_a_new_root_forgets_what_stolen_keys_have_proven_to_a_device_in_1970(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "time.json", not_before=NOW - DAY)
    machine.clock = 0.0
    machine.time.now(root=1)
    machine.time.learn(FAR)
    machine.restart()
    assert machine.time.now(root=1) >= FAR
    assert machine.time.now(root=2) == NOW - DAY
    machine.time.learn(NOW)
    machine.restart()
    assert machine.time.now(root=2) == NOW


@pytest.mark.parametrize("left", [b"", b"{", b'{"at": 1e300, "root": 1}', b'{"at": -1, "root": 1}', b"\x00" * 40])
def test_a_damaged_memory_is_begun_anew(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "time.json").write_bytes(left)
    assert Machine(tmp_path / "time.json").time.now() == NOW


def test_a_device_without_a_certificate_has_no_proof_of_its_own(tmp_path: Path) -> None:
    assert issued_at(tmp_path / "none.pem") == 0.0
    (tmp_path / "odd.pem").write_bytes(b"no certificate")
    assert issued_at(tmp_path / "odd.pem") == 0.0


_names = itertools.count()


@given(clocks=st.lists(st.tuples(st.floats(0, FAR), st.booleans()), max_size=12))
def test_whatever_the_clock_says_and_however_often_it_restarts_a_good_clock_is_believed_in_the_end(
    tmp_path_factory: pytest.TempPathFactory, clocks: list[tuple[float, bool]]
) -> None:
    """Honest signatures, any clock: what is proven never passes the true time, and never falls."""
    folder = tmp_path_factory.getbasetemp() / f"time-{next(_names)}"
    folder.mkdir()
    machine = Machine(folder / "time.json")
    true, proven = NOW, 0.0
    for clock, restarts in clocks:
        machine.clock = clock
        machine.time.learn(true)
        if restarts:
            machine.restart()
        machine.clock = 0.0
        found = machine.time.now()
        assert proven - 3600 <= found <= true
        proven = found
        true += DAY
        machine.ticks += DAY
    machine.clock = true
    assert machine.time.now() == true
