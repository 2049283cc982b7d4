"""Models of PyTorch: exported programs, TorchScript, and whole pickled modules."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from trainer.errors import ExportError
from trainer.foreign.makers.form import Array, Known, Takes
from trainer.graph.form import TARGET_OPSET

_PROGRAM = (
    "save it as an exported program: torch.export.save(torch.export.export(model.eval(), (rows,), "
    "dynamic_shapes=({0: torch.export.Dim('rows')},)), 'model.pt2')"
)
_NEW_EXPORTER_OPSET = 18


class TorchModel:
    """A module that takes one float32 tensor, the rows first.

    Args:
        program: the exported program that it came from, if any.
        rows: how many rows it takes at once; None: any number.
    """

    def __init__(self, module: Any, known: Known, program: Any = None, rows: int | None = None) -> None:
        self.known = known
        self._module, self._program, self._rows = module, program, rows

    def convert(self, example: Sequence[Array]) -> onnx.ModelProto:
        tensor = torch.from_numpy(np.ascontiguousarray(example[0], dtype=np.float32))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(self._module, torch.jit.ScriptModule):
                return self._converted_script(tensor)
            if self._program is not None:
                made = torch.onnx.export(
                    self._program, (), dynamo=True, opset_version=_NEW_EXPORTER_OPSET, verbose=False
                )
            else:
                free = ({0: torch.export.Dim.AUTO},)
                made = torch.onnx.export(
                    self._module, (tensor,), dynamo=True, dynamic_shapes=free, opset_version=_NEW_EXPORTER_OPSET,
                    verbose=False,
                )  # fmt: skip
        model: onnx.ModelProto = made.model_proto
        return model

    def answer(self, arrays: Sequence[Array]) -> Array:
        tensor = torch.from_numpy(np.ascontiguousarray(arrays[0], dtype=np.float32))
        size = self._rows or max(len(tensor), 1)
        parts = []
        with torch.no_grad():
            for at in range(0, len(tensor), size):
                part = tensor[at : at + size]
                filled = torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])])
                found = self._module(filled)
                if not isinstance(found, torch.Tensor):
                    raise ExportError(f"it gives {type(found).__name__}, and one tensor is needed: wrap the module")
                parts.append(found.numpy()[: len(part)])
        return np.concatenate(parts)

    def _converted_script(self, tensor: Any) -> onnx.ModelProto:
        import io

        file = io.BytesIO()
        torch.onnx.export(
            self._module, (tensor,), file, dynamo=False, opset_version=TARGET_OPSET[""], input_names=["rows_in"],
            output_names=["answer"], dynamic_axes={"rows_in": {0: "rows"}, "answer": {0: "rows"}},
        )  # fmt: skip
        return onnx.load_from_string(file.getvalue())


def load(kind: str, path: Path, options: Mapping[str, Any]) -> TorchModel:
    """Load a model of the kind `torch-program`, `torchscript` or `torch-module`; a module runs its maker's code."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "torch-program":
            return _program(torch.export.load(path))
        if kind == "torchscript":
            module = torch.jit.load(str(path), map_location="cpu").eval()
        else:
            module = torch.load(path, map_location="cpu", weights_only=False)
    if isinstance(module, dict):
        raise ExportError(f"it holds weights alone (a state dict), without the network that they are for: {_PROGRAM}")
    if not isinstance(module, torch.nn.Module):
        raise ExportError(f"it holds a {type(module).__name__}, and a module is needed: {_PROGRAM}")
    wide = next((name for name, value in module.named_parameters() if value.dtype == torch.float64), None)
    if wide is not None:
        raise ExportError(f"its weights {wide!r} are float64, and a device computes in float32: {_narrow()}")
    return TorchModel(module.eval(), Known("matrix"))


def _program(program: Any) -> TorchModel:
    names = program.graph_signature.user_inputs
    tensors = {
        node.name: node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in names and isinstance(node.meta.get("val"), torch.Tensor)
    }
    if len(tensors) != 1:
        raise ExportError(f"it takes {len(tensors)} tensors, and one is needed, the rows first: {_PROGRAM}")
    tensor = next(iter(tensors.values()))
    if tensor.dtype != torch.float32:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise ExportError(f"it takes {kind}, and a device computes in float32: {_narrow()}")
    takes: Takes = "matrix" if tensor.dim() == 2 else "tensor"
    rows = tensor.shape[0] if isinstance(tensor.shape[0], int) else None
    width = int(tensor.shape[1]) if takes == "matrix" and isinstance(tensor.shape[1], int) else None
    if rows is not None and rows > 1:
        raise ExportError(f"it takes exactly {rows} rows at once, and a device sends one or many: {_PROGRAM}")
    return TorchModel(program.module(), Known(takes, width=width), program, rows)


def _narrow() -> str:
    return "call model.float() before it is saved"
