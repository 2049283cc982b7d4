"""A model's file and a table of its rows to a graph in the form of a release, with the original to compare it with."""

import copy
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd

from trainer.cases import Case
from trainer.columns import Column, type_column, type_label
from trainer.errors import ImportRefusedError
from trainer.foreign.code_inside import refuse_code
from trainer.foreign.columns import choose
from trainer.foreign.float_pitfalls import Exact
from trainer.foreign.graphs import ForeignGraph, adopt
from trainer.foreign.kinds import NETWORKS, Found
from trainer.foreign.mlflow_folders import read_mlflow
from trainer.foreign.nan_guard import missing_rail, settle_missing, without_holes
from trainer.foreign.onnx_files import load_graph
from trainer.foreign.original import Original
from trainer.foreign.pipelines import answer, answer_exactly, export_foreign, load_pipeline, model_columns
from trainer.foreign.trial import try_graph
from trainer.graphs import followed_output, run_graph
from trainer.guardrails.rail import Guardrail
from trainer.import_request import ImportRequest, check_numbers

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Foreign:
    """A model in the form of a release, and the original to compare it with.

    Attributes:
        exact: what the original gives for numbers in float64; None where it computes in float32 itself.
        rails: what was seen and done while it was read.
    """

    graph: ForeignGraph
    features: tuple[Column, ...]
    original: Callable[[Case], Array]
    exact: Exact | None = None
    rails: tuple[Guardrail, ...] = ()


def read_foreign(found: Found, request: ImportRequest, table: pd.DataFrame, stack: ExitStack) -> Foreign:
    """Read a model.

    Args:
        stack: keeps what the original needs until it is closed.

    Raises:
        ImportRefusedError: not a model that we take, or one that does not match the sample.
    """
    columns = [name for name in table.columns if name != request.target]
    if found.kind == "mlflow":
        inner = read_mlflow(found.path)
        found = inner.found
        # A model without names takes the columns in the order of the signature.
        columns = choose(inner.columns, None, columns) if inner.columns else columns
    refuse_code(found, trusted=request.trusted)
    if found.kind == "onnx":
        return _read_onnx(found.path, table, columns)
    if found.kind in ("pickle", "skops"):
        return _read_pipeline(found, request, table, columns)
    return _read_framework(found, request, table, columns, stack)


def _read_onnx(file: Path, table: pd.DataFrame, columns: list[str]) -> Foreign:
    model = load_graph(file)
    graph = adopt(model, columns)
    features = tuple(_typed(name, kind, table[name]) for name, kind in zip(graph.columns, graph.kinds, strict=True))
    _try(graph, features)
    plain = ort.SessionOptions()
    # The graph as its maker wrote it, without the optimizations that a device's session makes.
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain.log_severity_level = 3
    try:
        session = ort.InferenceSession(model.SerializeToString(), plain, providers=["CPUExecutionProvider"])
    except RuntimeError as error:
        raise ImportRefusedError(f"ONNX Runtime cannot load {file.name}: {_first_line(error)}") from error
    names = [entry.name for entry in session.get_inputs()]

    def original(case: Case) -> Array:
        matrix = np.column_stack(case.columns) if names != list(graph.columns) else None
        feed = case.feed(names) if matrix is None else {names[0]: matrix.astype(np.float32)}
        outputs = run_graph(session, feed)
        if len(outputs) > 1 and isinstance(outputs[1], list):  # a ZipMap's dictionaries
            return np.array([list(row.values()) for row in outputs[1]])
        return followed_output(outputs)

    return Foreign(graph, features, original)


def _read_pipeline(found: Found, request: ImportRequest, table: pd.DataFrame, available: list[str]) -> Foreign:
    model = load_pipeline(found, trusted=request.trusted)
    columns = model_columns(model, available)
    typed = [_as_fitted(name, table[name]) for name in columns]
    for column in typed:
        check_numbers(column, table[column.name])
    as_loaded = copy.deepcopy(model)  # the export rounds thresholds to float32
    graph = export_foreign(model, columns, [column.kind for column in typed])
    by_name = {column.name: column for column in typed}
    places = [columns.index(name) for name in graph.columns]

    def original(case: Case) -> Array:
        ordered = dict(zip(places, case.columns, strict=True))
        return answer(model, columns, Case(case.name, tuple(ordered[index] for index in range(len(columns)))))

    def exact(frame: pd.DataFrame) -> Array:
        return answer_exactly(as_loaded, frame[columns])

    return Foreign(graph, tuple(by_name[name] for name in graph.columns), original, exact)


def _as_fitted(name: str, series: pd.Series) -> Column:
    """A column as a pipeline was fitted on it: texts that say true and false stay texts."""
    return (type_column if pd.api.types.is_bool_dtype(series.dtype) else type_label)(name, series)


def _read_framework(
    found: Found, request: ImportRequest, table: pd.DataFrame, available: list[str], stack: ExitStack
) -> Foreign:
    original = stack.enter_context(Original(found, framework_options(request)))
    known = original.known
    if known.takes == "tensor":
        raise ImportRefusedError(
            f"{found.path.name} takes a tensor of more than one row: say what it is by --window N or --image HxW"
        )
    columns = choose(known.columns, known.width, available)
    features = tuple(_typed(name, "number", table[name]) for name in columns)

    def arrays(case: Case) -> list[Array]:
        if known.takes == "columns":
            return [values.reshape(-1, 1) for values in case.columns]
        return [np.column_stack(case.columns).astype(np.float32)]

    everything = Case("held-out", tuple(column.values for column in features))
    names: Mapping[str, str] | None = dict(zip(known.columns, columns, strict=True)) if known.columns else None
    example = arrays(everything.take(4))
    model = original.convert(example)
    undefined = False
    if found.kind in NETWORKS:
        model, undefined = settle_missing(model, original, example)
    graph = adopt(model, columns, names)
    _try(graph, features)

    def answered(case: Case) -> Array:
        values = original.answer(arrays(case))
        values = without_holes(values, arrays(case)) if undefined else values
        return values if graph.task == "classification" else values.reshape(len(values))

    if found.kind in NETWORKS:
        return Foreign(graph, features, answered, rails=(missing_rail(undefined),))
    return Foreign(graph, features, answered, lambda frame: original.answer([frame.to_numpy(np.float64)]))


def framework_options(request: ImportRequest) -> dict[str, Any]:
    """What a framework's process is told."""
    return {"trusted": request.trusted}


def _try(graph: ForeignGraph, features: tuple[Column, ...]) -> None:
    try_graph(graph.data, {column.name: column.values.reshape(-1, 1) for column in features})


def _typed(name: str, kind: str, series: pd.Series) -> Column:
    column = type_column(name, series)
    if kind == "number" and column.kind != "number":
        raise ImportRefusedError(f"column {name!r} of the sample is text, and the model takes a number there")
    if kind == "category" and column.kind != "category":
        texts = ["" if gone else str(value) for value, gone in zip(series, series.isna(), strict=True)]
        return Column(name, "category", np.array(texts, dtype=object))
    check_numbers(column, series)
    return column


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
