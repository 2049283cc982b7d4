"""docs/operations/model-kinds.md and docs/examples: the scripts and commands run, and what they make is served."""

import csv
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from simulators.broker_process import wait_until

from edge_agent.inference import Model
from edge_agent.preflight import Limits, prove
from edge_agent.session_plan import SessionPlan
from edge_agent.streams import StreamEngine
from protocols.assignment import StreamBinding
from protocols.manifest import decode_manifest, encode_manifest
from registry.client.cli import _assign_parser

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs" / "operations" / "model-kinds.md").read_text("utf-8")

Serve = Callable[[str, list[bytes]], tuple[list[dict[str, Any]], Any]]


def commands(kind: str) -> list[list[str]]:
    """Return the script's and the import's command lines of one kind."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.S) for line in block.splitlines()]
    wanted = [line for line in lines if f"{kind}_model.py" in line or f"./{kind}/model" in line]
    made = [shlex.split(line, comments=True) for line in wanted]
    assert [words[0] for words in made] == ["python", "genba"]
    return made


def run(words: list[str], folder: Path) -> str:
    words = ["-m", "genba", *words[1:]] if words[0] == "genba" else [str(ROOT / words[1]), *words[2:]]
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Prove a kind's example in a child; return its answers to messages, and the stream as it was served."""

    def do(kind: str, messages: list[bytes]) -> tuple[list[dict[str, Any]], Any]:
        out = tmp_path / commands(kind)[1][-1]
        manifest = decode_manifest((out / "release.json").read_bytes())
        manifest = msgspec.structs.replace(manifest, version=1)
        (out / "release.json").write_bytes(encode_manifest(manifest))
        report = prove(out, SessionPlan(threads=1), Limits(60.0, 800 * 1024 * 1024))
        assert report.passed, report.reason
        answers: list[dict[str, Any]] = []
        engine = StreamEngine(lambda topic, payload: answers.append(json.loads(payload)), lambda *_: None)
        engine.bind([StreamBinding("line", manifest.model, "in", "out")])
        engine.serve(manifest.model, Model(out, manifest, SessionPlan(threads=1)))
        engine.start()
        for message in messages:
            engine.offer("in", message)
        wait_until(lambda: engine.served()[0].predictions + engine.served()[0].warming == len(messages), 20)
        served = engine.served()[0]
        assert engine.stop(5)
        return answers, served

    return do


def rows_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "sample.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("kind", ["table", "window"])
def test_an_example_with_a_target_predicts_it(tmp_path: Path, serve: Serve, kind: str) -> None:
    for words in commands(kind):
        said = run(words, tmp_path)
    assert "rows of the sample: rmse" in said
    rows = rows_of(tmp_path / kind)[:200]
    target = {"table": "power", "window": "wear"}[kind]
    answers, served = serve(kind, [json.dumps(row).encode() for row in rows])
    truth = np.array([row[target] for row in rows])[len(rows) - len(answers) :]
    found = np.array([answer["prediction"] for answer in answers])
    assert np.corrcoef(truth, found)[0, 1] > 0.9
    assert served.warming == {"table": 0, "window": 23}[kind]


def test_the_variant_in_the_guide_to_tuning_is_made(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "operations" / "tuning.md").read_text("utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", guide, re.S) for line in block.splitlines()]
    for line in lines[-2:]:
        said = run(shlex.split(line), tmp_path)
    assert "model.float16.onnx" in said


def test_the_example_of_images_tells_ok_from_scratched(tmp_path: Path, serve: Serve) -> None:
    for words in commands("image"):
        said = run(words, tmp_path)
    assert "accuracy 1" in said
    files = sorted((tmp_path / "image" / "parts").rglob("*.*g"))
    answers, _ = serve("image", [path.read_bytes() for path in files])
    assert len(files) == 40
    assert [answer["prediction"] for answer in answers] == [path.parent.name for path in files]


def test_the_example_with_state_finds_the_reading_that_is_far_off(tmp_path: Path, serve: Serve) -> None:
    for words in commands("recurrent"):
        run(words, tmp_path)
    answers, _ = serve("recurrent", [json.dumps(row).encode() for row in rows_of(tmp_path / "recurrent")])
    scores = [answer["prediction"] for answer in answers]
    assert int(np.argmax(scores[20:])) + 20 == 250
    assert sorted(scores[20:])[-2] < scores[250] / 5


def test_the_assignments_that_the_guide_shows_can_be_read() -> None:
    lines = re.findall(r"^genba assign (.*)$", GUIDE, re.M)
    assert len(lines) == 2
    for line in lines:
        given = _assign_parser().parse_args([*shlex.split(line), "--registry", "http://127.0.0.1:1"])
        assert given.release == "parts@1"


def test_every_option_of_the_guide_is_an_option() -> None:
    from trainer.cli import _import_parser

    known = {option for action in _import_parser()._actions for option in action.option_strings}
    of_assign = {"--topic", "--output", "--input", "--key"}
    named = set(re.findall(r"(?<![\w-])--[a-z]+", GUIDE)) - of_assign
    assert named <= known
    assert {"--window", "--image", "--state", "--classes", "--layout"} <= named
