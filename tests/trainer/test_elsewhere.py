"""How far outputs may lie from the golden ones on a provider that the trainer did not have at hand."""

import pytest
from onnx import ModelProto, helper

from protocols.manifest import Tolerance
from trainer.assembly import elsewhere


def graph(*domains: str) -> ModelProto:
    nodes = [helper.make_node("Any", ["x"], ["y"], domain=domain) for domain in domains]
    return helper.make_model(helper.make_graph(nodes, "any", [], []))


@pytest.mark.parametrize(
    ("certificate", "room"),
    [(Tolerance(1e-5, 1e-5), Tolerance(1e-3, 1e-3)), (Tolerance(0.01, 1e-3), Tolerance(0.1, 0.01))],
)
def test_an_accelerator_that_is_not_at_hand_gets_more_room(certificate: Tolerance, room: Tolerance) -> None:
    given = elsewhere(graph("", "ai.onnx"), certificate)
    assert given is not None
    assert (given.absolute, given.relative) == pytest.approx((room.absolute, room.relative))


@pytest.mark.parametrize("domain", ["ai.onnx.ml", "com.microsoft"])
def test_a_graph_that_only_the_cpu_computes_is_left_to_the_cpu(domain: str) -> None:
    assert elsewhere(graph("", domain), Tolerance(1e-5, 1e-5)) is None
