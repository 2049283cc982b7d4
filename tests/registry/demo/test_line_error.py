"""The line's judgement of what came back."""

import math

import pytest

from protocols.payloads import Prediction
from registry.demo.line import Answer, Line, LineError, Reading, error_of


def answer(truth: float | int | str, prediction: float, probabilities: dict[str, float] | None = None) -> Answer:
    return Answer(Reading("line-1", "before", {}, truth), Prediction(prediction, "m", 1, 1, probabilities))


def test_regression_is_judged_by_root_mean_square_error() -> None:
    assert error_of([answer(1.0, 4.0), answer(2.0, 6.0)], classification=False) == pytest.approx(math.sqrt(12.5))


def test_classification_is_judged_by_log_loss() -> None:
    answers = [answer(1, 1, {"0": 0.2, "1": 0.8}), answer(0, 1, {"0": 0.5, "1": 0.5})]
    assert error_of(answers, classification=True) == pytest.approx(-(math.log(0.8) + math.log(0.5)) / 2)


def test_no_answers_have_no_error() -> None:
    assert error_of([], classification=False) is None


def test_a_broker_that_asks_for_certificates_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(LineError, match="a simulated line has none"):
        Line("mqtts://127.0.0.1:1", ["line-1"], 10)


def test_a_broker_that_is_not_there_is_named() -> None:
    with pytest.raises(LineError, match=r"no broker answers at mqtt://127\.0\.0\.1:1"):
        Line("mqtt://127.0.0.1:1", ["line-1"], 10)
