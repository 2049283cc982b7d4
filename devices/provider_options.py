"""The options that each execution provider is given: exact arithmetic, bounded memory, engines kept in one folder.

Source: ONNX Runtime's documentation, one page for each execution provider, and its `provider_options.h` headers.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from devices.providers import ACL, COREML, CUDA, DIRECTML, OPENVINO, QNN, TENSORRT, XNNPACK
from protocols.manifest import Manifest, TensorSpec

Options = dict[str, str]
Precision = Literal["float32", "float16", "int8"]
#: What a provider keeps of what it compiles: files of its own in a folder that it is given, or a graph with the
#: compiled parts in it (`EPContext`) that is loaded in place of the model.
Engine = Literal["cache", "context"]

#: Providers that compile a graph for the device before it runs, and what they keep of that.
ENGINES: Mapping[str, Engine] = {TENSORRT: "cache", OPENVINO: "cache", COREML: "cache", QNN: "context"}
#: Providers that `lasting_options` knows something about.
OPTIONED = frozenset({CUDA, TENSORRT, OPENVINO, QNN, COREML, ACL})
#: The graph with the compiled parts in it, in an engine's folder.
CONTEXT_FILE = "context.onnx"
#: Most rows of one call that TensorRT prepares for; a larger call would compile anew, in the middle of serving.
TENSORRT_ROWS = 256
_LEAST_BYTES = 256 * 1024 * 1024


def lasting_options(provider: str, manifest: Manifest, memory_bytes: int, accelerators: Collection[str]) -> Options:
    """Return what device and release ask of a provider, whichever session it is.

    Args:
        memory_bytes: most that the model may take of the accelerator.
        accelerators: what the machine has (`Probe.accelerators`).
    """
    match provider:
        case "CUDAExecutionProvider":
            return {
                "gpu_mem_limit": str(max(memory_bytes, _LEAST_BYTES)),
                "arena_extend_strategy": "kSameAsRequested",  # the default doubles, and keeps what it doubled to
                "cudnn_conv_algo_search": "HEURISTIC",  # the default tries all at each new shape, while rows wait
            }
        case "TensorrtExecutionProvider":
            limit = {"trt_max_workspace_size": str(max(memory_bytes, _LEAST_BYTES))}
            return {**limit, **_shapes(manifest)}
        case "OpenVINOExecutionProvider":
            graphics = any("Intel GPU" in line for line in accelerators)
            return {"device_type": "GPU" if graphics else "CPU", "precision": "ACCURACY"}
        case "QNNExecutionProvider":
            return {"backend_path": "libQnnHtp.so", "htp_performance_mode": "sustained_high_performance"}
        case "CoreMLExecutionProvider":
            return {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL"}
        case "ACLExecutionProvider":
            return {"enable_fast_math": "false"}
    return {}


def session_options(provider: str, *, threads: int, precision: Precision, cache: Path | None) -> Options:
    """Return what one session asks of a provider: its threads, its precision, where its engines lie."""
    made = _SESSION.get(provider)
    return made(threads, precision, cache) if made is not None else {}


def session_entries(providers: Sequence[str], cache: Path | None) -> Options:
    """Return the session's own configuration entries for these providers: where a graph of compiled parts is written.

    Where one is there already, it is loaded in place of the model and nothing is written.
    """
    context = cache is not None and any(ENGINES.get(name) == "context" for name in providers)
    if cache is None or not context or (cache / CONTEXT_FILE).exists():
        return {}
    return {
        "ep.context_enable": "1",
        "ep.context_file_path": str(cache / CONTEXT_FILE),
        "ep.context_embed_mode": "0",
    }


def needs_no_memory_pattern(providers: Collection[str]) -> bool:
    """Whether a session with these must run its nodes in order and reuse no memory pattern."""
    return DIRECTML in providers


def runs_its_own_threads(provider: str) -> bool:
    """Whether a provider brings threads of its own, beside which ONNX Runtime's would fight for the same cores."""
    return provider == XNNPACK


def _shapes(manifest: Manifest) -> Options:
    """Return the shapes that TensorRT prepares for, from one row on; none where an input never reaches it."""
    inputs = manifest.graph_inputs
    if any(spec.dtype != "float32" or None in spec.shape[1:] for spec in inputs):
        return {}
    sizes = {"min": 1, "opt": 1, "max": TENSORRT_ROWS}
    return {
        f"trt_profile_{name}_shapes": ",".join(_shape(spec, rows) for spec in inputs) for name, rows in sizes.items()
    }


def _shape(spec: TensorSpec, rows: int) -> str:
    first, *rest = spec.shape
    return f"{spec.name}:{'x'.join(str(size) for size in (first or rows, *rest))}"


def _cuda(threads: int, precision: Precision, cache: Path | None) -> Options:
    return {"use_tf32": "0"} if precision == "float32" else {}


def _tensorrt(threads: int, precision: Precision, cache: Path | None) -> Options:
    chosen = {"float32": {}, "float16": {"trt_fp16_enable": "1"}, "int8": {"trt_int8_enable": "1"}}[precision]
    if cache is None:
        return chosen
    kept = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
    }
    return {**chosen, **kept}


def _openvino(threads: int, precision: Precision, cache: Path | None) -> Options:
    limited = {"num_of_threads": str(threads)} if threads else {}
    return {**limited, **({"cache_dir": str(cache)} if cache is not None else {})}


def _xnnpack(threads: int, precision: Precision, cache: Path | None) -> Options:
    return {"intra_op_num_threads": str(threads)} if threads else {}


def _coreml(threads: int, precision: Precision, cache: Path | None) -> Options:
    return {"ModelCacheDirectory": str(cache)} if cache is not None else {}


_SESSION: Mapping[str, Callable[[int, Precision, Path | None], Options]] = {
    CUDA: _cuda,
    TENSORRT: _tensorrt,
    OPENVINO: _openvino,
    XNNPACK: _xnnpack,
    COREML: _coreml,
}
