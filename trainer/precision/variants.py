"""Variants of a model in less precision: taken in or made, compared with the model itself, or refused."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from protocols.manifest import EXTENDED_VERSION, Manifest, ParityCase, Precision, Tolerance, Variant
from trainer.candidate import file_info
from trainer.cases import Case
from trainer.errors import ImportRefusedError
from trainer.foreign.graphs import adopt
from trainer.foreign.onnx_files import load_graph
from trainer.foreign.trial import try_graph
from trainer.graphs import followed_output, open_graph, run_graph
from trainer.import_request import ImportRequest
from trainer.parity import PROBABILITY_TOLERANCE, UNLIKE, certify
from trainer.precision.quantisation import batches, to_float16, to_int8

#: How much wider than the proof's tolerance a variant's is by default.
_WIDER: dict[Precision, float] = {"float16": 10.0, "int8": 50.0}
_WIDER_PROBABILITY: dict[Precision, float] = {"float16": 50.0, "int8": 200.0}
_ALONE_ROWS = 64


@dataclass(frozen=True, slots=True)
class VariantsAsked:
    """What is asked for of a model.

    Attributes:
        of: the model, as people call it.
        given: the same model in less precision, as files.
        made: precisions that variants are made in.
        tolerance: how far their outputs may lie from the model's, in the output's unit; None: by precision.
    """

    of: str
    given: Mapping[Precision, Path] = field(default_factory=dict)
    made: tuple[Precision, ...] = ()
    tolerance: float | None = None


def check_variants(request: ImportRequest) -> None:
    """Raise if variants are asked for in a way that cannot be.

    Raises:
        ImportRefusedError: of a model that takes more than one row, or one precision twice.
    """
    asked = [*request.variants, *request.quantise]
    if asked and request.fed:
        raise ImportRefusedError("a variant is made of models that take one row; this one takes more: leave it out")
    twice = sorted({name for name in asked if asked.count(name) > 1})
    if twice:
        raise ImportRefusedError(f"{twice[0]} is asked for twice, by --variant and --quantise: give one of them")


def add_variants(
    asked: VariantsAsked, manifest: Manifest, files: Mapping[str, bytes], cases: Sequence[Case]
) -> tuple[Manifest, dict[str, bytes]]:
    """Return manifest and files with the variants that are asked for.

    Args:
        cases: rows of the proof; each variant is compared with model.onnx on all of them.

    Raises:
        ImportRefusedError: one lies outside its tolerance, or does not take and give what the model does.
    """
    files, variants = dict(files), dict(manifest.variants)
    columns = [spec.name for spec in manifest.inputs]
    for precision, path in asked.given.items():
        graph = adopt(load_graph(path), columns)
        if (graph.columns, graph.classes, graph.task) != (tuple(columns), manifest.classes, manifest.task):
            raise ImportRefusedError(f"{path.name} does not take and give what {asked.of} does")
        variant = _proven(asked, manifest, files, cases, precision, graph.data, f"given as {path.name}")
        files[variant.file], variants[precision] = graph.data, variant
    for precision in asked.made:
        data, variant = _made(asked, manifest, files, cases, precision)
        files[variant.file], variants[precision] = data, variant
    listed = {name: file_info(data) for name, data in files.items()}
    version = EXTENDED_VERSION if variants else manifest.v
    return msgspec.structs.replace(manifest, files=listed, variants=variants, v=version), files


def _made(
    asked: VariantsAsked,
    manifest: Manifest,
    files: Mapping[str, bytes],
    cases: Sequence[Case],
    precision: Precision,
) -> tuple[bytes, Variant]:
    """Make a variant; of int8 the way that is quicker on devices, or else the one that is closer."""
    graph = files["model.onnx"]
    if precision == "float16":
        data = to_float16(graph)
        return data, _proven(asked, manifest, files, cases, precision, data, "its layers were converted")
    calibration = batches(_whole_rows(manifest, cases))
    rows = sum(len(next(iter(feed.values()))) for feed in calibration)
    data = to_int8(graph, "static", calibration)
    try:
        made = f"quantised statically by ONNX Runtime, calibrated on {rows} rows"
        return data, _proven(asked, manifest, files, cases, precision, data, made)
    except ImportRefusedError:
        data = to_int8(graph, "dynamic", calibration)
        return data, _proven(asked, manifest, files, cases, precision, data, "quantised dynamically by ONNX Runtime")


def _whole_rows(manifest: Manifest, cases: Sequence[Case]) -> dict[str, np.ndarray[Any, Any]]:
    """Return all rows of the proof but those that lack a value, which would calibrate to nothing."""
    feeds = [case.feed([spec.name for spec in manifest.inputs]) for case in cases if case.name != "missing"]
    joined = {spec.name: np.concatenate([feed[spec.name] for feed in feeds]) for spec in manifest.inputs}
    told = np.ones(len(next(iter(joined.values()))), dtype=bool)
    for values in joined.values():
        if values.dtype.kind == "f":
            told &= np.isfinite(values).all(axis=1)
    return {name: values[told] for name, values in joined.items()}


def _proven(
    asked: VariantsAsked,
    manifest: Manifest,
    files: Mapping[str, bytes],
    cases: Sequence[Case],
    precision: Precision,
    data: bytes,
    made: str,
) -> Variant:
    """Compare a variant with model.onnx as a device will: batches, rows alone, the golden vectors.

    A batch of everything mixed shows what one row does to the others: a dynamic graph finds one scale for all of them.
    """
    names = [spec.name for spec in manifest.inputs]
    golden = _golden(files["golden.npz"], len(names))
    mixed = _mixed([*cases, golden])
    try_graph(data, cases[0].feed(names))
    whole, session = open_graph(files["model.onnx"]), open_graph(data)
    tolerance = _tolerance(asked, manifest, precision)
    labels = manifest.classes

    def original(case: Case) -> np.ndarray[Any, Any]:
        return followed_output(run_graph(whole, case.feed(names)))

    together = certify(original, session, names, [*cases, golden, mixed], tolerance, labels)
    alone = certify(original, _RowByRow(session), names, [mixed.take(_ALONE_ROWS)], tolerance, labels)
    compared = [*together.cases, *alone.cases]
    _check(precision, compared, tolerance)
    return Variant(
        file=f"model.{precision}.onnx",
        tolerance=tolerance,
        made=made,
        largest_difference=max(case.largest_difference for case in compared),
        mean_difference=compared[0].mean_difference,
        label_flips=sum(case.label_flips for case in compared),
    )


def _check(precision: Precision, compared: Sequence[ParityCase], tolerance: Tolerance) -> None:
    for case in compared:
        if case.largest_difference == UNLIKE:
            raise ImportRefusedError(
                f"the {precision} variant gives numbers on {case.name} rows where the model gives none, or the other "
                "way round: put an imputer into the model, or leave the variant out"
            )
        if not case.passed:
            raise ImportRefusedError(
                f"the {precision} variant differs from the model on {case.name} rows by up to "
                f"{case.largest_difference:.3g} ({tolerance.absolute:.3g} is allowed), {case.label_flips} labels "
                "flipped: leave it out, or allow more with --variant-tolerance"
            )


def _tolerance(asked: VariantsAsked, manifest: Manifest, precision: Precision) -> Tolerance:
    if asked.tolerance is not None:
        return Tolerance(asked.tolerance, 0.0)
    if manifest.task == "classification":
        return Tolerance(PROBABILITY_TOLERANCE.absolute * _WIDER_PROBABILITY[precision], 0.0)
    return Tolerance(manifest.parity.tolerance.absolute * _WIDER[precision], 0.0)


def _mixed(cases: Sequence[Case]) -> Case:
    parts = [case.take(_ALONE_ROWS).columns for case in cases]
    return Case("mixed", tuple(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _golden(data: bytes, inputs: int) -> Case:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        columns = [arrays[f"input_{index}"].reshape(-1) for index in range(inputs)]
    return Case("golden", tuple(column.astype(object) if column.dtype.kind == "U" else column for column in columns))


class _RowByRow:
    """Runs a session on one row after the other: what a dynamic graph finds of a row alone differs."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, outputs: Sequence[str] | None, feed: Mapping[str, Any]) -> list[np.ndarray[Any, Any]]:
        rows = len(next(iter(feed.values())))
        found = [
            self._session.run(outputs, {name: values[row : row + 1] for name, values in feed.items()})
            for row in range(rows)
        ]
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]
