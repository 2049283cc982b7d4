"""ONNX files, read by hand: what they say of themselves, and each way in which they are no such file."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from simulators.bad_graphs import BAD, damaged, deep, huge_inside, outside
from simulators.small_models import classification, crashing_regression, regression, slow_regression

from devices.runtime import identity_model
from protocols.errors import OnnxRefusedError
from protocols.onnx_file import NEWEST_IR, NEWEST_OPSETS, check_onnx, custom_operators, read_onnx


@pytest.mark.parametrize("make", [regression, classification, slow_regression, lambda: crashing_regression(200)])
def test_a_file_is_read_as_the_onnx_package_reads_it(make: Callable[[], onnx.ModelProto]) -> None:
    model = make()
    found = read_onnx(model.SerializeToString())
    assert found.ir_version == model.ir_version
    assert found.opsets == {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    nodes = [*model.graph.node, *(node for top in model.graph.node for at in top.attribute for node in at.g.node)]
    assert set(found.operators) == {f"{node.domain}.{node.op_type}".lstrip(".") for node in nodes}
    assert found.external == ()
    check_onnx(found)


def test_the_identity_model_is_one() -> None:
    found = read_onnx(identity_model({"ai.onnx.ml": 3}))
    assert (found.opsets, found.operators) == ({"ai.onnx": 13, "ai.onnx.ml": 3}, ("Identity",))
    assert found.largest_bytes == 4


def test_operators_in_branches_and_functions_count_and_the_functions_themselves_do_not() -> None:
    add = helper.make_node("Add", ["x", "x"], ["y"])
    function = helper.make_function("acme.fn", "Twice", ["x"], ["y"], [add], [helper.make_opsetid("", 17)])
    call = helper.make_node("Twice", ["a"], ["b"], domain="acme.fn")
    loop = next(node for node in slow_regression().graph.node if node.op_type == "Loop")
    a, b = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in "ab")
    graph = helper.make_graph([call, loop], "g", [a], [b])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("acme.fn", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[function])
    found = read_onnx(model.SerializeToString())
    assert found.operators == ("Add", "Identity", "Loop", "Sin")
    check_onnx(found)


def test_the_largest_tensor_is_told_an_unknown_dimension_counted_as_one() -> None:
    model = regression()
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((500, 3), np.int64), "table"))
    found = read_onnx(model.SerializeToString())
    assert (found.largest_name, found.largest_bytes) == ("table", 12_000)
    found = read_onnx(huge_inside())
    assert (found.largest_name, found.largest_bytes) == ("row", 4 * 2**40)


@pytest.mark.parametrize(("make", "says"), BAD)
def test_what_no_device_could_run_is_one_line(make: Callable[[], bytes], says: str) -> None:
    with pytest.raises(OnnxRefusedError, match=says) as caught:
        check_onnx(read_onnx(make()))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_the_newest_known_is_what_the_onnx_package_knows() -> None:
    assert onnx.IR_VERSION <= NEWEST_IR
    assert onnx.defs.onnx_opset_version() <= NEWEST_OPSETS["ai.onnx"]
    standard = {(schema.domain, schema.since_version) for schema in onnx.defs.get_all_schemas_with_history()}
    assert max(version for domain, version in standard if domain == "ai.onnx.ml") <= NEWEST_OPSETS["ai.onnx.ml"]


def test_a_file_that_ends_anywhere_is_refused() -> None:
    data = regression().SerializeToString()
    opsets = len(data) - len(onnx.ModelProto(opset_import=regression().opset_import).SerializeToString())
    for end in range(opsets):
        with pytest.raises(OnnxRefusedError):
            read_onnx(data[:end])


def test_damaged_bytes_are_read_or_refused_and_nothing_else() -> None:
    for make in (regression, classification, slow_regression):
        for data in damaged(make().SerializeToString(), 3000):
            try:
                read_onnx(data)
            except OnnxRefusedError as error:
                assert "\n" not in str(error)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        read_onnx(data)
    except OnnxRefusedError:
        pass
    else:
        assert len(data) >= 8


def test_numbers_of_trees_are_passed_over_as_one() -> None:
    """The attributes after a million numbers are found, a branch that hides behind them as well."""
    model = regression()
    node = model.graph.node[-1]
    node.attribute.append(helper.make_attribute("floats", [1.5] * 1000))
    node.attribute.append(helper.make_attribute("ints", [0, 2**40, -1, 127, 128] * 1000))
    hidden = helper.make_attribute("branch", [7] * 1000)
    hidden.g.node.append(helper.make_node("Hidden", [], [], domain="acme"))
    node.attribute.append(hidden)
    assert custom_operators(read_onnx(model.SerializeToString()).operators) == ["acme.Hidden"]


def test_weights_elsewhere_are_named_as_the_file_names_them() -> None:
    assert read_onnx(outside("weights.bin")).external == ("weights.bin",)
    assert read_onnx(deep(20)).external == ()
