"""Files of Keras and PyTorch beside those of the guide, and the folders that MLflow writes for them.

Each is a linear network with the weights of a fit, so that nothing is trained.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from simulators.frameworks import ROOT, framework_folder, run_python

from protocols.manifest import Manifest
from trainer.candidate import read_candidate
from trainer.foreign.code_inside import code_in
from trainer.foreign.kinds import recognise

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

FIT = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "docs" / "examples")!r})
import numpy as np
from table_model import prepare
table, power = prepare(Path())
fit = np.linalg.lstsq(np.column_stack([table, np.ones(len(table))]), power, rcond=None)[0].astype("float32")
weights, bias = fit[:-1], fit[-1:]
"""
KERAS = f"""{FIT}
import keras
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
model.layers[-1].set_weights([weights.reshape(3, 1), bias])
"""
MODULE = """
import tensorflow as tf
class Line(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights, self.bias = tf.Variable(weights.reshape(3, 1)), tf.Variable(bias)
    @tf.function(input_signature=[tf.TensorSpec((None, 3))])
    def answer(self, rows):
        return rows @ self.weights + self.bias
line = Line()
"""
TORCH = f"""{FIT}
import torch
model = torch.nn.Sequential(torch.nn.Linear(3, 1))
model.load_state_dict({{"0.weight": torch.from_numpy(weights.reshape(1, 3)), "0.bias": torch.from_numpy(bias)}})
"""
SIGNED = """
import mlflow
signature = mlflow.models.infer_signature(table, power.astype("float32").reshape(-1, 1))
options = dict(path="model", signature=signature, pip_requirements=[])
"""


def make(folder: Path, script: str, behind: Sequence[Path]) -> None:
    (folder / "making.py").write_text(script)  # TorchScript reads the source of what it is given
    run_python(["making.py"], folder, behind)


def take(folder: Path, file: str, behind: Sequence[Path], *more: str) -> Manifest:
    words = ["import", file, "--sample", "sample.csv", "--target", "power", "--model", "plant", "--out", "out", *more]
    run_python(["-P", "-m", "genba", *words], folder, behind)
    manifest = read_candidate(folder / "out")
    assert manifest.parity.passed
    assert manifest.metrics["rmse"] < 3  # the power's deviation is 13
    assert [spec.name for spec in manifest.inputs] == ["temperature", "vacuum", "humidity"]
    return manifest


def refused(folder: Path, file: str, behind: Sequence[Path], says: str, *more: str) -> None:
    with pytest.raises(AssertionError, match=says):
        take(folder, file, behind, *more)


def test_a_keras_file_in_hdf5_is_taken_in(tmp_path: Path) -> None:
    behind = [framework_folder("tensorflow")]
    make(tmp_path, f"{KERAS}\nmodel.save('model.h5')", behind)
    take(tmp_path, "model.h5", behind)


def test_a_pickled_module_is_taken_in_with_trust_alone(tmp_path: Path) -> None:
    behind = [framework_folder("torch")]
    make(tmp_path, f"{TORCH}\ntorch.save(model, 'model.pt')", behind)
    refused(tmp_path, "model.pt", behind, "holds code: it is a pickled PyTorch module.*add --trust")
    take(tmp_path, "model.pt", behind, "--trust")


def test_a_pickled_module_whose_class_is_elsewhere_says_what_it_needs(tmp_path: Path) -> None:
    behind = [framework_folder("torch")]
    (tmp_path / "our_nets.py").write_text("import torch\nclass Net(torch.nn.Sequential):\n    pass\n")
    make(tmp_path, f"{TORCH}\nimport our_nets\ntorch.save(our_nets.Net(*model), 'model.pt')", behind)
    says = "needs the module 'our_nets', which is not found here: put the folder that it is in on PYTHONPATH"
    refused(tmp_path, "model.pt", behind, says, "--trust")
    take(tmp_path, "model.pt", [*behind, tmp_path], "--trust")


@pytest.mark.parametrize(
    "saved",
    [
        "mlflow.keras.save_model(model, **options)",
        "mlflow.keras.save_model(model, save_exported_model=True, **options)",
        "mlflow.tensorflow.save_model(model, **options)",
        "mlflow.tensorflow.save_model(model, keras_model_kwargs={'save_format': 'h5'}, **options)",
        f"{MODULE}\nmlflow.tensorflow.save_model(line, saved_model_kwargs={{'signatures': line.answer}}, **options)",
    ],
    ids=["keras", "keras-exported", "tensorflow", "tensorflow-hdf5", "tensorflow-module"],
)
def test_an_mlflow_folder_of_keras_is_taken_in(tmp_path: Path, saved: str) -> None:
    behind = [framework_folder("tensorflow")]
    make(tmp_path, f"{KERAS}{SIGNED}\n{saved}", [*behind, framework_folder("mlflow")])
    take(tmp_path, "model", behind)


@pytest.mark.parametrize(
    ("saved", "code"),
    [
        ("mlflow.pytorch.save_model(model, serialization_format='pt2', input_example=table[:4], **options)", None),
        ("mlflow.pytorch.save_model(model, export_model=True, input_example=table[:1], **options)", None),
        ("mlflow.pytorch.save_model(model, serialization_format='pickle', **options)", "a pickled PyTorch module"),
        (
            "script = torch.jit.trace(model, torch.from_numpy(table[:4]))\n"
            "mlflow.pytorch.save_model(script, serialization_format='pickle', **options)",
            None,
        ),
    ],
    ids=["exported", "exported-of-one-row", "pickled", "torchscript"],
)
def test_an_mlflow_folder_of_pytorch_is_taken_in(tmp_path: Path, saved: str, code: str | None) -> None:
    behind = [framework_folder("torch")]
    make(tmp_path, f"{TORCH}{SIGNED}\n{saved}", [*behind, framework_folder("mlflow")])
    if code is None:
        take(tmp_path, "model", behind)
    else:
        refused(tmp_path, "model", behind, f"model.pth holds code: it is {code}.*add --trust")
        take(tmp_path, "model", behind, "--trust")


NETS = """
import torch
from torch import nn

class Windows(nn.Module):
    def __init__(self):
        super().__init__()
        self.filter, self.memory = nn.Conv1d(3, 8, 3, padding=1), nn.LSTM(8, 4, batch_first=True)
        self.look, self.last = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.Linear(4, 2)
    def forward(self, rows):
        seen = torch.relu(self.filter(rows.transpose(1, 2))).transpose(1, 2)
        return torch.softmax(self.last(self.look(self.memory(seen)[0])[:, -1]), -1)

class Pairs(nn.Module):
    def forward(self, rows):
        first, second = rows[: rows.shape[0] // 2], rows[rows.shape[0] // 2 :]
        return torch.cat([first, second]) + torch.where(rows > 0, rows, rows.mean(0, keepdim=True)).clamp(-1, 1)

class Pictures(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )
        self.register_buffer("mean", torch.zeros(3, 1, 1))
    def forward(self, pixels):
        return self.layers(pixels - self.mean)

class Scripted(nn.Module):
    def __init__(self):
        super().__init__()
        self.steps, self.layer, self.sizes = [1, 2, 3], nn.Linear(3, 2), {"a": 1.5}
    def forward(self, rows):
        parts = [self.layer(rows) * float(step) * self.sizes["a"] for step in self.steps]
        return torch.stack(parts).sum(0)

free = ({0: torch.export.Dim.AUTO},)
for name, net, rows in [
    ("windows", Windows(), torch.rand(4, 12, 3)), ("pairs", Pairs(), torch.rand(4, 3)),
    ("pictures", Pictures(), torch.rand(2, 3, 8, 8)), ("scripted", Scripted(), torch.rand(4, 3)),
]:
    net.eval()
    torch.export.save(torch.export.export(net, (rows,), dynamic_shapes=free), f"{name}.pt2")
    torch.jit.trace(net, rows, check_trace=False).save(f"{name}-traced.pt")
torch.jit.script(Scripted()).save("scripted.pt")
two = torch.export.export(nn.Bilinear(3, 3, 1), (torch.rand(4, 3),), {"input2": torch.rand(4, 3)})
torch.export.save(two, "named.pt2")
"""


def test_nothing_is_seen_in_what_pytorch_writes(tmp_path: Path) -> None:
    make(tmp_path, NETS, [framework_folder("torch")])
    files = sorted(tmp_path.glob("*.pt*"))
    assert len(files) == 10
    assert {file.name: code_in(recognise(file)) for file in files} == {file.name: None for file in files}


ATTACK = """
import json, sys, zipfile
import torch
program = torch.export.export(torch.nn.Linear(3, 1), (torch.rand(4, 3),), dynamic_shapes=({0: torch.export.Dim("r")},))
torch.export.save(program, "honest.pt2")
with zipfile.ZipFile("honest.pt2") as honest, zipfile.ZipFile("model.pt2", "w") as made:
    for entry in honest.infolist():
        data = honest.read(entry)
        if entry.filename.endswith("models/model.json"):
            data = data.replace(b"Symbol('", b"print('attacked') or Symbol('")
        made.writestr(entry, data)
"""


def test_a_formula_that_pytorch_would_run_is_refused(tmp_path: Path) -> None:
    behind = [framework_folder("torch")]
    make(tmp_path, ATTACK, behind)
    said = run_python(["-c", "import torch; torch.export.load('model.pt2')"], tmp_path, behind)
    assert "attacked" in said  # the attack is one
    assert "the program in it evaluates" in str(code_in(recognise(tmp_path / "model.pt2")))
