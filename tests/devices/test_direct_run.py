"""Running a session without ONNX Runtime's Python: the same answers, and the same refusals."""

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from devices.direct_run import direct_run

NAMES = ("Torque [Nm]", "speed", "温度")


@pytest.fixture(scope="module")
def session() -> Any:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in NAMES]
    nodes = [helper.make_node("Concat", list(NAMES), ["all"], axis=1), helper.make_node("Neg", ["all"], ["less"])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3]) for name in ("all", "less")]
    graph = helper.make_graph(nodes, "wide", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def feed(rows: int = 2) -> dict[str, Any]:
    return {name: np.full((rows, 1), place, np.float32) for place, name in enumerate(NAMES)}


@pytest.mark.parametrize("outputs", [None, ["less"], ["less", "all"]])
def test_it_answers_as_the_session_does(session: Any, outputs: list[str] | None) -> None:
    for one, two in zip(direct_run(session)(outputs, feed()), session.run(outputs, feed()), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"speed": None}, "speed"), ({"speed": np.zeros((2, 1), np.float64)}, "double"), ({"more": np.zeros(1)}, "more")],
)
def test_what_does_not_fit_is_refused(session: Any, change: dict[str, Any], named: str) -> None:
    given = {name: value for name, value in {**feed(), **change}.items() if value is not None}
    with pytest.raises(Exception, match=named):  # the binding's errors share no other root
        direct_run(session)(None, given)


def test_what_only_looks_like_a_session_is_run_as_it_is() -> None:
    class Doubled:
        def run(self, outputs: Any, feed: Any) -> list[Any]:
            return [2 * feed["x"]]

    assert direct_run(Doubled())(None, {"x": 4}) == [8]
