"""A session is made as its plan says, on real ONNX Runtime."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from simulators.small_models import CPU, wooded_regression, write_release

from edge_agent.session_plan import SessionPlan
from edge_agent.sessions import configure, graph_path, one_line, session_providers

TENSORRT, QNN, XNNPACK, DIRECTML = (f"{name}ExecutionProvider" for name in ("Tensorrt", "QNN", "Xnnpack", "Dml"))


def configured(plan: SessionPlan) -> Any:
    options = onnxruntime.SessionOptions()
    configure(options, plan)
    return options


def test_threads_are_the_plans() -> None:
    assert configured(SessionPlan(threads=3)).intra_op_num_threads == 3


def test_a_provider_with_threads_of_its_own_gets_them_all() -> None:
    plan = SessionPlan(providers=(XNNPACK, CPU), threads=3)
    assert configured(plan).intra_op_num_threads == 1
    assert session_providers(plan)[0] == (XNNPACK, {"intra_op_num_threads": "3"})


def test_the_placement_is_always_recorded_and_threads_do_not_spin() -> None:
    options = configured(SessionPlan())
    assert options.get_session_config_entry("session.record_ep_graph_assignment_info") == "1"
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_directml_runs_in_order_without_a_memory_pattern() -> None:
    options = configured(SessionPlan(providers=(DIRECTML, CPU)))
    assert options.enable_mem_pattern is False
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert configured(SessionPlan()).enable_mem_pattern is True


def test_what_the_plan_says_of_a_provider_stands_above_what_the_session_asks(tmp_path: Path) -> None:
    plan = SessionPlan(providers=((TENSORRT, {"trt_timing_cache_path": "/fast"}), CPU), cache=tmp_path)
    assert session_providers(plan) == [
        (
            TENSORRT,
            {
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": str(tmp_path),
                "trt_timing_cache_enable": "1",
                "trt_timing_cache_path": "/fast",
            },
        ),
        (CPU, {}),
    ]


def test_a_graph_of_compiled_parts_is_made_first_and_loaded_from_then_on(tmp_path: Path) -> None:
    manifest = write_release(tmp_path / "release")
    plan = SessionPlan(providers=(QNN, CPU), cache=tmp_path)
    assert graph_path(tmp_path / "release", manifest, plan) == tmp_path / "release" / "model.onnx"
    assert configured(plan).get_session_config_entry("ep.context_file_path") == str(tmp_path / "context.onnx")
    (tmp_path / "context.onnx").write_bytes(b"compiled")
    assert graph_path(tmp_path / "release", manifest, plan) == tmp_path / "context.onnx"
    with pytest.raises(RuntimeError):
        configured(plan).get_session_config_entry("ep.context_enable")


def test_a_long_error_keeps_its_beginning_and_its_end() -> None:
    text = one_line(RuntimeError("/onnxruntime/a.cc:1 " + "std::x " * 100 + "\n Invalid option: nonsense"))
    assert text.startswith("/onnxruntime/a.cc:1 ")
    assert text.endswith("Invalid option: nonsense")
    assert len(text) < 300


def test_loading_keeps_no_memory_that_serving_does_not_need(tmp_path: Path) -> None:
    write_release(tmp_path, model=wooded_regression())
    script = (
        "import ctypes, json, sys; from pathlib import Path; import onnxruntime, psutil\n"
        "from edge_agent.releases import read_release; from edge_agent.session_plan import SessionPlan\n"
        "from edge_agent.sessions import open_session\n"
        "folder = Path(sys.argv[1]); rss = lambda: psutil.Process().memory_info().rss; before = rss()\n"
        "session = open_session(folder, read_release(folder), SessionPlan()); kept = rss()\n"
        "ctypes.CDLL(None).malloc_trim(0); print(json.dumps([kept - before, kept - rss()]))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    kept, unneeded = json.loads(done.stdout)
    assert unneeded < kept / 10
