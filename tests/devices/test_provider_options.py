"""What each execution provider is told, and what a session is told beside it."""

from pathlib import Path

import msgspec
import pytest
from simulators.sample_documents import manifest

from devices.provider_options import (
    ENGINES,
    lasting_options,
    needs_no_memory_pattern,
    runs_its_own_threads,
    session_entries,
    session_options,
)
from devices.providers import ACL, COREML, CPU, CUDA, DIRECTML, KNOWN, OPENVINO, QNN, TENSORRT, XNNPACK
from protocols.manifest import TensorSpec

GB = 1024**3
CACHE = Path("/home/engines/key")
NUMBERS = (TensorSpec("AT", "float32"), TensorSpec("image", "float32", (None, 3, 224, 224)))


def lasting(
    provider: str, accelerators: tuple[str, ...] = (), inputs: tuple[TensorSpec, ...] = NUMBERS
) -> dict[str, str]:
    return lasting_options(provider, msgspec.structs.replace(manifest(), inputs=inputs), 2 * GB, accelerators)


def of_session(provider: str, **changes: object) -> dict[str, str]:
    given = {"threads": 2, "precision": "float32", "cache": CACHE, **changes}
    return session_options(provider, **given)  # type: ignore[arg-type]


def test_cuda_is_bounded_searches_no_algorithms_while_rows_wait_and_keeps_float32_exact():
    assert lasting(CUDA) == {
        "gpu_mem_limit": str(2 * GB),
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    assert of_session(CUDA) == {"use_tf32": "0"}
    assert of_session(CUDA, precision="float16") == {}


def test_tensorrt_prepares_for_every_batch_that_a_stream_may_bring():
    assert lasting(TENSORRT) == {
        "trt_max_workspace_size": str(2 * GB),
        "trt_profile_min_shapes": "AT:1x1,image:1x3x224x224",
        "trt_profile_opt_shapes": "AT:1x1,image:1x3x224x224",
        "trt_profile_max_shapes": "AT:256x1,image:256x3x224x224",
    }


@pytest.mark.parametrize("spec", [TensorSpec("kind", "string"), TensorSpec("x", "float32", (None, None))])
def test_tensorrt_is_left_to_find_shapes_where_an_input_has_none_or_never_reaches_it(spec):
    assert set(lasting(TENSORRT, inputs=(*NUMBERS, spec))) == {"trt_max_workspace_size"}


def test_tensorrt_keeps_engines_and_timings_in_the_cache_and_rounds_only_where_it_was_asked():
    kept = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(CACHE),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(CACHE),
    }
    assert of_session(TENSORRT) == kept
    assert of_session(TENSORRT, precision="float16") == {"trt_fp16_enable": "1", **kept}
    assert of_session(TENSORRT, precision="int8", cache=None) == {"trt_int8_enable": "1"}


@pytest.mark.parametrize(
    ("accelerators", "device"),
    [
        ((), "CPU"),
        (("/dev/dri/renderD128: Intel GPU i915",), "GPU"),
        (("/dev/dri/renderD128: AMD GPU amdgpu", "/dev/accel/accel0: NPU"), "CPU"),
    ],
)
def test_openvino_runs_where_intel_graphics_are_and_keeps_the_graphs_own_precision(accelerators, device):
    assert lasting(OPENVINO, accelerators) == {"device_type": device, "precision": "ACCURACY"}
    assert of_session(OPENVINO) == {"num_of_threads": "2", "cache_dir": str(CACHE)}
    assert of_session(OPENVINO, threads=0, cache=None) == {}


def test_xnnpack_brings_its_own_threads():
    assert of_session(XNNPACK) == {"intra_op_num_threads": "2"}
    assert runs_its_own_threads(XNNPACK)
    assert not runs_its_own_threads(CPU)


def test_the_others_get_what_they_cannot_do_without():
    assert lasting(QNN)["backend_path"] == "libQnnHtp.so"
    assert lasting(COREML)["ModelFormat"] == "MLProgram"
    assert of_session(COREML) == {"ModelCacheDirectory": str(CACHE)}
    assert lasting(ACL) == {"enable_fast_math": "false"}
    assert lasting(CPU) == of_session(CPU) == {}
    assert needs_no_memory_pattern([DIRECTML, CPU])
    assert not needs_no_memory_pattern([CUDA, CPU])


def test_a_graph_of_compiled_parts_is_written_once_and_then_loaded(tmp_path):
    assert session_entries([QNN, CPU], tmp_path) == {
        "ep.context_enable": "1",
        "ep.context_file_path": str(tmp_path / "context.onnx"),
        "ep.context_embed_mode": "0",
    }
    (tmp_path / "context.onnx").write_bytes(b"compiled")
    assert session_entries([QNN, CPU], tmp_path) == {}
    assert session_entries([QNN, CPU], None) == {}
    assert session_entries([TENSORRT, CPU], CACHE) == {}


def test_every_provider_that_compiles_is_one_that_a_profile_may_name():
    assert set(ENGINES) <= set(KNOWN)
