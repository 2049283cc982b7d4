"""Networks with windows, images or state: taken in, proven, and answering what their maker's graph answers."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pandas as pd
import pytest
from PIL import Image as Pictures
from simulators import networks
from simulators.small_kinds import pictured

from protocols.feeding import Image, StatePair, Window
from protocols.images import read_pixels, to_tensor
from protocols.manifest import Manifest, decode_manifest
from protocols.reference import decode_reference
from protocols.sketches import NumericSketch
from trainer.candidate import read_candidate
from trainer.cli import import_model
from trainer.errors import ImportRefusedError, RequestError
from trainer.fed.options import feeding_of
from trainer.import_request import FeedingRequest, ImageRequest, ImportRequest
from trainer.imports import import_file

COLUMNS = ["speed", "load", "heat"]
IMAGE = ImageRequest(16, 16)


def series(rows: int = 80) -> pd.DataFrame:
    random = np.random.default_rng(5)
    return pd.DataFrame({name: random.normal(place, 1, rows).cumsum() / 10 for place, name in enumerate(COLUMNS)})


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve pictures of three classes, JPEG and PNG, of several sizes."""
    random = np.random.default_rng(6)
    for place in range(12):
        folder = tmp_path / "pictures" / ("scratch", "ok", "dent")[place % 3]
        folder.mkdir(parents=True, exist_ok=True)
        noise = random.integers(0, 255, (20 + place, 30, 3), dtype=np.uint8)
        Pictures.fromarray(noise).save(folder / f"{place}.{'png' if place % 2 else 'jpg'}")
    return tmp_path / "pictures"


def take(tmp_path: Path, model: onnx.ModelProto, sample: Any, target: str | None = None, **fed: Any) -> Manifest:
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    request = ImportRequest(tmp_path / "m.onnx", sample, "foreign", target, feeding=FeedingRequest(**fed))
    manifest = import_file(request, tmp_path / "out", lambda text, share: None)
    assert read_candidate(tmp_path / "out") == manifest
    assert decode_manifest((tmp_path / "out" / "release.json").read_bytes()) == manifest
    assert manifest.parity.passed
    assert manifest.v == 2
    return manifest


def released(tmp_path: Path) -> ort.InferenceSession:
    return ort.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("model", [networks.convolution(), networks.dense_window()], ids=["columns first", "flat"])
def test_a_window_is_taken_as_rows_whatever_the_graph_takes(tmp_path: Path, model: onnx.ModelProto) -> None:
    table = series()
    manifest = take(tmp_path, model, table, window=12)
    assert manifest.feeding == Window("x", 12)
    assert [spec.name for spec in manifest.inputs] == COLUMNS
    windows = np.stack([table.to_numpy(np.float32)[at : at + 12] for at in range(5)])
    made = windows.transpose(0, 2, 1) if len(model.graph.node) > 1 else windows.reshape(5, -1)
    (want,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": np.ascontiguousarray(made)})
    (got,) = released(tmp_path).run(None, {"x": windows})
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert manifest.inputs[0].low == pytest.approx(table["speed"].min(), rel=1e-5)
    reference = decode_reference((tmp_path / "out" / "reference").read_bytes())
    assert NumericSketch.of(reference.numeric["speed"]).count == len(table)


def test_a_target_is_compared_with_the_newest_row_of_each_window(tmp_path: Path) -> None:
    table = series()
    session = ort.InferenceSession(networks.convolution().SerializeToString())
    rows = table.to_numpy(np.float32)
    table["truth"] = np.nan
    for at in range(11, len(table)):
        window = np.ascontiguousarray(rows[at - 11 : at + 1].T[None])
        table.loc[at, "truth"] = float(session.run(None, {"x": window})[0][0, 0])
    manifest = take(tmp_path, networks.convolution(), table, "truth", window=12)
    assert manifest.metrics["rmse"] < 1e-4


def test_a_graph_that_mixes_its_batch_is_served_one_window_at_a_time(tmp_path: Path) -> None:
    manifest = take(tmp_path, networks.one_batch_alone(), series(), window=12)
    assert manifest.feeding == Window("x", 12, batch=1)
    assert "a device runs it row by row" in (tmp_path / "out" / "report.json").read_text()


def test_classes_of_a_window_are_named(tmp_path: Path) -> None:
    manifest = take(tmp_path, networks.convolution(outputs=2), series(), window=12, classes=("calm", "shaking"))
    assert (manifest.task, manifest.classes) == ("classification", ("calm", "shaking"))
    assert [spec.name for spec in manifest.outputs] == ["prediction", "probabilities"]
    assert manifest.elsewhere is not None
    labels, shares = released(tmp_path).run(None, {"x": np.zeros((3, 12, 3), np.float32)})
    assert shares.sum(axis=1) == pytest.approx(1)
    assert labels.tolist() == [manifest.classes[int(best)] for best in shares.argmax(axis=1)]


@pytest.mark.parametrize("rows", [1, 4])
def test_state_of_a_recurrent_network_is_carried(tmp_path: Path, rows: int) -> None:
    model = networks.lstm(rows)
    state = (("h0", "hn"), ("c0", "cn"))
    manifest = take(tmp_path, model, series(), window=rows if rows > 1 else None, state=state)
    assert manifest.feeding == Window("x", rows, batch=1)
    assert manifest.state == (StatePair("h0", "hn", (1, 1, 5)), StatePair("c0", "cn", (1, 1, 5)))
    with np.load(tmp_path / "out" / "golden.npz") as golden:
        windows, want = golden["input_0"], golden["output_0"]
    session = ort.InferenceSession(model.SerializeToString())
    h, c = np.zeros((1, 1, 5), np.float32), np.zeros((1, 1, 5), np.float32)
    for window, expected in zip(windows, want, strict=True):
        y, h, c = session.run(None, {"x": window[:, None, :], "h0": h, "c0": c})
        assert y.ravel() == pytest.approx(expected.ravel(), rel=1e-4)


def test_state_beside_one_input_a_column(tmp_path: Path) -> None:
    manifest = take(tmp_path, networks.filter_by_column(COLUMNS), series(), state=(("level", "next_level"),))
    assert manifest.feeding is None
    assert [spec.name for spec in manifest.graph_inputs] == [*COLUMNS, "level"]
    with np.load(tmp_path / "out" / "golden.npz") as golden:
        summed, found = sum(golden[f"input_{place}"] for place in range(3)), golden["output_0"]
    level = 0.0
    for value, expected in zip(summed.ravel(), found.ravel(), strict=True):
        level = 0.9 * level + 0.1 * value
        assert expected == pytest.approx(10 * level, rel=1e-4)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("ends", ["", "Softmax"])
def test_an_image_network_is_taken_with_its_folders_as_classes(
    tmp_path: Path, pictures: Path, layout: str, ends: str
) -> None:
    model = networks.vision(layout=layout, ends=ends)
    manifest = take(tmp_path, model, pictures, image=IMAGE)
    assert manifest.classes == ("dent", "ok", "scratch")
    assert manifest.feeding == Image("x", 16, 16, layout=layout)
    assert manifest.metrics.keys() >= {"log_loss", "accuracy"}
    data = (pictures / "ok" / "1.png").read_bytes()
    tensor = to_tensor(read_pixels(data, manifest.feeding), manifest.feeding)[None]
    (want,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": tensor})
    if not ends:
        want = np.exp(want) / np.exp(want).sum()
    assert released(tmp_path).run(None, {"x": tensor})[1] == pytest.approx(want, rel=1e-4)
    with np.load(tmp_path / "out" / "golden.npz") as golden:
        assert sum(name.startswith("picture_") for name in golden.files) == 4
    assert [spec.name for spec in manifest.inputs] == ["brightness", "contrast", "sharpness"]


@pytest.mark.parametrize("ends", ["", "Sigmoid"])
def test_one_number_of_two_classes_is_the_share_of_the_second(tmp_path: Path, pictures: Path, ends: str) -> None:
    model = networks.vision(outputs=1, ends=ends)
    take(tmp_path, model, pictures, image=IMAGE, classes=("good", "bad"))
    tensor = np.ones((2, 3, 16, 16), np.float32)
    (want,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": tensor})
    share = want if ends else 1 / (1 + np.exp(-want))
    assert released(tmp_path).run(None, {"x": tensor})[1][:, 1:] == pytest.approx(share, rel=1e-4)


def test_labels_and_probabilities_of_the_graph_itself_are_taken_as_they_are(tmp_path: Path, pictures: Path) -> None:
    model = pictured().model
    given = ImageRequest(8, 8)
    manifest = take(tmp_path, model, pictures, image=given, classes=("dark", "red", "green"))
    assert manifest.classes == ("dark", "red", "green")
    red = np.zeros((1, 3, 8, 8), np.float32)
    red[:, 0] = 1
    label, shares = released(tmp_path).run(None, {"pixels": red})
    assert label.tolist() == ["red"]
    assert shares.argmax() == 1


def test_a_large_image_travels_smaller_among_the_golden_ones(tmp_path: Path, pictures: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (500, 700, 3), dtype=np.uint8)
    for path in pictures.rglob("*.png"):
        Pictures.fromarray(noise).save(path)
    take(tmp_path, networks.vision(), pictures, image=IMAGE)
    with np.load(tmp_path / "out" / "golden.npz") as golden:
        assert all(golden[name].size < 64 * 1024 for name in golden.files if name.startswith("picture_"))


@pytest.mark.parametrize(
    ("model", "fed", "text"),
    [
        (networks.convolution(), {"window": 13}, "a window of 13 rows of the sample's 3 columns does not fit"),
        (networks.convolution(columns=4), {"window": 12}, "float['batch', 4, 12]"),
        (networks.convolution(), {"window": 12, "layout": "NTC"}, "does not fit into it as NTC"),
        (networks.convolution(outputs=2), {"window": 12}, "gives 2 numbers a row, and they have no names"),
        (networks.convolution(outputs=2), {"window": 12, "classes": ("a", "b", "c")}, "--classes names 3"),
        (networks.convolution(), {"window": 70}, "at least 89 are needed"),
        (networks.lstm(), {"state": (("h0", "hn"),)}, "what it carries from call to call is named by --state IN=OUT"),
        (networks.lstm(), {"state": (("h0", "nothing"),)}, "the model has no output 'nothing'; it has 'y', 'hn', 'cn'"),
        (networks.lstm(), {"state": (("x0", "hn"),)}, "no input 'x0'; it has 'x', 'h0', 'c0'"),
        (networks.vision(), {"image": IMAGE}, "an image model's is a folder"),
    ],
)
def test_what_does_not_match_is_refused_in_one_line(tmp_path: Path, model, fed: dict[str, Any], text: str) -> None:
    with pytest.raises(ImportRefusedError) as caught:
        take(tmp_path, model, series(), **fed)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_values_are_proven_as_such_and_end_no_proof(tmp_path: Path) -> None:
    table = series()
    table.loc[30, "load"] = np.nan
    manifest = take(tmp_path, networks.convolution(outputs=2), table, window=12, classes=("calm", "shaking"))
    assert [case.name for case in manifest.parity.cases] == ["held-out", "edges", "missing"]
    assert np.isfinite(manifest.parity.tolerance.absolute)
    with np.load(tmp_path / "out" / "golden.npz") as golden:
        assert np.isfinite(golden["output_1"]).all()


def test_windows_with_a_missing_value_are_left_out_of_the_figures(tmp_path: Path) -> None:
    table = series().assign(truth=0.5)
    table.loc[30, "load"] = np.nan
    manifest = take(tmp_path, networks.convolution(), table, "truth", window=12)
    assert np.isfinite(manifest.metrics["rmse"])
    said = (tmp_path / "out" / "report.json").read_text()
    assert "the model answers 12 of 69 rows or windows with NaN" in said


@pytest.mark.parametrize("fed", [{"window": 12}, {"state": (("level", "next_level"),)}])
def test_text_among_the_numbers_of_a_series_is_named(tmp_path: Path, fed: dict[str, Any]) -> None:
    table = series().astype({"load": object})
    table.loc[30, "load"] = "n.i.O."
    table.loc[40, "load"] = "ERR"
    with pytest.raises(
        ImportRefusedError, match=r"row 31 of the sample has 'n\.i\.O\.' in column 'load' \(1 more like it"
    ):
        take(tmp_path, networks.filter_by_column(COLUMNS) if "state" in fed else networks.convolution(), table, **fed)


def test_missing_values_before_a_state_are_refused(tmp_path: Path) -> None:
    table = series()
    table.loc[30, "load"] = np.nan
    with pytest.raises(ImportRefusedError, match="answers row 31 of the sample with NaN, and what"):
        take(tmp_path, networks.filter_by_column(COLUMNS), table, state=(("level", "next_level"),))


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (
            ImageRequest(16, 16, mean=(0.5, 0.5)),
            "--mean has 2 numbers, and an image in RGB has 3 channels: give one for each",
        ),
        (ImageRequest(16, 16, deviation=(1.0, 0.0, 1.0)), "--deviation 1,0,1: it must be above 0"),
        (
            ImageRequest(16, 16, "L", deviation=(1.0, 2.0)),
            "--deviation has 2 numbers, and an image in L has 1 channel:",
        ),
        (ImageRequest(16, 16, scale=-1.0), "--scale -1: it must be above 0"),
        (ImageRequest(16, 16, "L"), "an image of 16 x 16 in L does not fit"),
    ],
)
def test_an_image_that_cannot_be_made_is_refused_in_one_line(
    tmp_path: Path, pictures: Path, image: ImageRequest, text: str
) -> None:
    with pytest.raises(ImportRefusedError) as caught:
        take(tmp_path, networks.vision(), pictures, image=image)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_broken_image_in_the_sample_is_named(tmp_path: Path, pictures: Path) -> None:
    (pictures / "ok" / "broken.jpg").write_bytes(b"\xff\xd8\xff no")
    with pytest.raises(ImportRefusedError, match=r"broken\.jpg: a JPEG that cannot be decoded"):
        take(tmp_path, networks.vision(), pictures, image=IMAGE)


def test_a_folder_without_the_size_of_its_images_is_told_of_the_option(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(
        ImportRefusedError, match="is a folder: for a model that takes images say their size with --image"
    ):
        take(tmp_path, networks.vision(), pictures)
    with pytest.raises(ImportRefusedError, match="--image HxW"):
        take(tmp_path, networks.vision(), pictures, window=3)


def test_too_few_images_and_text_columns_are_refused(tmp_path: Path, pictures: Path) -> None:
    for path in list(pictures.rglob("*.png")):
        path.unlink()
    with pytest.raises(ImportRefusedError, match="holds 6 JPEG or PNG files; at least 10"):
        take(tmp_path, networks.vision(), pictures, image=IMAGE)
    with pytest.raises(ImportRefusedError, match="column 'shift' of the sample holds category values"):
        take(tmp_path, networks.convolution(), series().assign(shift="night"), window=12)


def test_the_command_takes_an_image_network(tmp_path: Path, pictures: Path, capsys) -> None:
    (tmp_path / "m.onnx").write_bytes(networks.vision().SerializeToString())
    status = import_model(
        [
            str(tmp_path / "m.onnx"), "--sample", str(pictures), "--model", "eye", "--out", str(tmp_path / "out"),
            "--image", "16x16", "--scale", "1/127.5", "--mean", "1,1,1", "--resize", "crop", "--colours", "BGR",
        ]
    )  # fmt: skip
    assert status == 0
    assert "eye: classification" in capsys.readouterr().out
    feeding = read_candidate(tmp_path / "out").feeding
    assert feeding == Image("x", 16, 16, "BGR", scale=1 / 127.5, mean=(1.0, 1.0, 1.0), resize="crop")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--image", "16"], "'16' is no height and width"),
        (["--window", "0"], "'0' is no number of rows"),
        (["--state", "h"], "'h' is not IN=OUT"),
        (["--classes", "a,a"], "at least two classes, each once"),
        (["--scale", "1/0"], "'1/0' is no number"),
    ],
)
def test_an_option_that_cannot_be_read_is_wrong_usage(tmp_path: Path, options: list[str], text: str) -> None:
    command = [sys.executable, "-c", "import sys; from trainer.cli import import_model; import_model(sys.argv[1:])"]
    given = ["m.onnx", "--sample", "s", "--model", "m", "--out", "o", *options]
    done = subprocess.run([*command, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert text in done.stderr


def test_options_that_contradict_each_other_are_refused() -> None:
    from trainer.cli import _import_parser

    base = ["m.onnx", "--sample", "s", "--model", "m", "--out", "o"]
    with pytest.raises(RequestError, match="--mean is of images"):
        feeding_of(_import_parser().parse_args([*base, "--mean", "0.5"]))
    with pytest.raises(RequestError, match="--window and --image"):
        feeding_of(_import_parser().parse_args([*base, "--window", "3", "--image", "4x4"]))
    assert feeding_of(_import_parser().parse_args(base)) == FeedingRequest()
