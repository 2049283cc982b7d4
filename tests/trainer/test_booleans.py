"""A column of booleans, some of them missing, from the table to the device: one number input, to which true is 1."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from simulators.inline_workers import train_inline

from edge_agent.rows import RowReader
from edge_agent.scoring import score_file
from protocols.assignment import StreamBinding
from protocols.manifest import Manifest
from protocols.reference import decode_reference
from trainer.candidate import read_candidate
from trainer.graphs import open_graph
from trainer.request import TrainRequest
from trainer.sdk.trained import TrainedModel
from trainer.train import train

#: What the line may send, and what it is as a number.
SAID: list[tuple[bool | None, float | None]] = [(True, 1), (False, 0), (None, None)]


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("booleans")
    random = np.random.default_rng(0)
    opened, heat = random.random(200) < 0.5, random.normal(300, 5, 200)
    table = pd.DataFrame({"open": opened.astype(str), "heat": heat.round(2)})
    table["y"] = 10.0 * opened + heat - 300 + random.normal(0, 0.5, 200)
    table.loc[random.choice(200, 20, replace=False), "open"] = None
    table.to_csv(folder / "table.csv", index=False)
    assert {"True", "False", ""} == {line.split(",")[0] for line in (folder / "table.csv").read_text().split("\n")[1:]}
    with pytest.MonkeyPatch.context() as patched:
        train_inline(patched)
        train(TrainRequest(folder / "table.csv", "y", "valve", budget_s=30, trials=1), folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def manifest(candidate: Path) -> Manifest:
    return read_candidate(candidate)


@pytest.fixture(scope="module")
def wanted(candidate: Path) -> list[float]:
    """What the graph answers to 1, 0 and a missing number, at 300 degrees."""
    values = np.float32([1, 0, np.nan])[:, None]
    feed = {"open": values, "heat": np.full((3, 1), 300, np.float32)}
    found = open_graph((candidate / "model.onnx").read_bytes()).run(None, feed)[0].ravel().tolist()
    assert found[0] > found[1] + 5
    return [float(value) for value in found]


def test_it_is_one_number_of_which_the_reference_profile_has_zero_and_one(candidate: Path, manifest: Manifest) -> None:
    opened = next(spec for spec in manifest.inputs if spec.name == "open")
    assert (opened.dtype, opened.low, opened.high, opened.categories) == ("float32", 0.0, 1.0, None)
    profile = decode_reference((candidate / "reference").read_bytes())
    assert profile.numeric["open"].count == 180
    assert profile.categories == {}


def test_the_stream_takes_true_as_one(candidate: Path, manifest: Manifest, wanted: list[float]) -> None:
    reader = RowReader(manifest.inputs, StreamBinding("s", "valve", "t", "o"))
    session = open_graph((candidate / "model.onnx").read_bytes())
    for place in (0, 1):
        rows = reader.read([json.dumps({"open": pair[place], "heat": 300}).encode() for pair in SAID])
        assert rows.rejected == []
        feed = {spec.name: column for spec, column in zip(manifest.inputs, rows.columns, strict=True)}
        assert session.run(None, feed)[0].ravel().tolist() == wanted


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_a_file_of_them_scores_as_one_of_numbers(
    candidate: Path, wanted: list[float], tmp_path: Path, form: str
) -> None:
    for place in (0, 1):
        source, out = tmp_path / f"in{place}.{form}", tmp_path / f"out{place}.parquet"
        values = [pair[place] for pair in SAID]
        if form == "csv":
            source.write_text("open,heat\n" + "".join(f"{'' if one is None else one},300\n" for one in values))
        elif form == "parquet":
            pyarrow.parquet.write_table(pa.table({"open": values, "heat": [300.0] * 3}), source)
        else:
            source.write_text("".join(json.dumps({"open": one, "heat": 300}) + "\n" for one in values))
        assert score_file(candidate, source, out).written == 3
        assert pyarrow.parquet.read_table(out)["prediction"].to_pylist() == wanted


@pytest.mark.parametrize(
    "values", [[True, False, None], pd.array([True, False, None], dtype="boolean"), ["true", "FALSE", None]]
)
def test_python_takes_them_too(candidate: Path, wanted: list[float], values: object) -> None:
    table = pd.DataFrame({"open": values, "heat": 300.0})
    assert TrainedModel(candidate).predict(table).tolist() == wanted
