"""The whole agent on ONNX Runtime's OpenVINO build from PyPI, on this machine's CPU: proven, compiled, told, kept.

On its CPU, that build writes what it compiled and cannot read it back: the wheel lacks OpenVINO's reader for it. So
it compiles again at each load, which the agent must find out and say.
"""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from simulators.agent_home import make_home
from simulators.agent_process import ROOT, Agent, Line, assign, published
from simulators.broker_process import Broker, wait_until
from simulators.registry_side import RegistrySide, SignedReleases
from simulators.runtime_builds import runtime_build
from simulators.small_models import TOLERANCE, deep_regression, regression, write_release

from edge_agent.building import Builder, Task
from edge_agent.engines import EngineStore, engine_parts
from edge_agent.preflight import Limits, PreflightReport, prove
from edge_agent.session_plan import CPU, SessionPlan
from edge_agent.settings import AgentHome
from protocols.names import ReleaseRef

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OPENVINO = "OpenVINOExecutionProvider"
VERSION = "1.24.1"
ONE, TWO = ReleaseRef("ccpp", 1), ReleaseRef("ccpp", 2)
PLAN = SessionPlan(providers=((OPENVINO, {"device_type": "CPU", "precision": "ACCURACY"}), CPU), threads=1)
LIMITS = Limits(120, 0)


@pytest.fixture(scope="module")
def build() -> Path:
    """A folder with the OpenVINO build of ONNX Runtime."""
    return runtime_build("onnxruntime-openvino", VERSION)


@pytest.fixture
def path(build: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where children of this process find modules: the OpenVINO build first."""
    path = os.pathsep.join([str(build), str(ROOT)])
    monkeypatch.setenv("PYTHONPATH", path)
    return path


@pytest.fixture
def home(tmp_path: Path, signed: SignedReleases, broker: Broker) -> AgentHome:
    return make_home(tmp_path / "agent", signed, broker.url, profile="x86-openvino")


@pytest.fixture
def start(home: AgentHome, path: str) -> Iterator[Callable[[], Agent]]:
    """Starts the agent on the OpenVINO build."""
    started: list[Agent] = []

    def begin() -> Agent:
        started.append(Agent(home, {"PYTHONPATH": path}))
        return started[-1]

    yield begin
    for agent in started:
        agent.close()


@pytest.fixture
def agent(start: Callable[[], Agent]) -> Agent:
    return start()


direct = functools.partial(assign, profile="x86-openvino")


def confirmed(side: RegistrySide, times: int = 1) -> None:
    side.wait_for(lambda: side.kinds().count("release-confirmed") == times, timeout_s=60)


def event(side: RegistrySide, kind: str) -> Any:
    return next(event for event in side.events.values() if event.kind == kind)


def status_text(home: AgentHome, path: str) -> str:
    words = [sys.executable, "-m", "genba", "agent", "status", "--home", str(home.folder)]
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.sample
def test_the_whole_agent_runs_on_openvino_and_says_so_everywhere(
    agent: Agent,
    home: AgentHome,
    path: str,
    line: Line,
    signed: SignedReleases,
    registry_side: RegistrySide,
    tmp_path: Path,
) -> None:
    published(signed, tmp_path, ONE, elsewhere=TOLERANCE)
    direct(signed, registry_side, ONE)
    confirmed(registry_side)
    proof = event(registry_side, "preflight-passed").detail
    assert (proof["asked"], proof["provider"], proof["rows"]) == (OPENVINO, OPENVINO, 16)
    assert proof["placement"] == {OPENVINO: 4, CPU: 2}  # it has no IsNaN
    assert proof["build_s"] > 0
    line.send({"id": 1, "AT": 3, "V": 1})
    wait_until(lambda: 1 in line.predictions, what="a prediction")
    assert line.predictions[1][0]["prediction"] == pytest.approx(15.0, abs=1e-3)
    window = registry_side.wait_for(lambda: list(registry_side.windows.values()))[-1]
    assert (window.asked, window.provider, window.placement) == (OPENVINO, OPENVINO, {OPENVINO: 4, CPU: 2})
    served = registry_side.wait_for(lambda: [s for s in registry_side.statuses if s.streams and s.streams[0].version])
    assert (served[-1].streams[0].asked, served[-1].streams[0].placement) == (OPENVINO, {OPENVINO: 4, CPU: 2})
    assert "ccpp@1   OpenVINO: 4 of 6 nodes (CPU 2)" in status_text(home, path)
    assert agent.stop() == 0


def test_a_changed_key_has_another_engine_built_and_an_unchanged_one_does_not(
    start: Callable[[], Agent],
    home: AgentHome,
    signed: SignedReleases,
    registry_side: RegistrySide,
    tmp_path: Path,
) -> None:
    agent = start()
    published(signed, tmp_path, ONE, elsewhere=TOLERANCE)
    direct(signed, registry_side, ONE)
    confirmed(registry_side)
    assert agent.stop() == 0
    (first,) = home.engines.iterdir()

    def serving() -> bool:
        return any(s.online and s.streams and s.streams[0].version == 1 for s in registry_side.statuses)

    registry_side.statuses.clear()
    again = start()
    registry_side.wait_for(serving, timeout_s=60)
    assert again.stop() == 0
    assert "release-rebuilds" not in registry_side.kinds()
    assert list(home.engines.iterdir()) == [first]

    with home.settings_path.open("a") as settings:  # stands for a driver that changed
        settings.write(f'[provider_options.{OPENVINO}]\nnum_streams = "1"\n')
    changed = start()
    confirmed(registry_side, 2)
    assert changed.stop() == 0
    assert "there is no engine of it for this device" in event(registry_side, "release-rebuilds").text
    (second,) = home.engines.iterdir()
    assert second.name != first.name


def test_the_old_model_serves_while_the_new_ones_engine_is_compiled(
    agent: Agent,
    home: AgentHome,
    path: str,
    line: Line,
    signed: SignedReleases,
    registry_side: RegistrySide,
    tmp_path: Path,
) -> None:
    published(signed, tmp_path, ONE, elsewhere=TOLERANCE)
    direct(signed, registry_side, ONE)
    confirmed(registry_side)
    nothing = regression(weights=(0.0, 0.0), bias=0.0)
    published(signed, tmp_path, TWO, model=deep_regression(2000), golden_by=nothing, elsewhere=TOLERANCE)
    direct(signed, registry_side, TWO)

    def building() -> Any:
        rows = (row for status in registry_side.statuses for row in status.releases)
        return next((row for row in rows if row.version == 2 and row.building), None)

    row = registry_side.wait_for(building, timeout_s=60)
    assert (row.state, row.building.limit_s) == ("preflight", 1800.0)
    assert "ccpp@2   building" in status_text(home, path)
    for number in range(20):
        line.send({"id": number, "AT": 3, "V": 1})
    wait_until(lambda: len(line.predictions) == 20, what="the old model's predictions")
    assert {found[0]["version"] for found in line.predictions.values()} == {1}
    confirmed(registry_side, 2)
    assert len(list(home.engines.iterdir())) == 2, "that of the release before it is kept"


def test_a_device_that_openvino_does_not_find_here_is_a_refused_fall_back_with_its_nodes_and_its_reason(
    start: Callable[[], Agent],
    home: AgentHome,
    path: str,
    signed: SignedReleases,
    registry_side: RegistrySide,
    tmp_path: Path,
) -> None:
    with home.settings_path.open("a") as settings:
        settings.write(f'[provider_options.{OPENVINO}]\ndevice_type = "GPU"\n')
    agent = start()
    published(signed, tmp_path, ONE, elsewhere=TOLERANCE)
    direct(signed, registry_side, ONE)
    registry_side.wait_for(lambda: "release-refused" in registry_side.kinds(), timeout_s=60)
    refused = event(registry_side, "release-refused")
    assert f"{OPENVINO} was asked for, and ONNX Runtime placed {CPU} 6 nodes (IsNaN, Where, IsNaN" in refused.text
    assert "(ONNX Runtime: [OpenVINO] Device GPU is not available)" in refused.text
    assert (refused.detail["asked"], refused.detail["placement"]) == (OPENVINO, {CPU: 6})
    direct(signed, registry_side, ONE, attempts={ONE: 2}, allow_fallback=True)
    confirmed(registry_side)
    assert "ccpp@1   asked OpenVINO, ran CPU: all 6 nodes" in status_text(home, path)
    assert agent.stop() == 0


class Compiled:
    """A release that OpenVINO compiles in children of this process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache = folder, folder / "cache"
        self.manifest = write_release(folder / "release", elsewhere=TOLERANCE)
        self.cache.mkdir()

    def run(self, *, build: bool = False) -> PreflightReport:
        plan = msgspec.structs.replace(PLAN, cache=self.cache)
        return prove(self.folder / "release", plan, LIMITS, build=build)

    def blobs(self) -> list[Path]:
        return sorted(self.cache.rglob("*.blob"))


@pytest.fixture
def compiled(path: str, tmp_path: Path) -> Compiled:
    return Compiled(tmp_path)


def test_openvinos_own_cache_is_filled_by_a_build(compiled: Compiled) -> None:
    report = compiled.run(build=True)
    assert (report.passed, report.provider) == (True, OPENVINO)
    (blob,) = compiled.blobs()
    assert blob.read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize("damage", [b"", b"\0" * 5000, None], ids=["empty", "zeros", "half"])
def test_a_damaged_openvino_cache_crashes_nothing_and_changes_no_prediction(
    compiled: Compiled, damage: bytes | None
) -> None:
    compiled.run(build=True)
    (blob,) = compiled.blobs()
    whole = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    report = compiled.run()
    assert (report.passed, report.provider) == (True, OPENVINO)
    assert report.largest_difference < 1e-3


def test_a_cache_that_openvino_compiles_again_is_found_out_and_not_kept(compiled: Compiled, tmp_path: Path) -> None:
    store = EngineStore(tmp_path / "engines")
    parts = engine_parts(compiled.manifest, PLAN, VERSION, {}, {})
    assert parts is not None
    task = Task(tmp_path / "release", compiled.manifest, PLAN, parts)
    report = Builder(store, prove, lambda: LIMITS).prove(task, LIMITS, lambda: False)
    assert report.passed
    engine = store.find(task.key)
    assert engine is not None
    assert engine.seal.reused == report.reused == bool(list(engine.folder.rglob("*.blob")))


CONTEXT = """
import sys
from pathlib import Path
from devices import provider_options
from edge_agent.errors import ModelLoadError
from edge_agent.releases import read_release
from edge_agent.session_plan import CPU, SessionPlan
from edge_agent.sessions import graph_path, open_session

provider_options.ENGINES = {"OpenVINOExecutionProvider": "context"}  # as if it kept its engines so
folder, cache = map(Path, sys.argv[1:])
manifest, plan = read_release(folder), SessionPlan(providers=("OpenVINOExecutionProvider", CPU), cache=cache)
open_session(folder, manifest, plan)
assert graph_path(folder, manifest, plan) == cache / "context.onnx"
try:
    open_session(folder, manifest, plan)
except ModelLoadError as error:
    print(error)
else:
    print("loaded")
"""


def test_a_graph_of_compiled_parts_is_really_written_and_loaded_in_place_of_the_model(compiled: Compiled) -> None:
    """With the entries that a provider such as QNN gets; a build that cannot read its own says so in one line."""
    words = [sys.executable, "-c", CONTEXT, str(compiled.folder / "release"), str(compiled.cache)]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert b"EPContext" in (compiled.cache / "context.onnx").read_bytes()
    assert said == "loaded" or said.startswith("context.onnx: ONNX Runtime cannot load it: ")


def test_a_build_that_is_over_its_time_is_ended(compiled: Compiled, tmp_path: Path) -> None:
    parts = engine_parts(compiled.manifest, PLAN, VERSION, {}, {})
    assert parts is not None
    store = EngineStore(tmp_path / "engines")
    task = Task(tmp_path / "release", compiled.manifest, PLAN, parts)
    report = Builder(store, prove, lambda: Limits(0.05, 0)).prove(task, LIMITS, lambda: False)
    assert report.reason == "no engine within 0.05 s; give it longer with build_s in agent.toml"
    assert store.find(task.key) is None


def test_an_option_that_openvino_does_not_have_is_a_refusal_and_not_the_cpu(compiled: Compiled) -> None:
    plan = SessionPlan(providers=((OPENVINO, {"nonsense": "1"}), CPU))
    report = prove(compiled.folder / "release", plan, LIMITS)
    assert (report.passed, report.check) == (False, "load")
    assert "Invalid OpenVINO EP option: nonsense" in str(report.reason)


def test_what_is_installed_there_is_openvinos_build(path: str) -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "devices.runtime"], cwd=ROOT, capture_output=True, check=True, timeout=60
    )
    found = json.loads(asked.stdout.splitlines()[-1])
    assert found["version"] == VERSION
    assert OPENVINO in found["providers"]
