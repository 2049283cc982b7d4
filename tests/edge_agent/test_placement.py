"""What really runs a model is read from ONNX Runtime, and a fall-back that nobody allowed names provider and nodes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from simulators.small_models import CPU, write_release

from edge_agent.errors import ModelLoadError
from edge_agent.inference import Model
from edge_agent.placement import Node, check_placement, describe_placement, read_placement

CUDA = "CUDAExecutionProvider"


class OldSession:
    """A session of an ONNX Runtime that does not tell the placement."""

    def get_providers(self) -> Sequence[str]:
        return [CUDA, CPU]


def nodes(count: int) -> list[Node]:
    return [Node("Gemm", f"layer_{number}") for number in range(count)]


def test_a_model_says_which_provider_took_how_many_nodes(tmp_path: Path) -> None:
    model = Model(tmp_path, write_release(tmp_path))
    assert model.provider == CPU
    assert list(model.placement) == [CPU]
    assert model.placement[CPU] >= 6  # IsNaN and Where for each of two inputs, Concat, MatMul


def test_a_fall_back_is_refused_with_the_provider_and_its_nodes() -> None:
    placed = {CUDA: nodes(1), CPU: [Node("TreeEnsembleClassifier", "trees"), Node("Cast", "")]}
    with pytest.raises(ModelLoadError) as caught:
        check_placement(placed, CUDA, allow_fallback=False)
    assert str(caught.value) == (
        "CUDAExecutionProvider was asked for, and ONNX Runtime placed "
        "CPUExecutionProvider 2 nodes (TreeEnsembleClassifier trees, Cast), CUDAExecutionProvider 1 node "
        "(Gemm layer_0); assign it with allow_fallback to accept that"
    )


def test_a_fall_back_that_the_assignment_allows_is_named_as_what_runs() -> None:
    assert check_placement({CUDA: nodes(1), CPU: nodes(9)}, CUDA, allow_fallback=True) == CPU


def test_a_provider_that_leaves_a_few_nodes_to_the_cpu_is_the_one_that_runs() -> None:
    assert check_placement({CUDA: nodes(9), CPU: nodes(1)}, CUDA, allow_fallback=False) == CUDA


def test_of_many_nodes_the_first_are_named_and_the_rest_counted() -> None:
    assert describe_placement({CPU: nodes(40)}).endswith("Gemm layer_5 and 34 more)")


@pytest.mark.parametrize("fault", [AttributeError, RuntimeError])
def test_an_onnx_runtime_that_does_not_tell_the_placement_names_its_first_provider(fault: type[Exception]) -> None:
    session: Any = OldSession()

    def untold() -> None:
        raise fault("not recorded")

    session.get_provider_graph_assignment_info = untold
    assert read_placement(session) == {CUDA: []}
