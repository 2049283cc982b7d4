"""Real pictures: castings with defects and without, told apart by a model fitted here and served as on the line."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper
from simulators.broker_process import wait_until
from sklearn.linear_model import LogisticRegression

from edge_agent.examination import examine
from edge_agent.inference import Model
from edge_agent.session_plan import SessionPlan
from edge_agent.streams import StreamEngine
from protocols.assignment import StreamBinding
from protocols.feeding import Image
from protocols.images import read_pixels, to_tensor
from trainer.import_request import FeedingRequest, ImageRequest, ImportRequest
from trainer.imports import import_file

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "casting_defects"
SIDE = 48


@pytest.fixture(scope="module")
def castings() -> tuple[list[bytes], list[str], list[bytes], list[str]]:
    """Files and labels to learn from, and others to be judged by."""
    if not (DATA / "images.zip").exists():
        pytest.skip(f"{DATA} is not on this machine")
    labels = pd.read_csv(DATA / "labels.csv")
    with zipfile.ZipFile(io.BytesIO((DATA / "images.zip").read_bytes())) as archive:
        parts = []
        for split in ("train", "test"):
            rows = labels[labels["split"] == split].sample(frac=1.0, random_state=0).head(500)
            parts += [[archive.read(file) for file in rows["file"]], rows["label"].tolist()]
    return parts[0], parts[1], parts[2], parts[3]


def network(model: LogisticRegression) -> onnx.ModelProto:
    """A logistic regression on pixels, as one dense layer."""
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w", "b"], ["y"])]
    weights = [
        numpy_helper.from_array(model.coef_.T.astype(np.float32), "w"),
        numpy_helper.from_array(model.intercept_.astype(np.float32), "b"),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, SIDE, SIDE])]
    graph = helper.make_graph(
        nodes, "castings", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])], weights
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_castings_are_told_apart_on_a_stream_as_in_the_laboratory(tmp_path: Path, castings: Any) -> None:
    learned, labels, unseen, truth = castings
    image = Image("x", SIDE, SIDE, "L", mean=(0.5,))
    matrix = np.stack([to_tensor(read_pixels(data, image), image).ravel() for data in learned])
    fitted = LogisticRegression(C=0.01, max_iter=2000).fit(matrix, labels)
    onnx.save(network(fitted), tmp_path / "m.onnx")
    for place, (data, label) in enumerate(zip(unseen[:60], truth[:60], strict=True)):
        (tmp_path / "sample" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "sample" / label / f"{place}.jpg").write_bytes(data)
    feeding = FeedingRequest(image=ImageRequest(SIDE, SIDE, "L", mean=(0.5,)), classes=tuple(fitted.classes_))
    request = ImportRequest(tmp_path / "m.onnx", tmp_path / "sample", "castings", feeding=feeding)
    manifest = import_file(request, tmp_path / "out", lambda text, share: None)
    assert examine(tmp_path / "out", SessionPlan(threads=1)).passed
    answers: list[Any] = []
    engine = StreamEngine(lambda topic, payload: answers.append(json.loads(payload)), lambda *_: None)
    engine.bind([StreamBinding("camera", "castings", "in", "out")])
    engine.serve("castings", Model(tmp_path / "out", manifest, SessionPlan(threads=1)))
    engine.start()
    for data in unseen:
        engine.offer("in", data)
    assert wait_until(lambda: len(answers) == len(unseen), 60)
    assert engine.stop(5)
    served = [answer["prediction"] for answer in answers]
    assert np.mean(np.array(served) == np.array(truth)) > 0.75
    matrix = np.stack([to_tensor(read_pixels(data, image), image).ravel() for data in unseen])
    assert served == fitted.predict(matrix).tolist()
