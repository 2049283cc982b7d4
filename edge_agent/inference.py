"""A release's model in ONNX Runtime: the provider asked for, the provider that really runs, columns to outputs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.errors import ModelLoadError, ModelRunError
from edge_agent.session_plan import SessionPlan, provider_name
from protocols.manifest import Dtype, Manifest, TensorSpec

Array = np.ndarray[Any, Any]
_DTYPES: dict[Dtype, str] = {"float32": "tensor(float)", "string": "tensor(string)", "int64": "tensor(int64)"}


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a batch gives: one value a row, and for classifiers (rows, classes) probabilities, float32."""

    values: Array
    probabilities: Array | None

    def __len__(self) -> int:
        return len(self.values)


class Model:
    """One loaded release.

    Args:
        folder: holds `model.onnx`, whose digest the caller has checked.
        plan: how its session is made.

    Raises:
        ModelLoadError: it cannot be loaded here, differs from the manifest, or would silently run elsewhere.
    """

    def __init__(self, folder: Path, manifest: Manifest, plan: SessionPlan | None = None) -> None:
        self.manifest = manifest
        self.plan = plan or SessionPlan()
        self._session = _open(folder / "model.onnx", self.plan)
        self.placement = _placement(self._session)
        self.provider = _check_placement(self.placement, self.plan.wanted, allow_fallback=self.plan.allow_fallback)
        _check_side("input", self._session.get_inputs(), manifest.inputs)
        _check_side("output", self._session.get_outputs(), manifest.outputs)
        self._inputs = [spec.name for spec in manifest.inputs]
        self._outputs = [spec.name for spec in manifest.outputs]

    def run(self, columns: Sequence[Array]) -> list[Array]:
        """Return the manifest's outputs for (rows, 1) columns in the order of the manifest's inputs.

        Raises:
            ModelRunError: ONNX Runtime fails on them.
        """
        try:
            outputs: list[Array] = self._session.run(self._outputs, dict(zip(self._inputs, columns, strict=True)))
        except Exception as error:  # the binding's errors share no root but Exception
            raise ModelRunError(f"{self.manifest.release}: the model fails: {_one_line(error)}") from error
        return outputs

    def predict(self, columns: Sequence[Array]) -> Predictions:
        """Return predictions for (rows, 1) columns in the order of the manifest's inputs."""
        outputs = dict(zip(self._outputs, self.run(columns), strict=True))
        return Predictions(outputs["prediction"].reshape(-1), outputs.get("probabilities"))


def _open(path: Path, plan: SessionPlan) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = plan.threads
    # Spinning threads win microseconds and cost a core that the line's other programs need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    available = onnxruntime.get_available_providers()
    absent = [name for name in map(provider_name, plan.providers) if name not in available]
    if absent:
        raise ModelLoadError(f"the installed ONNX Runtime has no {', '.join(absent)}; it has {', '.join(available)}")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(plan.providers))
    except Exception as error:  # the binding's errors share no root but Exception
        raise ModelLoadError(f"{path.name}: ONNX Runtime cannot load it: {_one_line(error)}") from error
    session.disable_fallback()
    return session


def _placement(session: Any) -> dict[str, int]:
    """Return provider -> number of nodes placed on it; older ONNX Runtimes only name the session's providers."""
    try:
        parts = session.get_provider_graph_assignment_info()
    except (AttributeError, RuntimeError):
        return {session.get_providers()[0]: 1}
    counts: Counter[str] = Counter()
    for part in parts:
        counts[part.ep_name] += len(part.get_nodes())
    return dict(counts) or {session.get_providers()[0]: 0}


def _check_placement(placement: dict[str, int], wanted: str, *, allow_fallback: bool) -> str:
    """Return the provider that holds most nodes, if it is the wanted one or another is allowed."""
    real = max(placement, key=lambda name: (placement[name], name == wanted))
    if real != wanted and not allow_fallback:
        shares = ", ".join(f"{name} {count} nodes" for name, count in sorted(placement.items()))
        raise ModelLoadError(
            f"{wanted} was asked for, and ONNX Runtime placed {shares}; assign it with allow_fallback to accept that"
        )
    return real


def _check_side(side: str, found: Sequence[Any], specs: Sequence[TensorSpec]) -> None:
    have = {node.name: node.type for node in found}
    want = {spec.name: _DTYPES[spec.dtype] for spec in specs}
    if have != want:
        raise ModelLoadError(f"model.onnx: its {side}s are {have}, and the manifest says {want}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
