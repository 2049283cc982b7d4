"""A graph that is to be measured: what it says of itself is enough to examine it, and never enough to install it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulators.small_models import classification, deep_regression, regression

from protocols.errors import MessageRefusedError, OnnxRefusedError
from protocols.manifest import FileInfo, TensorSpec, decode_manifest, encode_manifest
from protocols.measuring import MEASURED_FILES, DeviceFigures, Measured, measured_path, read_measured
from protocols.plain_graphs import graph_signature, measured_manifest, plain_manifest
from protocols.resources import RELEASE_FILES, parse_target_path

FILES = {name: FileInfo("ab" * 32, 10) for name in ("golden.npz", "model.onnx")}


def test_a_graph_tells_its_inputs_and_outputs_in_order():
    inputs, outputs = graph_signature(classification().SerializeToString())
    assert [(spec.name, spec.dtype) for spec in inputs] == [("AT", "float32"), ("kind", "string")]
    assert [spec.name for spec in outputs] == ["prediction", "probabilities"]


def test_a_graph_alone_becomes_a_manifest_that_a_device_reads():
    manifest = plain_manifest(regression().SerializeToString(), FILES)
    assert decode_manifest(encode_manifest(manifest)) == manifest
    assert manifest.inputs == (TensorSpec("AT", "float32"), TensorSpec("V", "float32"))
    assert manifest.opset == {"": 17, "ai.onnx.ml": 3}
    assert "MatMul" in manifest.operators


def test_a_graph_that_takes_whole_rows_is_asked_for_its_manifest():
    graph = deep_regression(2)
    graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4
    with pytest.raises(OnnxRefusedError, match=r"'AT' has the shape \? x 4.*needs its release.json"):
        plain_manifest(graph.SerializeToString(), FILES)


def test_what_is_no_graph_is_refused_in_one_line():
    with pytest.raises(OnnxRefusedError):
        plain_manifest(b"no graph", FILES)


def test_a_candidates_manifest_is_measured_without_its_promises():
    plain = plain_manifest(regression().SerializeToString(), FILES)
    promised = msgspec.structs.replace(plain, version=3, latency_limit_ms=0.001, profiles=("jetson-orin",))
    found = measured_manifest(promised, FILES)
    assert (found.version, found.latency_limit_ms, found.profiles) == (0, None, ())


@given(st.integers(1, 2**53 - 1), st.sampled_from([*MEASURED_FILES, *RELEASE_FILES]))
def test_no_measured_file_has_the_path_of_a_releases_file(number, file):
    with pytest.raises(ValueError, match="is not model/version/file"):
        parse_target_path(measured_path(number, file))


def test_figures_come_back_as_they_were_sent():
    figures = DeviceFigures(device="press-1", profile="x86", outcome="measured", latency_p50_ms=0.5)
    assert read_measured(msgspec.to_builtins(Measured(7, figures))) == Measured(7, figures)
    with pytest.raises(MessageRefusedError, match="outcome"):
        read_measured({"job": 7, "figures": {"device": "d", "profile": "x86", "outcome": "fine"}})
