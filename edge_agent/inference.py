"""A release's model in ONNX Runtime: the provider asked for, the provider that really runs, columns to outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from devices.direct_run import direct_run
from edge_agent.errors import ModelLoadError, ModelRunError
from edge_agent.placement import check_placement, read_placement
from edge_agent.session_plan import SessionPlan
from edge_agent.sessions import one_line, open_session
from protocols.manifest import CONTRIBUTIONS, Dtype, Manifest, TensorSpec
from protocols.placement import Ran

Array = np.ndarray[Any, Any]
_DTYPES: dict[Dtype, str] = {"float32": "tensor(float)", "string": "tensor(string)", "int64": "tensor(int64)"}


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a batch gives: one value a row, and for classifiers (rows, classes) probabilities, float32.

    `contributions` are what each input added, (rows, inputs), float32, of a model whose graph tells it.
    """

    values: Array
    probabilities: Array | None
    contributions: Array | None = None

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
        self._session = open_session(folder, manifest, self.plan)
        self._run = direct_run(self._session)
        placed = read_placement(self._session)
        self.placement = {provider: len(nodes) for provider, nodes in placed.items()}
        self.provider = check_placement(placed, self.plan.wanted, allow_fallback=self.plan.allow_fallback)
        self.asked = self.plan.asked or self.plan.wanted
        _check_side("input", self._session.get_inputs(), manifest.graph_inputs)
        _check_side("output", self._session.get_outputs(), manifest.graph_outputs)
        self._inputs = [spec.name for spec in manifest.graph_inputs]
        self._outputs = [spec.name for spec in manifest.graph_outputs]
        self._most = manifest.feeding.batch if manifest.feeding is not None and not manifest.state else None

    @property
    def ran(self) -> Ran:
        """What was asked for and what runs, without the session that runs it."""
        return Ran(self.asked, self.provider, self.placement)

    def run(self, columns: Sequence[Array]) -> list[Array]:
        """Return the graph's outputs, in the manifest's order, for what the graph takes.

        Args:
            columns: (rows, 1) in the order of the manifest's inputs; or the tensor that its feeding says; then state.

        Raises:
            ModelRunError: ONNX Runtime fails on them.
        """
        if self._most is not None and len(columns[0]) > self._most:
            parts = [self.run([columns[0][at : at + self._most]]) for at in range(0, len(columns[0]), self._most)]
            return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
        try:
            outputs: list[Array] = self._run(self._outputs, dict(zip(self._inputs, columns, strict=True)))
        except Exception as error:  # the binding's errors share no root but Exception
            raise ModelRunError(f"{self.manifest.release}: the model fails: {one_line(error)}") from error
        return outputs

    def predict(self, columns: Sequence[Array]) -> Predictions:
        """Return predictions for what `run` takes; a model with state has a StateCarrier that asks it."""
        return self.predictions(self.run(columns))

    def predictions(self, outputs: Sequence[Array]) -> Predictions:
        """Return the manifest's outputs as predictions."""
        named = dict(zip(self._outputs, outputs, strict=False))
        return Predictions(named["prediction"].reshape(-1), named.get("probabilities"), named.get(CONTRIBUTIONS))


def _check_side(side: str, found: Sequence[Any], specs: Sequence[TensorSpec]) -> None:
    have = {node.name: node.type for node in found}
    want = {spec.name: _DTYPES[spec.dtype] for spec in specs}
    if have != want:
        raise ModelLoadError(f"model.onnx: its {side}s are {have}, and the manifest says {want}")
