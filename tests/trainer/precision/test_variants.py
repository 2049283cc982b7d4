"""Variants in less precision: made or taken in, compared as a device will, refused in one line where they are off."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper
from simulators.small_models import regression
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import genba
from protocols.manifest import Manifest
from trainer.candidate import read_candidate
from trainer.errors import ImportRefusedError
from trainer.import_request import FeedingRequest, ImportRequest
from trainer.imports import import_file

SENSORS = ["Torque [Nm]", "Air temp. (°C); line 1/2", "wear"]
LAYERS = {"hidden_layer_sizes": (64, 64), "max_iter": 300, "random_state": 0}


@pytest.fixture
def sample(plant: pd.DataFrame) -> pd.DataFrame:
    return plant.dropna().reset_index(drop=True)


def network(folder: Path, sample: pd.DataFrame, *, name: str = "m.onnx", imputed: bool = True, **changes: Any) -> Path:
    """A network with two hidden layers, as ONNX with one matrix input."""
    steps = [SimpleImputer()] if imputed else []
    model = make_pipeline(*steps, StandardScaler(), MLPRegressor(**{**LAYERS, **changes}))
    model.fit(sample[SENSORS].to_numpy(np.float32), sample["yield"])
    graph = to_onnx(model, initial_types=[("X", FloatTensorType([None, 3]))], target_opset={"": 17, "ai.onnx.ml": 3})
    (folder / name).write_bytes(graph.SerializeToString())
    return folder / name


def classifier(folder: Path) -> Path:
    """Three classes by a network of made-up weights; a missing value counts as zero."""
    random = np.random.default_rng(2)
    shapes = {"first": (3, 64), "second": (64, 64), "third": (64, 3)}
    weights = [
        numpy_helper.from_array((random.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32), weight)
        for weight, shape in shapes.items()
    ]
    weights.append(numpy_helper.from_array(np.array([0.02, 0.003, 0.01], np.float32), "scale"))
    weights.append(numpy_helper.from_array(np.array([0.0], np.float32), "zero"))
    make = helper.make_node
    nodes = [
        make("IsNaN", ["X"], ["gone"]), make("Where", ["gone", "zero", "X"], ["there"]),
        make("Mul", ["there", "scale"], ["a"]), make("MatMul", ["a", "first"], ["b"]), make("Relu", ["b"], ["c"]),
        make("MatMul", ["c", "second"], ["d"]), make("Relu", ["d"], ["e"]), make("MatMul", ["e", "third"], ["f"]),
        make("Softmax", ["f"], ["p"], axis=1), make("ArgMax", ["p"], ["l"], axis=1, keepdims=0),
    ]  # fmt: skip
    sides = [
        helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3]),
        helper.make_tensor_value_info("l", TensorProto.INT64, [None]),
        helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 3]),
    ]
    graph = helper.make_graph(nodes, "classes", sides[:1], sides[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    return folder / "m.onnx"


def take(folder: Path, file: Path, sample: pd.DataFrame, **given: Any) -> Manifest:
    request = ImportRequest(file, sample[SENSORS], "foreign", **given)
    manifest = import_file(request, folder / "out", lambda text, share: None, force=True)
    assert read_candidate(folder / "out") == manifest
    return manifest


def weights_of(path: Path) -> set[int]:
    return {tensor.data_type for tensor in onnx.load(path).graph.initializer}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_int8_and_float16_are_made_and_compared(tmp_path: Path, sample: pd.DataFrame, task: str) -> None:
    file = network(tmp_path, sample) if task == "regression" else classifier(tmp_path)
    manifest = take(tmp_path, file, sample, quantise=("int8", "float16"))
    assert manifest.task == task
    assert sorted(manifest.variants) == ["float16", "int8"]
    assert manifest.v == 2, "an older agent fetches no variant"
    for precision, variant in manifest.variants.items():
        assert variant.file == f"model.{precision}.onnx"
        assert 0 < variant.largest_difference <= variant.tolerance.absolute
        assert manifest.files[variant.file].size_bytes < manifest.files["model.onnx"].size_bytes
    assert "by ONNX Runtime" in manifest.variants["int8"].made
    half = manifest.variants["float16"]
    assert half.largest_difference < manifest.variants["int8"].largest_difference
    assert onnx.TensorProto.INT8 in weights_of(tmp_path / "out" / "model.int8.onnx")
    assert onnx.TensorProto.FLOAT16 in weights_of(tmp_path / "out" / "model.float16.onnx")
    whole, small = (
        onnxruntime.InferenceSession(str(tmp_path / "out" / name)) for name in ("model.onnx", "model.int8.onnx")
    )
    assert [(node.name, node.type) for node in whole.get_inputs()] == [(n.name, n.type) for n in small.get_inputs()]


def test_a_release_without_variants_is_one_that_older_agents_take(tmp_path: Path, sample: pd.DataFrame) -> None:
    assert take(tmp_path, network(tmp_path, sample), sample).v == 1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_variant_outside_its_tolerance_is_refused_and_nothing_is_written(
    tmp_path: Path, sample: pd.DataFrame
) -> None:
    with pytest.raises(ImportRefusedError, match=r"the int8 variant differs .* \(1e-06 is allowed\)") as caught:
        take(tmp_path, network(tmp_path, sample), sample, quantise=("int8",), variant_tolerance=1e-6)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_variant_of_another_maker_is_taken_in_where_it_is_the_same_model(
    tmp_path: Path, sample: pd.DataFrame
) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    file = network(tmp_path, sample)
    quantize_dynamic(file, tmp_path / "theirs.onnx", weight_type=QuantType.QInt8)
    given = {"variants": {"int8": tmp_path / "theirs.onnx"}, "variant_tolerance": 2.0}
    manifest = take(tmp_path, file, sample, **given)
    assert manifest.variants["int8"].made == "given as theirs.onnx"
    assert [spec.name for spec in manifest.inputs] == SENSORS
    other = network(tmp_path, sample, name="other.onnx", random_state=7, max_iter=2)
    with pytest.raises(ImportRefusedError, match="the int8 variant differs"):
        take(tmp_path, file, sample, **{**given, "variants": {"int8": other}})
    onnx.save(regression(), tmp_path / "stranger.onnx")
    with pytest.raises(ImportRefusedError, match=r"the model takes 2 columns|do not match the sample's columns"):
        take(tmp_path, file, sample, **{**given, "variants": {"int8": tmp_path / "stranger.onnx"}})
    (tmp_path / "none.onnx").write_bytes(b"no graph")
    with pytest.raises(ImportRefusedError, match=r"none.onnx is not a valid ONNX model"):
        take(tmp_path, file, sample, **{**given, "variants": {"int8": tmp_path / "none.onnx"}})


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_variant_that_answers_where_the_model_does_not_is_refused(tmp_path: Path, sample: pd.DataFrame) -> None:
    """Quantisation makes a number of a missing value, and nobody would see that it is none."""
    file = network(tmp_path, sample, imputed=False)
    with pytest.raises(ImportRefusedError, match=r"gives numbers on \w+ rows where the model gives none"):
        take(tmp_path, file, sample, quantise=("int8",))


def test_a_model_with_nothing_to_quantise_is_told_so(tmp_path: Path, sample: pd.DataFrame) -> None:
    forest = RandomForestRegressor(5, random_state=0).fit(sample[SENSORS].to_numpy(np.float32), sample["yield"])
    graph = to_onnx(forest, initial_types=[("X", FloatTensorType([None, 3]))], target_opset={"": 17, "ai.onnx.ml": 3})
    (tmp_path / "m.onnx").write_bytes(graph.SerializeToString())
    for precision in ("int8", "float16"):
        with pytest.raises(ImportRefusedError, match=f"has no layer .* that {precision} changes"):
            take(tmp_path, tmp_path / "m.onnx", sample, quantise=(precision,))


def test_what_cannot_be_asked_for_is_one_line(tmp_path: Path, sample: pd.DataFrame) -> None:
    file = tmp_path / "m.onnx"
    with pytest.raises(ImportRefusedError, match="int8 is asked for twice"):
        take(tmp_path, file, sample, quantise=("int8",), variants={"int8": file})
    with pytest.raises(ImportRefusedError, match="of models that take one row"):
        take(tmp_path, file, sample, quantise=("int8",), feeding=FeedingRequest(window=4))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_command_says_what_it_made(
    tmp_path: Path, sample: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    file = network(tmp_path, sample)
    sample[SENSORS].to_csv(tmp_path / "sample.csv", index=False)
    out = ["--model", "plant", "--out", str(tmp_path / "out")]
    arguments = ["import", str(file), "--sample", str(tmp_path / "sample.csv"), *out]
    assert genba.main([*arguments, "--quantise", "int8", "--cpu-feature", "sse4_2"]) == 0
    assert "model.int8.onnx" in capsys.readouterr().out
    assert read_candidate(tmp_path / "out").cpu_features == ("sse4_2",)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--variant", "int4=x"],
        ["--variant", "int8"],
        ["--quantise", "int4"],
        ["--variant-tolerance", "0"],
        ["--cpu-feature", "x"],
    ],
)
def test_wrong_usage_is_status_2(tmp_path: Path, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        genba.main(["import", "m.onnx", "--sample", "s.csv", "--model", "m", "--out", str(tmp_path), *wrong])
    assert caught.value.code == 2
