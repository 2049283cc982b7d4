"""What all graphs have in common that the trainer writes."""

import onnx

from trainer.errors import ExportError

#: Old enough for every runtime that we support, new enough for every operator that we need.
TARGET_OPSET = {"": 17, "ai.onnx.ml": 3}
#: That of graphs which take texts apart: such operators are no older.
TEXT_OPSET = 20
TEXT_OPERATORS = ("RegexFullMatch", "StringSplit")
#: That of graphs with trees, of ai.onnx.ml: the operator before it takes more than twice the bytes.
TREE_OPSET, TREE_OPERATOR = 5, "TreeEnsemble"
ROWS = "rows"


def serialize(model: onnx.ModelProto) -> bytes:
    """Return the checked graph's bytes. Raises ExportError for a graph that contradicts itself."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the graph is not valid ONNX: {_first_line(error)}") from error
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def operators(model: onnx.ModelProto) -> tuple[str, ...]:
    """Operators that a runtime needs, each once, sorted; those beyond the standard set with their domain."""
    found = {f"{node.domain}.{node.op_type}" if node.domain else node.op_type for node in model.graph.node}
    return tuple(sorted(found))


def opsets(model: onnx.ModelProto) -> dict[str, int]:
    """Operator set versions by domain; the standard one is called `ai.onnx`."""
    return {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
