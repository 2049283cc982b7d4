"""Power cuts: an update is cut off before each thing that it does to the disk, and each time the device comes back."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from simulators.agent_home import make_home
from simulators.agent_process import ROOT, published
from simulators.broker_process import Broker, wait_until
from simulators.registry_side import RegistrySide, SignedReleases
from simulators.small_models import regression

from edge_agent.errors import HomeError
from edge_agent.status import read_status
from protocols.assignment import StreamBinding
from protocols.names import ReleaseRef

ONE, TWO = ReleaseRef("ccpp", 1), ReleaseRef("ccpp", 2)
ANSWERS = {1: 10.0, 2: 1000.0}
NEVER = 10**9
FEWEST_POINTS = 200


class Device:
    """One device that is updated from release 1 to 2 over and over, from the same home."""

    def __init__(self, name: str, folder: Path, signed: SignedReleases, broker: Broker) -> None:
        self.name, self._folder = name, folder
        self._line = Answers(broker.port, name)
        self.home = make_home(folder / "home", signed, broker.url, device=name)
        self._template = folder / "template"
        self._turn = 0
        self._agents = subprocess.Popen(
            [sys.executable, "-m", "simulators.power"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip

    def close(self) -> None:
        self._line.close()
        self._agents.kill()
        self._agents.communicate()

    @property
    def stream(self) -> StreamBinding:
        return StreamBinding("line", "ccpp", f"plant/{self.name}/in", f"plant/{self.name}/out", key="$.id")

    def keep(self) -> None:
        """Make the home as it is now the one that every turn begins with."""
        shutil.copytree(self.home.folder, self._template)

    def reset(self) -> None:
        shutil.rmtree(self.home.folder)
        shutil.copytree(self._template, self.home.folder)

    def begin(self, fail_at: int = NEVER, *, lossy: bool = False) -> int:
        """Start an agent and return its process."""
        self._trace.unlink(missing_ok=True)
        order = {
            "home": str(self.home.folder), "fail_at": fail_at, "lossy": lossy,
            "trace": str(self._trace), "log": str(self._folder / "log"),
        }  # fmt: skip
        assert self._agents.stdin is not None
        self._agents.stdin.write(json.dumps(order) + "\n")
        self._agents.stdin.flush()
        return self._heard()

    def ended(self) -> int:
        """Wait for the agent's end and return its exit status."""
        return self._heard()

    def _heard(self) -> int:
        assert self._agents.stdout is not None
        return int(self._agents.stdout.readline())

    @property
    def _trace(self) -> Path:
        return self._folder / "trace"

    def points(self) -> list[str]:
        return self._trace.read_text().splitlines()

    def answer(self) -> int:
        """Send a sensor message, and return the version that answered it, having checked that it answered right."""
        self._turn += 1
        found = self._line.ask(self.stream.topic, self._turn)
        assert found["prediction"] == ANSWERS[found["version"]]
        return int(found["version"])

    def confirmed(self, ref: ReleaseRef) -> bool:
        """Return whether a release has passed its trial here, as the running agent's status says."""
        try:
            page = read_status(self.home)
        except HomeError:
            return False  # it has not said anything yet
        held = [(one.model, one.version) for one in page.releases if one.state == "confirmed"]
        served = [row.version for row in page.streams]
        return page.running and (ref.model, ref.version) in held and served == [ref.version]

    def files(self) -> set[str]:
        """The names of all that is in the home, but for what the open database has beside it."""
        folder = self.home.folder
        names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
        return names - {"outbox.db-wal", "outbox.db-shm"}

    def update(self, clean: Callable[[set[str]], bool]) -> None:
        """Let the update take its course, until the disk is clean: the old release serves at once, or the new one."""
        process = self.begin()
        assert self.answer() in ANSWERS
        wait_until(lambda: self.confirmed(TWO), 60, f"release 2 on {self.name}")
        assert self.answer() == 2
        wait_until(lambda: clean(self.files()), 15, f"a clean disk; there are {sorted(self.files())}")
        os.kill(process, signal.SIGTERM)
        assert self.ended() == 0

    def survives(self, point: int, wanted: set[str], *, lossy: bool) -> bool | None:
        """Cut the power at a point of the update; return whether the device came back, None if it is not reached."""
        self.reset()
        process = self.begin(point, lossy=lossy)
        stopper = threading.Thread(target=self._stop_when_confirmed, args=(process,))
        stopper.start()
        status = self.ended()
        stopper.join()
        if status == 0:
            return None
        assert status == -signal.SIGKILL
        cut = self.points()[-1]
        if lossy:
            shutil.rmtree(self.home.folder)
            self.home.folder.with_name("home.lost").rename(self.home.folder)
        try:
            self.update(lambda files: files == wanted)
        except AssertionError as error:
            left = self.files()
            difference = f"leaked {sorted(left - wanted)}, lacks {sorted(wanted - left)}"
            raise AssertionError(f"cut at {cut}: {error}; {difference}") from error
        return True

    def _stop_when_confirmed(self, process: int) -> None:
        """End an agent that lives beyond its update: the points of its end are points too."""
        try:
            wait_until(lambda: not _lives(process) or self.confirmed(TWO), 60)
            os.kill(process, signal.SIGTERM)
        except ProcessLookupError:
            pass


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Answers:
    """The plant's side of one device: asks, and waits for the answer."""

    def __init__(self, port: int, name: str) -> None:
        self._found: dict[Any, dict[str, Any]] = {}
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, f"plant-{name}")
        self._client.on_message = lambda _client, _data, message: self._keep(json.loads(message.payload))
        ready = threading.Event()
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(f"plant/{name}/out", 1)
        self._client.loop_start()
        assert ready.wait(5)

    def _keep(self, answer: dict[str, Any]) -> None:
        self._found.setdefault(answer["key"], answer)

    def ask(self, topic: str, number: int) -> dict[str, Any]:
        self._client.publish(topic, json.dumps({"id": number, "AT": 0, "V": 0}), qos=1)
        wait_until(lambda: number in self._found, 30, f"answer {number}")
        return self._found[number]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def devices(
    tmp_path: Path, broker: Broker, signed: SignedReleases, registry_side: RegistrySide
) -> Iterator[list[Device]]:
    """Two devices that run release 1, and are assigned release 2 since."""
    published(signed, tmp_path, ONE)
    published(signed, tmp_path, TWO, model=regression(bias=1000.0))
    with contextlib.ExitStack() as stack:
        found = []
        for name in ("press-1", "press-2"):
            (tmp_path / name).mkdir()
            device = Device(name, tmp_path / name, signed, broker)
            stack.callback(device.close)
            found.append(device)
            signed.assign(name, ONE, streams=(device.stream,), window_s=0.5, confirm_s=0.05)
            process = device.begin()
            wait_until(lambda device=device: device.confirmed(ONE), 60, "release 1")
            os.kill(process, signal.SIGTERM)
            assert device.ended() == 0
            device.keep()
            signed.assign(name, TWO, streams=(device.stream,), window_s=0.5, confirm_s=0.05)
        yield found


def _leftover(name: str) -> bool:
    return name.startswith("partial/") or name.endswith((".tmp", ".old", ".damaged"))


def cut_everywhere(devices: list[Device], every: int, *, lossy: bool) -> tuple[int, int]:
    """Cut the power at one point in `every`; return (points that there are, points tried and survived)."""
    devices[0].update(lambda files: not any(_leftover(name) for name in files))
    wanted = {name for name in devices[0].files() if not _leftover(name)}  # a stop may cut off a question
    found = len(devices[0].points())
    chosen = list(range(1 + random.Random(found).randrange(every), found + 1, every))

    def work(device: Device, points: list[int]) -> int:
        return sum(device.survives(point, wanted, lossy=lossy) is True for point in points)

    with ThreadPoolExecutor(len(devices)) as pool:
        shares = [chosen[index :: len(devices)] for index in range(len(devices))]
        survived = sum(pool.map(work, devices, shares))
    print(
        f"{'lossy ' if lossy else ''}power cuts: {found} points, {len(chosen)} tried, {survived} reached and survived"
    )
    return found, survived


@pytest.mark.slow
@pytest.mark.sample
@pytest.mark.timeout(300)
@pytest.mark.parametrize("lossy", [False, True])
def test_a_sample_of_power_cuts_in_an_update_is_survived(devices: list[Device], lossy: bool) -> None:
    found, survived = cut_everywhere(devices, 25, lossy=lossy)
    assert found >= FEWEST_POINTS
    assert survived >= 6


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_power_cut_at_every_point_of_an_update_is_survived(devices: list[Device]) -> None:
    _, survived = cut_everywhere(devices, 1, lossy=False)
    assert survived >= FEWEST_POINTS


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_what_was_not_synced_may_be_lost_at_every_third_point_of_an_update(devices: list[Device]) -> None:
    cut_everywhere(devices, 3, lossy=True)
