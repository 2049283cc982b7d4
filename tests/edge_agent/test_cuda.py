"""ONNX Runtime's GPU build from PyPI on a machine without a GPU: what it lacks is said, and never silently the CPU."""

import mmap
import os
from pathlib import Path

import pytest
from simulators.agent_process import ROOT
from simulators.runtime_builds import runtime_build
from simulators.small_models import TOLERANCE, write_release

from devices.provider_options import lasting_options, session_options
from devices.providers import CPU, CUDA, TENSORRT
from edge_agent.preflight import Limits, PreflightReport, prove
from edge_agent.session_plan import SessionPlan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

VERSION = "1.31.1"
LIMITS = Limits(120, 0)


@pytest.fixture(scope="module")
def build() -> Path:
    """A folder with the GPU build of ONNX Runtime."""
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has an NVIDIA driver")
    return runtime_build("onnxruntime-gpu", VERSION)


@pytest.fixture
def release(build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(build), str(ROOT)]))
    write_release(tmp_path, elsewhere=TOLERANCE)
    return tmp_path


def asked(release: Path, *providers: str, allow_fallback: bool = False) -> PreflightReport:
    manifest = write_release(release, elsewhere=TOLERANCE)
    options = tuple((name, lasting_options(name, manifest, 2**30, ())) for name in providers)
    return prove(release, SessionPlan(providers=options, allow_fallback=allow_fallback), LIMITS)


def test_cuda_without_its_libraries_is_a_refused_fall_back_that_names_the_library(release: Path) -> None:
    report = asked(release, CUDA, CPU)
    assert (report.passed, report.check, report.asked, report.placement) == (False, "load", CUDA, {CPU: 6})
    assert "CUDAExecutionProvider was asked for, and ONNX Runtime placed CPUExecutionProvider 6 nodes" in str(
        report.reason
    )
    assert "Failed to load library libonnxruntime_providers_cuda.so with error: lib" in str(report.reason)


def test_tensorrt_without_its_libraries_is_refused_and_names_the_library(release: Path) -> None:
    report = asked(release, TENSORRT, CUDA, CPU)
    assert (report.passed, report.check, report.asked) == (False, "load", TENSORRT)
    assert "Failed to load library libonnxruntime_providers_tensorrt.so with error: lib" in str(report.reason)


@pytest.mark.parametrize("providers", [(CUDA, CPU), (TENSORRT, CUDA, CPU)])
def test_an_assignment_that_allows_it_is_served_by_the_cpu_and_says_so(
    release: Path, providers: tuple[str, ...]
) -> None:
    report = asked(release, *providers, allow_fallback=True)
    assert (report.passed, report.asked, report.provider) == (True, providers[0], CPU)


@pytest.mark.parametrize(
    ("provider", "library"),
    [(CUDA, "libonnxruntime_providers_cuda.so"), (TENSORRT, "libonnxruntime_providers_tensorrt.so")],
)
def test_every_option_that_is_given_is_one_that_this_build_knows(
    release: Path, build: Path, provider: str, library: str
) -> None:
    manifest = write_release(release)
    options = lasting_options(provider, manifest, 2**30, ())
    for precision in ("float32", "float16", "int8"):
        options |= session_options(provider, threads=1, precision=precision, cache=release)  # type: ignore[arg-type]
    assert options
    with (build / "onnxruntime" / "capi" / library).open("rb") as file:
        code = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        unknown = [name for name in options if code.find(name.encode() + b"\0") < 0]
        code.close()
    assert not unknown
