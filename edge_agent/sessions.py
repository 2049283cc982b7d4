"""An ONNX Runtime session, made as the plan says: which file is loaded, with which settings, on which providers."""

import contextlib
import ctypes
import importlib
import logging
from pathlib import Path
from typing import Any

from devices.provider_options import (
    CONTEXT_FILE,
    needs_no_memory_pattern,
    runs_its_own_threads,
    session_entries,
    session_options,
)
from devices.providers import CUDA, TENSORRT
from edge_agent.errors import ModelLoadError
from edge_agent.session_plan import Optimization, SessionPlan, provider_name
from protocols.manifest import Manifest

log = logging.getLogger(__name__)

_LEVELS: dict[Optimization, str] = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}


#: An ONNX Runtime that does not know one of them reads the file.
_MAPPING = ("use_memory_mapped_ort_model", "use_ort_model_bytes_directly", "use_ort_model_bytes_for_initializers")


def open_session(folder: Path, manifest: Manifest, plan: SessionPlan) -> Any:
    """Return the session of the release in `folder`; what it really runs on is for `edge_agent.placement` to say.

    Raises:
        ModelLoadError: the ONNX Runtime here lacks a provider, or cannot load the graph.
    """
    import onnxruntime

    path = graph_path(folder, manifest, plan)
    options = onnxruntime.SessionOptions()
    configure(options, plan)
    available = onnxruntime.get_available_providers()
    absent = [name for name in map(provider_name, plan.providers) if name not in available]
    if absent:
        raise ModelLoadError(f"the installed ONNX Runtime has no {', '.join(absent)}; it has {', '.join(available)}")
    find_libraries(plan)
    providers = session_providers(plan)
    while True:
        try:
            session = _make(path, options, providers)
            break
        except ModelLoadError as error:
            if len(providers) == 1 or not plan.allow_fallback:
                raise
            log.warning("%s; the next provider is tried", error)
            providers = providers[1:]
    session.disable_fallback()
    _give_back_memory()
    return session


def _give_back_memory() -> None:
    """Return to the system what loading took and a session does not need; glibc keeps two thirds of it otherwise."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _make(path: Path, options: Any, providers: list[tuple[str, dict[str, Any]]]) -> Any:
    import onnxruntime

    try:
        # Without `enable_fallback`, the binding makes a session on the CPU where the providers' options are refused.
        return onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # the binding's errors share no root but Exception
        raise ModelLoadError(f"{path.name}: ONNX Runtime cannot load it: {one_line(error)}") from error


def find_libraries(plan: SessionPlan) -> None:
    """Load CUDA, cuDNN and TensorRT where pip has installed them, which is where no loader looks by itself."""
    import onnxruntime

    names = {provider_name(provider) for provider in plan.providers}
    if names & {CUDA, TENSORRT} and hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(None), contextlib.suppress(Exception):  # what is missing, the provider says
            onnxruntime.preload_dlls()
    if TENSORRT in names:
        with contextlib.suppress(ImportError, OSError):
            importlib.import_module("tensorrt_libs")


def graph_path(folder: Path, manifest: Manifest, plan: SessionPlan) -> Path:
    """Return the file that the plan has loaded: the model, or what was made of it here."""
    compiled = plan.cache / CONTEXT_FILE if plan.cache is not None else None
    return (
        compiled if compiled is not None and compiled.exists() else plan.mapped or folder / graph_file(manifest, plan)
    )


def graph_file(manifest: Manifest, plan: SessionPlan) -> str:
    """Return which of the release's files the plan serves: a variant, where the release has one of that precision."""
    return next((found.file for name, found in manifest.variants.items() if name == plan.precision), "model.onnx")


def session_providers(plan: SessionPlan) -> list[tuple[str, dict[str, Any]]]:
    """Return the providers with all their options: what the session asks, and above that what the plan says."""
    made = []
    for provider in plan.providers:
        name, given = (provider, {}) if isinstance(provider, str) else provider
        own = session_options(name, threads=plan.threads, precision=plan.precision, cache=plan.cache)
        made.append((name, {**own, **given}))
    return made


def configure(options: Any, plan: SessionPlan) -> None:
    """Set an `onnxruntime.SessionOptions` as the plan says."""
    import onnxruntime

    options.log_severity_level = 3
    names = [provider_name(provider) for provider in plan.providers]
    options.intra_op_num_threads = 1 if runs_its_own_threads(plan.wanted) else plan.threads
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[plan.optimization])
    # Spinning threads win microseconds and cost a core that the line's other programs need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    for key, value in session_entries(names, plan.cache).items():
        options.add_session_config_entry(key, value)
    if needs_no_memory_pattern(names):
        options.enable_mem_pattern = False
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    if not plan.prepacked:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if plan.mapped is not None:
        for entry in _MAPPING:
            options.add_session_config_entry(f"session.{entry}", "1")


def save_graph(folder: Path, manifest: Manifest, plan: SessionPlan, out: Path) -> None:
    """Write the graph that the plan has loaded, as ONNX Runtime rewrote it, in the form that can be mapped.

    Raises:
        ModelLoadError: ONNX Runtime cannot load or save it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    configure(options, plan)
    options.optimized_model_filepath = str(out)
    options.add_session_config_entry("session.save_model_format", "ORT")
    path = graph_path(folder, manifest, plan)
    try:
        onnxruntime.InferenceSession(str(path), options, providers=session_providers(plan))
    except Exception as error:  # the binding's errors share no root but Exception
        raise ModelLoadError(f"{path.name}: ONNX Runtime cannot save it: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """Return an error of ONNX Runtime's in one line; of a long one, the middle, which is source code's paths, goes."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:120]} ... {text[-170:]}"
