"""An ONNX Runtime session, made as the plan says: which file is loaded, with which settings, on which providers."""

from pathlib import Path
from typing import Any

from edge_agent.errors import ModelLoadError
from edge_agent.session_plan import Optimization, SessionPlan, provider_name
from protocols.manifest import Manifest

_LEVELS: dict[Optimization, str] = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}


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
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(plan.providers))
    except Exception as error:  # the binding's errors share no root but Exception
        raise ModelLoadError(f"{path.name}: ONNX Runtime cannot load it: {one_line(error)}") from error
    session.disable_fallback()
    return session


def graph_path(folder: Path, manifest: Manifest, plan: SessionPlan) -> Path:
    """Return the file that the plan has loaded."""
    return folder / "model.onnx"


def configure(options: Any, plan: SessionPlan) -> None:
    """Set an `onnxruntime.SessionOptions` as the plan says."""
    import onnxruntime

    options.log_severity_level = 3
    options.intra_op_num_threads = plan.threads
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[plan.optimization])
    # Spinning threads win microseconds and cost a core that the line's other programs need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
