"""Releases that take windows, images or state: assigned by what a message holds, and shown as what they are."""

import msgspec
import pytest
from simulators.small_kinds import PICTURE, WINDOW

from protocols.feeding import Image, StatePair
from protocols.manifest import TensorSpec
from protocols.messages import ServedStream, Status
from registry.publication import publish

IMAGE = Image("pixels", 224, 160, "BGR", resize="crop")
COLUMNS = (TensorSpec("speed", "float32"), TensorSpec("load", "float32"))


@pytest.fixture
def publish_kind(home, catalogue, clock, make_candidate):
    def do(**changes):
        publish(home, catalogue, make_candidate(v=2, **changes), clock, published_by="test")

    return do


def assignment(**changes):
    stream = {"name": "main", "model": "ccpp", "topic": "line/camera", "output_topic": "line/predictions", **changes}
    return {"releases": [{"model": "ccpp", "version": 1}], "streams": [stream]}


def test_a_stream_of_images_binds_the_image_alone(api, publish_kind, enrol):
    publish_kind(feeding=IMAGE, inputs=PICTURE)
    enrol("press-1")
    assert api("PUT", "/devices/press-1/assignment", assignment(inputs={"image": "$.shot"})).status_code == 200
    answer = api("PUT", "/devices/press-1/assignment", assignment(inputs={"brightness": "$.b"}))
    assert answer.status_code == 422
    assert "'brightness', and model 'ccpp' has the inputs image" in answer.json["detail"]


def test_a_model_of_images_without_a_stream_is_told_how_to_bind_one(api, publish_kind, enrol):
    publish_kind(feeding=IMAGE, inputs=PICTURE)
    enrol("press-1")
    answer = api("POST", "/assignments", {"release": "ccpp@1", "devices": "press-1"})
    assert "each message is a JPEG or PNG file; with --input" in answer.json["detail"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"feeding": IMAGE, "inputs": PICTURE},
            "It takes an image of 224 by 160 pixels in BGR (another size: crop)",
        ),
        ({"feeding": WINDOW, "inputs": COLUMNS}, "It takes the last 4 rows."),
        (
            {"state": (StatePair("h", "h_out", (1, 1, 64)),), "inputs": COLUMNS},
            "It takes 64 values of state",
        ),
    ],
)
def test_the_release_page_says_what_it_takes(client, publish_kind, changes, text):
    publish_kind(**changes)
    page = client.get("/models/ccpp/releases/1")
    assert page.status_code == 200
    assert text in page.text


def test_a_model_that_was_measured_on_nothing_has_its_pages(client, publish_kind):
    publish_kind(feeding=IMAGE, inputs=PICTURE, target="", metrics={})
    for path in ("/models/ccpp/releases/1", "/models/ccpp", "/"):
        assert client.get(path).status_code == 200
    assert "from an image of 224 by 160 pixels in BGR" in client.get("/models/ccpp").text


def test_a_table_s_page_says_nothing_of_it(client, published):
    assert "It takes" not in client.get("/models/ccpp/releases/1").text


def test_the_device_page_shows_a_window_that_fills(client, api, catalogue, publish_kind, enrol):
    publish_kind(feeding=WINDOW, inputs=COLUMNS)
    enrol("press-1")
    api("PUT", "/devices/press-1/assignment", assignment())
    stream = ServedStream("main", "ccpp", 1, "CPUExecutionProvider", warming=3, window=(3, 4))
    catalogue.devices.update_status("press-1", Status(1.0, True, streams=(stream,)))
    assert "warming, 3 of 4 rows" in client.get("/devices/press-1").text
    done = msgspec.structs.replace(stream, window=None)
    catalogue.devices.update_status("press-1", Status(2.0, True, streams=(done,)))
    assert "warming, 3 of 4" not in client.get("/devices/press-1").text
