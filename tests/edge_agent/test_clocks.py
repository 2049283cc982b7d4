"""An agent's process under another clock (Debian's faketime): in 1970, in 2099, and ninety days on."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulators.agent_home import make_home
from simulators.agent_process import ROOT, Agent, Line, assign, published
from simulators.broker_process import Broker, wait_until
from simulators.registry_side import RegistrySide, SignedReleases

from edge_agent.settings import AgentHome
from protocols.names import ReleaseRef

ONE = ReleaseRef("ccpp", 1)
DAY = 86_400.0

#: libfaketime 0.9.10 (Debian 12) refuses each wait until a time of a clock that it leaves alone, and so time.sleep.
SLEEP = """
import select, time
time.sleep = lambda seconds: select.select((), (), (), seconds)
"""
#: Loaded into the agent itself: the program `faketime` would stand between it and its signals.
LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.sample,
    pytest.mark.skipif(LIBRARY is None, reason="faketime is not installed (Debian: apt install faketime)"),
]


class Plant:
    """A device that has confirmed ccpp@1 and was switched off."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.later_s, self.folder, self.broker = 0.0, folder, broker
        self.signed = SignedReleases(folder / "registry", clock=lambda: time.time() + self.later_s)
        self.side = RegistrySide(broker.port, self.signed.read)
        self.home: AgentHome = make_home(folder / "agent", self.signed, broker.url, poll_s=1.0)
        self.line = Line(broker.port)
        self.agent = Agent(self.home)
        self.install(ONE)
        assert self.agent.stop() == 0
        self.agent.close()

    def install(self, ref: ReleaseRef) -> None:
        published(self.signed, self.folder, ref)
        assign(self.signed, self.side, ref)
        self.side.wait_for(lambda: ("release-confirmed", ref.version) in self.told(), 20)

    def told(self) -> list[tuple[str, int | None]]:
        return [(event.kind, event.version) for event in self.side.events.values()]

    def wake(self, clock: str) -> None:
        """Start the agent where the clock says this; the seconds it counts by are real."""
        self.side.events.clear()
        assert LIBRARY is not None
        settings = {
            "FAKETIME": clock,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # or threads that wait for Python's lock do so in a busy loop
            "FAKETIME_DISABLE_SHM": "1",
        }
        (self.folder / "sitecustomize.py").write_text(SLEEP)
        path = os.pathsep.join([str(self.folder), str(ROOT)])
        self.agent = Agent(self.home, {"LD_PRELOAD": str(LIBRARY), "PYTHONPATH": path, **settings})

    def says(self, text: str) -> None:
        """Wait until the agent's log has these words."""
        wait_until(lambda: any(text in line["text"] for line in self.agent.log()), 30, f"{text!r} in the log")

    def serves(self, number: int) -> None:
        self.line.send({"id": number, "AT": 3, "V": 1})
        try:
            wait_until(lambda: number in self.line.predictions, 30, "a prediction")
        except AssertionError as error:
            raise AssertionError(f"{error}; the agent says {self.agent.log()}") from None

    def close(self) -> None:
        self.agent.close()
        self.line.close()
        self.side.close()


@pytest.fixture
def plant(broker: Broker, tmp_path: Path) -> Iterator[Plant]:
    plant = Plant(tmp_path, broker)
    yield plant
    plant.close()


@pytest.mark.parametrize(
    ("clock", "year"), [("+90d", 0), ("@1970-01-02 00:00:00", 1970), ("@2099-01-02 00:00:00", 2099)]
)
def test_a_cold_start_serves_whatever_the_clock_says(plant: Plant, clock: str, year: int) -> None:
    """Ninety days on, all metadata has expired; in 1970 none of it was signed yet."""
    before = time.time()
    plant.wake(clock)
    plant.serves(1)
    at = json.loads(plant.home.status.read_bytes())["at"]
    assert time.gmtime(at).tm_year == year if year else at > before + 89 * DAY
    assert plant.line.predictions[1][0]["version"] == 1


def test_a_broker_that_comes_later_is_found_whatever_the_clock_says(plant: Plant) -> None:
    plant.broker.stop()
    plant.line.close()
    plant.wake("+90d")
    plant.says("no broker answers")
    plant.broker.start()
    plant.says("connected to")
    plant.line = Line(plant.broker.port)
    plant.serves(1)
    assert not [line for line in plant.agent.log() if "traceback" in line]
