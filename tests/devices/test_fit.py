"""Fit: every reason against a release is said, in numbers; what is only doubtful is a warning."""

import re

import msgspec
import pytest
from simulators.sample_documents import manifest

from devices.fit import fit
from devices.profiles import load_profile
from protocols.manifest import FileInfo, Footprint, TensorSpec, Tolerance

MB = 1024 * 1024
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
TIGHT = Tolerance(1e-4, 1e-4)


def release(**fields):
    return msgspec.structs.replace(manifest(), **fields)


def test_a_release_that_fits_has_nothing_against_it(pi):
    answer = fit(release(), load_profile("raspberry-pi-4"), pi())
    assert answer.fits
    assert (answer.reasons, answer.warnings, answer.providers) == ((), (), (CPU,))


def test_a_kernel_that_holds_no_memory_limit_is_warned_of_with_the_boards_own_remedy(pi):
    profile = load_profile("raspberry-pi-4")
    assert "cgroup_enable=memory" in fit(release(), profile, pi(memory_limits=False)).warnings[0]
    elsewhere = fit(release(), profile, pi(memory_limits=False, board=None)).warnings[0]
    assert elsewhere.endswith("so no limit of it holds")
    assert not fit(release(), profile, pi(memory_limits=True)).warnings


@pytest.mark.parametrize(
    ("fields", "machine", "reason"),
    [
        ({"opset": {"": 24}}, {}, "opset 24 of ai.onnx, and the installed ONNX Runtime 1.20.1 reads up to 21"),
        ({"opset": {"ai.onnx": 21, "ai.onnx.ml": 9}}, {}, "opset 9 of ai.onnx.ml, and .* reads up to 5"),
        ({"profiles": ("x86", "x86-cuda")}, {}, "released for x86, x86-cuda, not for raspberry-pi-4"),
        (
            {"footprint": Footprint(600 * MB, 1.0, 1.0, "x")},
            {},
            "takes 600 MB memory, and profile .* 512 MB",
        ),
        ({"footprint": Footprint(500 * MB, 1.0, 1.0, "x")}, {"memory_bytes": 400 * MB}, "this machine has 400 MB"),
        ({"files": {"model.onnx": FileInfo("a", 200 * MB)}}, {}, "takes 200 MB disk, twice during a swap"),
        (
            {"files": {"model.onnx": FileInfo("a", 90 * MB)}},
            {"disk_free_bytes": 50 * MB},
            "takes 90 MB disk, and 50",
        ),
        ({"providers": {CUDA: TIGHT}}, {}, "proven on CUDAExecutionProvider; profile raspberry-pi-4 has CPUExecution"),
        ({"inputs": (TensorSpec("n", "int64"),)}, {}, "input 'n' is int64"),
        ({"operators": ("Add", "acme.press.Fold")}, {}, r"custom operators acme\.press\.Fold, which no"),
        (
            {"operators": ("ai.onnx.ml.TreeEnsemble",)},
            {},
            r"TreeEnsemble, which ONNX Runtime has since 1\.21, .* 1\.20\.1",
        ),
        ({"cpu_features": ("asimd", "sve")}, {"cpu_features": ("asimd",)}, r"with sve, and this one \(.*\) has asimd"),
        ({}, {"providers": ()}, "none of CPUExecutionProvider can be used here"),
        ({}, {"onnxruntime": None, "runtime_fault": "not installed"}, "ONNX Runtime: not installed"),
    ],
)
def test_what_does_not_fit_is_said_in_numbers(pi, fields, machine, reason):
    answer = fit(release(**fields), load_profile("raspberry-pi-4"), pi(**machine))
    assert not answer.fits
    assert len(answer.reasons) == 1
    assert re.search(reason, answer.reasons[0])


def test_every_reason_is_said_not_only_the_first(pi):
    bad = release(opset={"": 99}, profiles=("x86",), footprint=Footprint(9000 * MB, 1.0, 1.0, "x"))
    assert len(fit(bad, load_profile("raspberry-pi-4"), pi()).reasons) == 3


def test_an_opset_of_the_runtimes_own_domain_is_not_judged(pi):
    assert fit(release(opset={"": 21, "com.microsoft": 1}), load_profile("raspberry-pi-4"), pi()).fits


@pytest.mark.parametrize(
    ("machine", "warning"),
    [
        ({"arch": "x86_64"}, "profile raspberry-pi-4 is for aarch64, and this machine is x86_64"),
        ({"cores": 2}, "promises 4 cores, and 2 can be used here"),
        ({"memory_bytes": 1000 * MB}, "promises 1850 MB memory, here are 1000 MB"),
        ({"memory_free_bytes": 10 * MB}, "takes 19 MB memory, and 10 MB are free now"),
        ({"disk_free_bytes": 100 * MB}, "wants 256 MB disk, 100 MB are free"),
    ],
)
def test_a_lesser_machine_is_a_warning_so_that_a_board_can_be_tried_on_a_pc(pi, machine, warning):
    answer = fit(release(), load_profile("raspberry-pi-4"), pi(**machine))
    assert answer.fits
    assert [text for text in answer.warnings if warning in text]


def test_a_fall_back_to_the_cpu_must_be_allowed(pi):
    on_both = release(providers={CUDA: TIGHT, CPU: TIGHT})
    machine = pi(arch="x86_64", memory_bytes=16_000 * MB)
    strict = fit(on_both, load_profile("x86-cuda"), machine)
    allowed = fit(on_both, load_profile("x86-cuda"), machine, allow_fallback=True)
    assert not strict.fits
    assert "CUDAExecutionProvider is wanted" in strict.reasons[0]
    assert "allow_fallback" in strict.reasons[0]
    assert allowed.fits
    assert allowed.providers == (CPU,)
    assert any("it will run on CPUExecutionProvider" in text for text in allowed.warnings)


def test_a_release_proven_on_the_cpu_alone_serves_there_and_says_so(pi):
    machine = pi(arch="x86_64", memory_bytes=16_000 * MB, providers=(CUDA, CPU))
    answer = fit(release(providers={CPU: TIGHT}), load_profile("x86-cuda"), machine)
    assert answer.fits
    assert answer.providers == (CPU,)
    assert any("not proven on CUDAExecutionProvider, so that stays idle" in text for text in answer.warnings)


def test_text_inputs_on_an_accelerator_are_warned_of(pi):
    machine = pi(arch="x86_64", memory_bytes=16_000 * MB, providers=(CUDA, CPU))
    answer = fit(release(providers={CUDA: TIGHT, CPU: TIGHT}), load_profile("x86-cuda"), machine)
    assert answer.providers == (CUDA, CPU)
    assert any("text inputs (shift) are encoded on the CPU" in text for text in answer.warnings)


def test_a_provider_that_the_publisher_had_not_is_proven_by_the_device_where_the_release_says_how_far(pi):
    machine = pi(arch="x86_64", memory_bytes=16_000 * MB, providers=(CUDA, CPU))
    answer = fit(release(providers={CPU: TIGHT}, elsewhere=TIGHT), load_profile("x86-cuda"), machine)
    assert answer.fits
    assert answer.providers == (CUDA, CPU)
    assert any("did not prove it on CUDAExecutionProvider; this device does" in text for text in answer.warnings)


def test_what_may_be_proven_elsewhere_is_still_a_fall_back_where_the_provider_is_not_installed(pi):
    answer = fit(release(providers={CPU: TIGHT}, elsewhere=TIGHT), load_profile("x86-cuda"), pi(providers=(CPU,)))
    assert not answer.fits
    assert "CUDAExecutionProvider is wanted" in answer.reasons[0]
