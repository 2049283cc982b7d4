"""The bench on a device whose provider compiles: a release is loaded with its engine, or not at all."""

from pathlib import Path
from typing import Any

import pytest
from simulators.small_models import CPU, write_release

from edge_agent.bench import Bench
from edge_agent.engines import EngineStore, Seal, engine_key, take_stock
from edge_agent.errors import EngineMissingError
from edge_agent.hardware import Hardware
from edge_agent.releases import ReleaseStore
from edge_agent.session_plan import SessionPlan
from edge_agent.settings import AgentHome, Settings
from protocols.manifest import Manifest
from protocols.names import ReleaseRef

ONE = ReleaseRef("ccpp", 1)


class CompilingHardware(Hardware):
    """This machine, as if its CPU provider compiled for the driver of that name."""

    driver = "580"

    def engine_parts(self, manifest: Manifest, plan: SessionPlan) -> dict[str, Any]:
        return {"driver": self.driver, "model": manifest.digest}


class Device:
    def __init__(self, folder: Path) -> None:
        home = AgentHome(folder)
        settings = Settings(device="press-1", site="osaka", profile="x86", broker_url="mqtt://127.0.0.1:1")
        store = ReleaseStore(home.releases)
        self.manifest = write_release(store.path(ONE))
        self.bench = Bench(home, settings, store)
        self.bench.hardware = CompilingHardware("x86", folder)
        self.engines = EngineStore(home.engines)
        self.key = engine_key({"driver": "580", "model": self.manifest.digest})

    def compile(self, name: str, data: bytes, *, reused: bool = True) -> None:
        staged = self.engines.stage(self.key)
        (staged / name).write_bytes(data)
        seal = Seal("ccpp", self.manifest.digest, {}, take_stock(staged), reused, 1.0)
        self.engines.seal(self.key, seal)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_a_release_is_loaded_with_its_engine(device: Device) -> None:
    device.compile("graph.engine", b"compiled")
    model = device.bench.load(ONE, False)
    assert model.plan.cache is not None
    assert (model.plan.cache / "graph.engine").read_bytes() == b"compiled"
    assert model.provider == CPU


def test_an_engine_that_no_session_reuses_is_not_handed_to_one(device: Device) -> None:
    device.compile("graph.engine", b"compiled", reused=False)
    assert device.bench.load(ONE, False).plan.cache is None


def test_without_an_engine_nothing_is_compiled_where_a_session_is_made(device: Device) -> None:
    with pytest.raises(EngineMissingError, match="there is no engine of it for this device"):
        device.bench.load(ONE, False)


def test_an_engine_of_another_driver_is_not_loaded(device: Device) -> None:
    device.compile("graph.engine", b"compiled")
    device.bench.hardware.driver = "590"  # type: ignore[attr-defined]
    with pytest.raises(EngineMissingError):
        device.bench.load(ONE, False)


def test_an_engine_that_turns_out_not_to_load_is_deleted_and_asked_for_anew(device: Device) -> None:
    device.compile("context.onnx", b"whole, as its digest says, and of no use")
    with pytest.raises(EngineMissingError, match=r"its engine cannot be loaded: context\.onnx: ONNX Runtime cannot"):
        device.bench.load(ONE, False)
    assert device.engines.find(device.key) is None


def test_engines_go_with_their_releases(device: Device) -> None:
    device.compile("graph.engine", b"compiled")
    device.bench.keep_engines(frozenset({ONE}))
    assert device.engines.find(device.key) is not None
    device.bench.keep_engines(frozenset({ReleaseRef("ccpp", 2)}))
    assert device.engines.find(device.key) is None
