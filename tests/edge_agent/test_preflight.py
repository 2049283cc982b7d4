"""The preflight: a release proves itself in a process of its own; a crash, a hang and a lie are reports."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from simulators.bad_graphs import BAD, huge_inside
from simulators.small_models import (
    CPU,
    TOLERANCE,
    add_variant,
    classification,
    crashing_regression,
    file_info,
    hungry_regression,
    nan_regression,
    picky_regression,
    regression,
    slow_regression,
    write_release,
)

from edge_agent.errors import ModelLoadError, ReleaseRefusedError
from edge_agent.examination import examine
from edge_agent.golden import compare
from edge_agent.inference import Model
from edge_agent.preflight import Limits, Order, prove
from edge_agent.session_plan import SessionPlan
from protocols.manifest import TensorSpec, Tolerance

LIMITS = Limits(seconds=30.0, memory_bytes=600 * 1024 * 1024)
INSIDE = [np.array([[1.0], [2.0]], np.float32)] * 2


def child(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", textwrap.dedent(code))


def test_a_good_release_passes_in_a_child_and_is_measured(tmp_path: Path) -> None:
    write_release(tmp_path)
    report = prove(tmp_path, SessionPlan(threads=1), LIMITS)
    assert report.passed, report.reason
    assert (report.provider, report.rows) == (CPU, 16)
    assert report.placement[CPU] > 0
    assert 0 < report.latency_p50_ms <= report.latency_p99_ms
    assert report.memory_bytes > 0


def test_a_classifier_with_texts_passes(tmp_path: Path) -> None:
    write_release(tmp_path, model=classification())
    assert examine(tmp_path, SessionPlan()).passed


def test_a_model_that_computes_something_else_here_is_refused(tmp_path: Path) -> None:
    def shift(outputs: list[Any]) -> None:
        outputs[0][3] += 1.0

    write_release(tmp_path, spoil=shift)
    report = prove(tmp_path, SessionPlan(), LIMITS)
    assert not report.passed
    assert report.check == "golden"
    assert report.reason is not None
    assert "prediction of row 3" in report.reason


def test_a_model_that_gives_nan_is_refused(tmp_path: Path) -> None:
    write_release(tmp_path, model=nan_regression(), columns=[-INSIDE[0], INSIDE[1]])
    report = prove(tmp_path, SessionPlan(), LIMITS)
    assert (report.passed, report.check) == (False, "golden")
    assert report.reason == "golden vectors: prediction of row 0 is nan; it must be a number"


def test_a_model_that_fails_on_its_golden_vectors_is_refused(tmp_path: Path) -> None:
    manifest = write_release(tmp_path, model=picky_regression(), columns=INSIDE)
    arrays = dict(np.load(tmp_path / "golden.npz"))
    np.savez(tmp_path / "golden.npz", **{**arrays, "input_0": arrays["input_0"] + 100})
    files = {**manifest.files, "golden.npz": file_info(tmp_path / "golden.npz")}
    manifest = write_release_again(tmp_path, manifest, files=files)
    report = prove(tmp_path, SessionPlan(), LIMITS)
    assert report.reason is not None
    assert "the model fails" in report.reason


def write_release_again(folder: Path, manifest: Any, **changes: Any) -> Any:
    import msgspec

    from protocols.manifest import encode_manifest

    manifest = msgspec.structs.replace(manifest, **changes)
    (folder / "release.json").write_bytes(encode_manifest(manifest))
    return manifest


def test_a_release_that_is_not_proven_on_the_provider_is_refused(tmp_path: Path) -> None:
    write_release(tmp_path, providers={"CUDAExecutionProvider": TOLERANCE})
    with pytest.raises(ReleaseRefusedError, match="not proven on CPUExecutionProvider"):
        examine(tmp_path, SessionPlan())


def test_a_provider_that_is_not_installed_is_refused(tmp_path: Path) -> None:
    manifest = write_release(tmp_path)
    with pytest.raises(ModelLoadError, match="has no CUDAExecutionProvider"):
        Model(tmp_path, manifest, SessionPlan(providers=("CUDAExecutionProvider", CPU)))


def test_a_graph_that_wants_what_the_manifest_does_not_name_is_refused(tmp_path: Path) -> None:
    manifest = write_release(tmp_path)
    manifest = write_release_again(tmp_path, manifest, inputs=(TensorSpec("AT", "float32"),))
    with pytest.raises(ModelLoadError, match="its inputs are"):
        Model(tmp_path, manifest)


def test_bytes_that_are_no_model_are_refused_in_one_line(tmp_path: Path) -> None:
    manifest = write_release(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"this is no model\n" * 10)
    with pytest.raises(ModelLoadError, match="cannot load it") as caught:
        Model(tmp_path, manifest)
    assert "\n" not in str(caught.value)


def columns(at: float, v: float) -> list[Any]:
    return [np.full((2, 1), at, np.float32), np.full((2, 1), v, np.float32)]


def test_a_model_that_crashes_its_process_is_a_report(tmp_path: Path) -> None:
    write_release(tmp_path, model=crashing_regression(), golden_by=regression())
    report = prove(tmp_path, SessionPlan(), LIMITS)
    assert (report.passed, report.check) == (False, "load")
    assert report.reason == (
        "the model killed its process (SIGSEGV: it reached for memory that is not its own) while the model was loaded"
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (signal.SIGILL, "SIGILL: an instruction that this processor does not have"),
        (signal.SIGABRT, "SIGABRT: a library gave up"),
        (signal.SIGBUS, "SIGBUS"),
        (signal.SIGKILL, "SIGKILL: from outside; this machine may be short of memory"),
    ],
)
def test_each_way_to_die_is_told_with_the_check_that_was_running(
    tmp_path: Path, number: signal.Signals, text: str
) -> None:
    code = f"""
        import os
        print('{{"check": "golden"}}', flush=True)
        os.kill(os.getpid(), {int(number)})"""
    report = prove(tmp_path, SessionPlan(), LIMITS, command=child(code))
    assert report.check == "golden"
    assert report.reason is not None
    assert text in report.reason
    assert report.reason.endswith("while it ran its golden vectors")


def test_an_instruction_that_this_processor_lacks_is_a_report(tmp_path: Path) -> None:
    """A real child, whose model executes what no processor has (ud2, udf) when it is loaded."""
    write_release(tmp_path)
    code = """
        import ctypes, mmap, platform, sys
        import edge_agent.examination as examination

        def load(*_):
            lacking = bytes.fromhex("0f0b" if platform.machine() == "x86_64" else "00000000")
            page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            page.write(lacking)
            ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()

        examination.Model = load
        sys.exit(examination.main([]))"""
    report = prove(tmp_path, SessionPlan(), LIMITS, command=child(code))
    assert (report.passed, report.check) == (False, "load")
    assert report.reason == (
        "the model killed its process (SIGILL: an instruction that this processor does not have; it was built for "
        "another) while the model was loaded"
    )


@pytest.mark.parametrize(("make", "says"), BAD)
def test_a_file_that_no_device_could_run_is_a_report_of_one_line(
    tmp_path: Path, make: Callable[[], bytes], says: str
) -> None:
    manifest = write_release(tmp_path)
    (tmp_path / "model.onnx").write_bytes(make())
    write_release_again(tmp_path, manifest, files={**manifest.files, "model.onnx": file_info(tmp_path / "model.onnx")})
    report = prove(tmp_path, SessionPlan(), LIMITS)
    assert (report.passed, report.check) == (False, "files")
    assert report.reason is not None
    assert re.search(f"model.onnx: .*{says}", report.reason)
    assert "\n" not in report.reason


def test_a_tensor_that_alone_is_larger_than_the_memory_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    manifest = write_release(tmp_path)
    (tmp_path / "model.onnx").write_bytes(huge_inside())
    write_release_again(tmp_path, manifest, files={**manifest.files, "model.onnx": file_info(tmp_path / "model.onnx")})
    report = prove(tmp_path, SessionPlan(), LIMITS)
    assert (report.passed, report.check) == (False, "files")
    assert report.reason == ("model.onnx: its tensor 'row' alone takes 4194304 MiB, and 600 MiB are allowed here")


def test_a_variant_proves_itself_within_its_own_tolerance(tmp_path: Path) -> None:
    near = regression(bias=10.05).SerializeToString()
    manifest = write_release(tmp_path)
    add_variant(tmp_path, manifest, near, Tolerance(0.1, 0.0))
    report = prove(tmp_path, SessionPlan(precision="int8"), LIMITS)
    assert report.passed, report.reason
    assert 0.04 < report.largest_difference < 0.06, "it is the variant that ran"
    assert prove(tmp_path, SessionPlan(), LIMITS).largest_difference == 0.0
    add_variant(tmp_path, manifest, near, Tolerance(0.01, 0.0))
    report = prove(tmp_path, SessionPlan(precision="int8"), LIMITS)
    assert (report.passed, report.check) == (False, "golden")
    (tmp_path / "model.int8.onnx").write_bytes(near + b"!")
    assert "model.int8.onnx was changed" in str(prove(tmp_path, SessionPlan(precision="int8"), LIMITS).reason)


def test_a_model_that_hangs_is_killed(tmp_path: Path) -> None:
    write_release(tmp_path, model=slow_regression(), golden_by=regression(), columns=columns(1, 1e12))
    report = prove(tmp_path, SessionPlan(), Limits(3.0, 0))
    assert (report.passed, report.check, report.figure, report.limit) == (False, "time", 3.0, 3.0)
    assert report.reason == "no verdict within 3 s; it hung while it ran its golden vectors"


def test_a_model_that_takes_more_memory_than_allowed_is_refused(tmp_path: Path) -> None:
    # 600 MiB in an instant: seen by the watch, or by the peak that the child reads at its end.
    write_release(tmp_path, model=hungry_regression(), columns=columns(1, 150e6))
    allowed = 400 * 1024 * 1024
    report = prove(tmp_path, SessionPlan(), Limits(30.0, allowed))
    assert (report.passed, report.check, report.limit) == (False, "memory", allowed)
    assert report.figure is not None
    assert report.figure > allowed
    assert "MiB of memory, and 400 MiB are allowed here" in str(report.reason)


def test_a_model_that_asks_for_memory_without_end_is_refused_before_it_gets_any(tmp_path: Path) -> None:
    write_release(tmp_path, model=hungry_regression(), golden_by=regression(), columns=columns(1, 4e9))
    report = prove(tmp_path, SessionPlan(), LIMITS)
    assert (report.passed, report.check) == (False, "memory")
    assert report.reason == "it asked for more memory than the 600 MiB that are allowed here"


def test_a_model_slower_than_its_release_promises_is_refused(tmp_path: Path) -> None:
    write_release(tmp_path, model=slow_regression(), columns=columns(1, 2000), latency_limit_ms=0.05)
    report = prove(tmp_path, SessionPlan(), LIMITS)
    assert (report.passed, report.check, report.limit) == (False, "latency", 0.05)
    assert report.figure == report.latency_p99_ms > 0.05
    assert "and the release promises 0.05 ms" in str(report.reason)
    write_release(tmp_path, model=slow_regression(), columns=columns(1, 3), latency_limit_ms=5000.0)
    assert prove(tmp_path, SessionPlan(), LIMITS).passed


@pytest.mark.parametrize("code", ["print('nonsense')", "raise SystemExit(3)", ""])
def test_a_child_without_a_report_is_a_report(tmp_path: Path, code: str) -> None:
    report = prove(tmp_path, SessionPlan(), LIMITS, command=child(code))
    assert not report.passed
    assert report.reason is not None
    assert "no report" in report.reason


def test_a_label_may_flip_only_where_the_golden_probabilities_tie(tmp_path: Path) -> None:
    manifest = write_release(tmp_path, model=classification())
    tolerance = Tolerance(0.01, 0.0)
    shares = np.array([[0.5, 0.495, 0.005], [0.8, 0.1, 0.1]], np.float32)
    want = [np.array(["low", "low"]), shares]
    assert compare(manifest, want, [np.array(["mid", "low"], object), shares + 0.005], tolerance) < 0.01
    with pytest.raises(ReleaseRefusedError, match="prediction of row 1 is mid here, expected low"):
        compare(manifest, want, [np.array(["low", "mid"], object), shares], tolerance)


def test_golden_vectors_that_are_no_archive_are_refused(tmp_path: Path) -> None:
    from edge_agent.golden import read_golden

    manifest = write_release(tmp_path)
    for data in (b"", b"no archive", b"PK\x03\x04 cut off"):
        (tmp_path / "golden.npz").write_bytes(data)
        with pytest.raises(ReleaseRefusedError, match=r"golden\.npz"):
            read_golden(tmp_path / "golden.npz", manifest)


def test_a_child_without_the_process_that_asked_for_it_ends(tmp_path: Path) -> None:
    """Killed in the instant in which the child starts, it leaves no orphan with a model that hangs."""
    order = Order(tmp_path, SessionPlan(), 0, parent=os.getppid())
    words = [sys.executable, "-m", "edge_agent.examination"]
    done = subprocess.run(words, input=msgspec.json.encode(order, enc_hook=str), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
