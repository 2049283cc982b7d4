"""The parity certificate: the graph, run by ONNX Runtime, against the fitted model. No certificate, no release."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import onnxruntime as ort

from protocols.manifest import ParityCase, ParityCertificate, Task, Tolerance
from trainer.errors import ParityError
from trainer.graphs import followed_output, run_graph

#: Of a probability.
PROBABILITY_TOLERANCE = Tolerance(absolute=1e-4, relative=1e-4)
#: Of a regression: a part of the target's deviation, and the float32 noise of a sum over trees.
DEVIATION_SHARE, REGRESSION_RELATIVE = 1e-3, 1e-5
#: What a person can do about a failed case.
WAY_OUT = {
    "missing": "Fill missing values inside the model, by an imputer",
    "unseen": "Encode text inside the model so that unseen values are ignored",
    "": "Use another kind of model or featurizer",
}
WAY_OUT_IMPORTED = "Export it again, with another converter or opset"
#: Stands for a difference that is no number, which JSON could not carry: other shapes, or NaN on one side.
UNLIKE = float(np.finfo(np.float64).max)


def tolerance_for(task: Task, target: np.ndarray[Any, Any]) -> Tolerance:
    """Return how far the graph may be from the model, in the output's unit."""
    if task == "classification":
        return PROBABILITY_TOLERANCE
    deviation = float(np.std(target.astype(np.float64)))
    return Tolerance(absolute=DEVIATION_SHARE * deviation or 1e-6, relative=REGRESSION_RELATIVE)


#: Of probabilities (rows, classes): the place of each row's class, and how far that is from being another.
Decider = Callable[[np.ndarray[Any, Any]], tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]


class Proof(Protocol):
    """Rows on which a graph and a model are compared."""

    @property
    def name(self) -> str: ...

    @property
    def rows(self) -> int: ...

    def feed(self, names: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
        """Return them as the session takes them."""


P = TypeVar("P", bound=Proof)


def certify(
    model: Callable[[P], np.ndarray[Any, Any]],
    session: Any,
    names: Sequence[str],
    cases: Sequence[P],
    tolerance: Tolerance,
    labels: Sequence[Any] = (),
    decide: Decider | None = None,
) -> ParityCertificate:
    """Compare graph and model on every case.

    Args:
        model: the fitted model's probabilities (rows, classes) or predictions (rows,) for a case.
        session: the graph, opened.
        names: of the inputs, in the order of a case's columns.
        labels: of the classes, in the order of the probabilities, as the graph gives them; empty for a regression.
        decide: how a class follows from the probabilities; None: the likeliest.
    """
    compared = tuple(
        _compare(case, model(case), run_graph(session, case.feed(names)), tolerance, labels, decide or _likeliest)
        for case in cases
    )
    return ParityCertificate(tolerance, compared, ort.__version__)


def check_certificate(certificate: ParityCertificate, *, imported: bool = False) -> None:
    """Raise if the certificate proves nothing.

    Args:
        imported: the model was another maker's, and the rows are of its sample.

    Raises:
        ParityError: a case failed; the text names it, the differences and the tolerance.
    """
    if certificate.passed:
        return
    for case in certificate.cases:
        if not case.passed:
            way_out = WAY_OUT.get(case.name, WAY_OUT_IMPORTED if imported else WAY_OUT[""])
            raise ParityError(f"{_difference(case, certificate.tolerance, imported)}; no release. {way_out}")
    raise ParityError("the certificate has no case, so it proves nothing; no release")


def _difference(case: ParityCase, tolerance: Tolerance, imported: bool) -> str:
    sides = "the release's graph differs from the " if imported else "the exported graph differs from the fitted "
    rows = "the sample's" if imported and case.name == "held-out" else case.name
    if case.largest_difference == UNLIKE:
        return f"{sides}model on {rows} rows: only one of the two answers with numbers"
    return (
        f"{sides}model on {rows} rows: by up to {case.largest_difference:.3g} (tolerance {tolerance.absolute:.3g} + "
        f"{tolerance.relative:.3g} of the value), {case.label_flips} labels flipped"
    )


def _compare(
    case: Proof,
    want: np.ndarray[Any, Any],
    outputs: Sequence[np.ndarray[Any, Any]],
    tolerance: Tolerance,
    labels: Sequence[Any],
    decide: Decider,
) -> ParityCase:
    got = followed_output(outputs).astype(np.float64)
    want = want.astype(np.float64)
    # A model of another framework may answer NaN where a value is missing: then so must its graph.
    if got.shape != want.shape or not np.array_equal(np.isfinite(got), np.isfinite(want)):
        return ParityCase(case.name, case.rows, UNLIKE, UNLIKE, 0, False)
    difference = np.abs(np.nan_to_num(got) - np.nan_to_num(want))
    close = bool((difference <= tolerance.absolute + tolerance.relative * np.abs(np.nan_to_num(want))).all())
    flips = _flips(want, outputs[0], tolerance, labels, decide) if len(labels) else 0
    return ParityCase(
        case.name, case.rows, float(difference.max()), float(difference.mean()), flips, close and not flips
    )


def _flips(
    want: np.ndarray[Any, Any],
    got: np.ndarray[Any, Any],
    tolerance: Tolerance,
    labels: Sequence[Any],
    decide: Decider,
) -> int:
    """Rows whose label differs although the model was not undecided within the tolerance."""
    places, margin = decide(want)
    expected = np.array([str(label) for label in labels])[places]
    decided = margin > 2 * tolerance.absolute
    return int(((expected != np.array([str(label) for label in got.reshape(-1)])) & decided).sum())


def _likeliest(probabilities: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    ordered = np.sort(probabilities, axis=1)
    return probabilities.argmax(axis=1), ordered[:, -1] - ordered[:, -2]
