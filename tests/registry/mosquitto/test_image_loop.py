"""An image model from its file to the line: imported, published, assigned, proven and served, every part real."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from simulators.broker_process import wait_until
from simulators.factory import ROOT, Factory, Programs
from simulators.secure_broker import SecureBroker

from edge_agent.image_reader import ImageReader
from protocols.assignment import AssignedRelease, Assignment, StreamBinding
from protocols.feeding import FIGURES, Image
from protocols.payloads import message_id
from registry.assigning import assign
from registry.catalogue import Catalogue
from registry.mosquitto import files

STREAM = StreamBinding("camera", "parts", "plant/press-a/camera", "plant/press-a/parts")


@pytest.fixture
def factory(home: Path, broker: SecureBroker, catalogue: Catalogue, tmp_path: Path) -> Iterator[Factory]:
    (home / "registry.toml").write_text("")
    programs = Programs(tmp_path)
    yield Factory(home, broker, catalogue, programs, tmp_path)
    programs.close()


def run(folder: Path, *words: str) -> None:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pictures_of_parts_are_judged_on_the_line(factory: Factory, connect: Any, system: Any, tmp_path: Path) -> None:
    line = system("line")
    (factory.broker.folder / "plant.acl").write_text("user line\ntopic readwrite plant/#\n")
    plant = connect(line)
    plant.subscribe(STREAM.output_topic)
    run(tmp_path, str(ROOT / "docs" / "examples" / "image_model.py"), "image")
    sample = ["--sample", "image/parts", "--image", "64x64", "--model", "parts", "--out", "parts"]
    run(tmp_path, "-m", "genba", "import", "image/model.onnx", *sample)
    home = factory.enrol("press-a")
    factory.run(home)
    wait_until(lambda: factory.online("press-a"), 30, "the device")
    ref = factory.publish(tmp_path / "parts")
    assignment = Assignment("press-a", 0, (AssignedRelease(ref.model, ref.version),), (STREAM,), 1.0, 0.1)
    assign(factory.home, factory.catalogue, assignment, time.time)
    wait_until(lambda: "release-confirmed" in factory.events("press-a"), 60, "a release that serves")
    files = sorted((tmp_path / "image" / "parts").rglob("*.*g"))
    for path in files:
        plant.publish(STREAM.topic, path.read_bytes())
    plant.publish(STREAM.topic, files[0].read_bytes()[:300])
    wait_until(lambda: len(plant.heard(STREAM.output_topic)) == len(files), 30, "an answer to each picture")
    answers = [json.loads(payload) for payload in plant.heard(STREAM.output_topic)]
    by_id = {answer["id"]: answer["prediction"] for answer in answers}
    assert by_id == {message_id(path.read_bytes()): path.parent.name for path in files}

    def told() -> Any:
        windows = [one.telemetry for one in factory.catalogue.telemetry.by_device("press-a")]
        return windows if sum(one.predictions for one in windows) == len(files) else None

    windows = wait_until(told, 30, "telemetry")
    assert {name for window in windows for name in window.numeric} == set(FIGURES)
    wait_until(lambda: factory.status(home)["streams"][0].get("rejected") == 1, 20, "the picture that was cut short")
    assert factory.status(home)["streams"][0]["faults"][0]["reason"] == "broken-image"


def test_the_broker_takes_the_largest_message_that_an_agent_takes() -> None:
    [limit] = re.findall(r"^max_packet_size (\d+)$", files._CONFIG, re.M)
    largest = ImageReader(Image("x", 8, 8), StreamBinding("s", "m", "t", "o", {"image": "$.image"})).payload_limit_bytes
    assert largest + 64 * 1024 < int(limit)
