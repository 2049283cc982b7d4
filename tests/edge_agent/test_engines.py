"""An engine's key: all that the compiled code depends on, and nothing else."""

import errno
from pathlib import Path
from typing import Any

import msgspec
import pytest
from simulators.sample_documents import manifest

from edge_agent.engines import EngineStore, engine_key, engine_parts
from edge_agent.session_plan import CPU, SessionPlan
from protocols.manifest import FileInfo

OPENVINO, TENSORRT = "OpenVINOExecutionProvider", "TensorrtExecutionProvider"
PLAN = SessionPlan(providers=((OPENVINO, {"device_type": "GPU"}), CPU), threads=2)
GIVEN: dict[str, Any] = {
    "manifest": manifest(),
    "plan": PLAN,
    "runtime": "1.24.1",
    "drivers": {"intel-gpu": "xe 6.12", "compute-runtime": None},
    "device": {"arch": "x86_64", "cpu": "N100", "cpu_features": ("avx2",), "accelerators": ("/dev/dri/renderD128",)},
}


def key(**changes: Any) -> str:
    parts = engine_parts(**{**GIVEN, **changes})
    assert parts is not None
    return engine_key(parts)


def other_plan(**changes: Any) -> SessionPlan:
    return msgspec.structs.replace(PLAN, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"manifest": msgspec.structs.replace(manifest(), files={"model.onnx": FileInfo("cd" * 32, 1001)})},
        {"runtime": "1.24.2"},
        {"drivers": {"intel-gpu": "xe 6.13", "compute-runtime": None}},
        {"drivers": {"intel-gpu": "xe 6.12", "compute-runtime": "libigdrcl.so 1 2"}},
        {"device": {**GIVEN["device"], "cpu": "N200"}},
        {"device": {**GIVEN["device"], "cpu_features": ("avx2", "avx512f")}},
        {"device": {**GIVEN["device"], "accelerators": ()}},
        {"plan": other_plan(providers=((OPENVINO, {"device_type": "NPU"}), CPU))},
        {"plan": other_plan(providers=((TENSORRT, {"device_type": "GPU"}), CPU))},
        {"plan": other_plan(precision="float16")},
        {"plan": other_plan(optimization="basic")},
    ],
    ids=["model", "runtime", "driver", "library", "cpu", "features", "accelerator", "options", "provider", "precision",
         "optimization"],
)  # fmt: skip
def test_what_compiled_code_depends_on_changes_the_key(changes: dict[str, Any]) -> None:
    assert key(**changes) != key()


@pytest.mark.parametrize(
    "plan",
    [
        other_plan(threads=4),
        other_plan(cache=Path("/elsewhere")),
        other_plan(asked=TENSORRT),
        other_plan(allow_fallback=True),
        other_plan(mapped=Path("/mapped")),
        other_plan(prepacked=False),
        other_plan(max_batch=8),
    ],
    ids=["threads", "cache", "asked", "allow_fallback", "mapped", "prepacked", "max_batch"],
)
def test_what_compiled_code_does_not_depend_on_leaves_the_key(plan: SessionPlan) -> None:
    assert key(plan=plan) == key()


def test_a_version_of_the_same_graph_has_the_same_key() -> None:
    assert key(manifest=msgspec.structs.replace(manifest(), version=9)) == key()


def test_nothing_is_compiled_for_the_cpu() -> None:
    assert engine_parts(**{**GIVEN, "plan": SessionPlan()}) is None
    assert engine_parts(**{**GIVEN, "plan": SessionPlan(providers=("CUDAExecutionProvider", CPU))}) is None


def test_a_damaged_engine_on_a_disk_that_takes_nothing_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`rename` fails as on a read-only disk, which not every machine that tests may mount."""
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "engine.json").write_text("{damaged")

    def read_only(path: Path, target: Path) -> Path:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "rename", read_only)
    assert EngineStore(tmp_path).find("key") is None
    EngineStore(tmp_path).discard("key")
