"""Models that take windows, images or state, served by the engine: each stream has its own past; bad images count."""

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pictures
from simulators.bad_pictures import bomb, crumbled_jpeg, endless_jpeg, thread
from simulators.broker_process import wait_until
from simulators.small_kinds import Kind, picture, pictured, recurrent_window, stateful, windowed, write_kind
from simulators.small_models import write_release

from edge_agent.errors import ModelRunError
from edge_agent.feeding import StateCarrier, make_windows
from edge_agent.image_reader import MOST_IMAGES
from edge_agent.inference import Model
from edge_agent.lane import ALONE_S
from edge_agent.readers import make_reader
from edge_agent.receipts import Receipt
from edge_agent.rejections import PAYLOAD_LIMIT_BYTES
from edge_agent.session_plan import SessionPlan
from edge_agent.streams import StreamEngine
from protocols.assignment import StreamBinding
from protocols.feeding import StatePair
from protocols.images import IMAGE_LIMIT_BYTES
from protocols.messages import ServedStream, Telemetry
from protocols.names import ReleaseRef
from protocols.sketches import NumericSketch


class Bench:
    """An engine whose publications and alarms are collected, by topic."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out: dict[str, list[dict[str, Any]]] = {}
        self.failing: list[tuple[ReleaseRef, str]] = []
        self.settled: list[int] = []
        self.threads: set[str] = set()
        self.engine = StreamEngine(
            self._publish,
            lambda ref, reason: self.failing.append((ref, reason)),
            settle=lambda receipts: self.settled.extend(receipt.number for receipt in receipts),
        )

    def _publish(self, topic: str, payload: bytes) -> None:
        self.threads.add(threading.current_thread().name)
        self.out.setdefault(topic, []).append(json.loads(payload))

    def bind(self, *names: str, **binding: Any) -> None:
        made = [StreamBinding(name, "ccpp", f"in/{name}", f"out/{name}", **binding) for name in names]
        self.engine.bind(made)
        self.engine.start()

    def model(self, kind: Kind, version: int = 1, **changes: Any) -> Model:
        folder = self.folder / str(version)
        return Model(folder, write_kind(folder, kind, version=version, **changes), SessionPlan(threads=1))

    def serve(self, kind: Kind, version: int = 1, *, on_trial: bool = False) -> None:
        self.engine.serve("ccpp", self.model(kind, version), on_trial=on_trial)

    def send(self, stream: str, *payloads: Any) -> None:
        for payload in payloads:
            data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
            self.engine.offer(f"in/{stream}", data)

    def row(self, stream: str) -> ServedStream:
        return next(row for row in self.engine.served() if row.stream == stream)

    def dealt_with(self, stream: str, count: int) -> None:
        def done() -> bool:
            row = self.row(stream)
            return row.predictions + row.rejected + row.warming == count

        assert wait_until(done, 10), self.row(stream)

    def answers(self, stream: str) -> list[float]:
        return [answer["prediction"] for answer in self.out.get(f"out/{stream}", [])]

    def windows(self) -> list[Telemetry]:
        return [window(number) for number, window in enumerate(self.engine.close_windows(), start=1)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    assert bench.engine.stop(5)
    assert bench.engine.errors == 0


def reading(at: float, v: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"AT": at, "V": v, **more}


def test_windows_are_every_run_of_rows_oldest_first():
    rows = np.arange(10, dtype=np.float32).reshape(5, 2)
    windows = make_windows(rows, 3)
    assert windows.shape == (3, 3, 2)
    assert windows[0].tolist() == rows[:3].tolist()
    assert windows[2].tolist() == rows[2:].tolist()
    assert make_windows(rows[:2], 3).shape == (0, 3, 2)


@pytest.mark.parametrize("batch", [None, 1])
def test_a_window_answers_once_it_is_full_and_then_every_row(bench, batch):
    bench.bind("line", key="$.id")
    bench.serve(windowed(batch=batch))
    bench.send("line", *(reading(at, 100 * at, id=at) for at in range(1, 4)))
    bench.dealt_with("line", 3)
    assert bench.row("line").window == (3, 4)
    assert bench.answers("line") == []
    bench.send("line", *(reading(at, 100 * at, id=at) for at in range(4, 10)))
    bench.dealt_with("line", 9)
    assert bench.answers("line") == [sum(range(at - 3, at + 1)) + 100 * at for at in range(4, 10)]
    assert [answer["key"] for answer in bench.out["out/line"]] == list(range(4, 10))
    assert bench.row("line").window is None
    assert (bench.row("line").warming, bench.row("line").predictions) == (3, 6)


def test_messages_that_waited_make_the_same_windows_as_messages_that_came_alone(bench):
    bench.bind("line", max_batch=5)
    bench.send("line", *(reading(at) for at in range(23)))
    bench.serve(windowed())
    bench.dealt_with("line", 23)
    assert bench.answers("line") == [float(4 * at - 6) for at in range(3, 23)]


def test_a_message_that_only_fills_a_window_is_settled(bench):
    bench.bind("line")
    bench.serve(windowed())
    for number in range(6):
        bench.engine.offer("in/line", json.dumps(reading(number)).encode(), Receipt(1, number))
    bench.dealt_with("line", 6)
    assert wait_until(lambda: bench.settled == list(range(6)), 5)


def test_a_row_that_cannot_be_read_leaves_the_window_as_it_was(bench):
    bench.bind("line")
    bench.serve(windowed())
    bench.send("line", *(reading(at) for at in (1, 2, 3)), b"noise", {"AT": "warm", "V": 1}, reading(4), reading(5))
    bench.dealt_with("line", 7)
    assert bench.answers("line") == [10, 14]
    assert bench.row("line").rejected == 2


def test_streams_of_one_model_never_see_each_others_rows(bench):
    bench.bind("a", "b")
    bench.serve(windowed())
    for at in range(6):
        bench.send("a", reading(at))
        bench.send("b", reading(1000 * at))
    bench.dealt_with("a", 6)
    bench.dealt_with("b", 6)
    assert bench.answers("a") == [6, 10, 14]
    assert bench.answers("b") == [6000, 10000, 14000]


def test_a_swap_and_a_new_binding_begin_anew(bench):
    bench.bind("line")
    bench.serve(windowed())
    bench.send("line", *(reading(at) for at in range(5)))
    bench.dealt_with("line", 5)
    bench.serve(windowed(), 2)
    assert bench.row("line").window == (0, 4)
    bench.send("line", *(reading(at) for at in range(10, 14)))
    bench.dealt_with("line", 9)
    assert bench.answers("line")[2:] == [46]
    bench.bind("line", max_batch=7)
    assert bench.row("line").window == (0, 4)


def test_telemetry_counts_the_warming_and_sketches_the_newest_row(bench):
    bench.bind("line")
    bench.serve(windowed())
    bench.send("line", *(reading(at, 50) for at in range(6)))
    bench.dealt_with("line", 6)
    (window,) = bench.windows()
    assert (window.predictions, window.warming) == (3, 3)
    assert window.bytes_in == sum(len(json.dumps(reading(at, 50))) for at in range(6))
    assert NumericSketch.of(window.numeric["AT"]).quantiles([0, 1]).tolist() == [3, 5]


def test_state_goes_from_call_to_call_and_belongs_to_its_stream(bench):
    bench.bind("a", "b")
    bench.serve(stateful())
    for at in (1.0, 2.0, 3.0):
        bench.send("a", reading(at))
        bench.send("b", reading(10 * at, 5))
    bench.dealt_with("a", 3)
    bench.dealt_with("b", 3)
    assert bench.answers("a") == pytest.approx(np.cumsum(np.log([1, 2, 3])), rel=1e-5)
    assert bench.answers("b") == pytest.approx(np.cumsum(np.log([10, 20, 30])) + 5, rel=1e-5)
    bench.serve(stateful(), 2)
    bench.send("a", reading(2.0))
    bench.dealt_with("a", 4)
    assert bench.answers("a")[3] == pytest.approx(np.log(2), rel=1e-5)


def test_a_row_that_would_spoil_the_state_is_left_out_and_the_others_are_served(bench):
    """All in one batch: the first two keep their place in the state, and so do those after the bad one."""
    bench.bind("line")
    values = [2.0, 3.0, -1.0, None, 4.0, 5.0]
    bench.send("line", *(reading(at) for at in values))
    bench.serve(stateful())
    bench.dealt_with("line", 6)
    assert bench.answers("line") == pytest.approx(np.cumsum(np.log([2, 3, 4, 5])), rel=1e-5)
    assert [(fault.reason, fault.count) for fault in bench.row("line").faults] == [("model-failed", 2)]
    assert "makes the state 'after' NaN or infinite" in bench.row("line").faults[0].text


def test_a_release_on_trial_whose_state_fails_is_given_up(bench):
    bench.bind("line")
    bench.serve(stateful(), on_trial=True)
    bench.send("line", *(reading(-1.0) for _ in range(8)))
    assert wait_until(lambda: bool(bench.failing), 5)
    assert "NaN or infinite" in bench.failing[0][1]
    bench.serve(stateful(), 2)
    bench.dealt_with("line", 8)


def test_window_and_state_go_together(bench):
    bench.bind("line")
    bench.serve(recurrent_window())
    bench.send("line", *(reading(at) for at in (1, 2, 3, 4, 5)))
    bench.dealt_with("line", 5)
    assert bench.answers("line") == [6, 15, 27]


def test_a_state_of_another_shape_than_the_manifest_says_is_one_line(tmp_path):
    kind = stateful()
    manifest = write_kind(tmp_path / "r", kind)
    model = Model(tmp_path / "r", manifest, SessionPlan(threads=1))
    carrier = StateCarrier((StatePair("before", "after", (2, 1)),))
    with pytest.raises(ModelRunError, match="ccpp@1"):
        carrier.run(model, [np.ones((1, 1), np.float32)] * 2)


@pytest.mark.parametrize("batch", [None, 1])
def test_an_image_is_the_message(bench, batch):
    bench.bind("camera")
    bench.serve(pictured(batch))
    files = [picture((255, 0, 0)), picture((0, 255, 0), "JPEG", (640, 480)), picture((0, 0, 0), size=(3, 50))]
    bench.send("camera", *files)
    bench.dealt_with("camera", 3)
    assert bench.answers("camera") == ["red", "green", "dark"]
    assert sum(bench.out["out/camera"][0]["probabilities"].values()) == pytest.approx(1)
    (window,) = bench.windows()
    assert set(window.numeric) == {"brightness", "contrast", "sharpness"}
    assert NumericSketch.of(window.numeric["brightness"]).quantiles([0, 1]) == pytest.approx([0, 150], abs=2)
    assert window.bytes_in == sum(map(len, files))


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_an_image_in_json_comes_with_its_key(bench, prefix):
    bench.bind("camera", inputs={"image": "$.shot.data"}, key="$.part")
    bench.serve(pictured())
    text = prefix + base64.b64encode(picture((255, 0, 0))).decode()
    bench.send("camera", {"part": 17, "shot": {"data": text}})
    bench.dealt_with("camera", 1)
    assert bench.answers("camera") == ["red"]
    assert bench.out["out/camera"][0]["key"] == 17


def test_a_message_that_is_no_image_is_one_counted_line_and_the_stream_goes_on(bench):
    bench.bind("camera")
    bench.serve(pictured())
    whole = picture((255, 0, 0), "JPEG", (400, 300))
    large = bytes(IMAGE_LIMIT_BYTES + 1)
    bench.send("camera", bomb(), endless_jpeg(), thread(30_000), crumbled_jpeg())
    bench.dealt_with("camera", 4)
    bench.send("camera", reading(1), whole[: len(whole) // 2], large, whole)
    bench.dealt_with("camera", 8)
    assert bench.answers("camera") == ["red"]
    (window,) = bench.windows()
    assert window.rejected == {"not-an-image": 1, "broken-image": 1, "too-large": 5}
    texts = [fault.text for fault in bench.row("camera").faults]
    assert any("--input image=PATH" in text for text in texts)
    assert any("a JPEG that cannot be decoded" in text for text in texts)
    assert any(f"{IMAGE_LIMIT_BYTES} are allowed" in text for text in texts)


@pytest.mark.parametrize(
    ("payload", "reason", "text"),
    [
        (b"\xff\xd8\xff raw", "not-json", "it begins with the bytes ff d8 ff 20 72 61 77"),
        ({"other": 1}, "missing-feature", "image: nothing at $.image"),
        ({"image": 5}, "wrong-type", "image: no text at $.image, expected base64"),
        ({"image": "?*!"}, "wrong-type", "image: no base64 at $.image"),
        ({"image": base64.b64encode(b"hello").decode()}, "not-an-image", "no JPEG or PNG: it begins 'hello'"),
    ],
)
def test_json_without_an_image_is_refused_by_what_it_lacks(bench, payload, reason, text):
    bench.bind("camera", inputs={"image": "$.image"})
    bench.serve(pictured())
    bench.send("camera", payload)
    bench.dealt_with("camera", 1)
    (fault,) = bench.row("camera").faults
    assert (fault.reason, text in fault.text) == (reason, True), fault


def test_an_image_may_be_larger_than_a_row(bench):
    bench.bind("camera")
    bench.serve(pictured())
    noise = np.random.default_rng(1).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    file = io.BytesIO()
    Pictures.fromarray(noise).save(file, "PNG")
    assert len(file.getvalue()) > PAYLOAD_LIMIT_BYTES
    bench.send("camera", file.getvalue())
    bench.dealt_with("camera", 1)
    assert len(bench.answers("camera")) == 1


@pytest.mark.parametrize(("kind", "threads"), [(pictured(), {"lane-ccpp"}), (windowed(1), {"lane-ccpp", "MainThread"})])
def test_an_image_is_never_decoded_in_the_thread_of_the_link(bench, kind, threads):
    """A row that comes alone to a quick model is served there; how long the next image takes, nobody knows."""
    bench.bind("line")
    bench.serve(kind)
    message = picture((255, 0, 0)) if kind.pictures else reading(1)
    sent = 0

    def seen() -> bool:
        nonlocal sent
        bench.send("line", message)
        sent += 1
        bench.dealt_with("line", sent)
        time.sleep(2 * ALONE_S)  # so that the next one comes alone
        return sent >= 20 and bench.threads == threads

    assert wait_until(seen, 10), bench.threads


def test_a_batch_of_large_images_is_work_and_not_a_hanging_lane(tmp_path):
    """Each image begins anew what the daemon's health is judged by."""
    kind = pictured()
    manifest = write_kind(tmp_path, kind)
    reader = make_reader(manifest, StreamBinding("camera", "ccpp", "in", "out"))
    told: list[int] = []
    rows = reader.read([picture((255, 0, 0))] * 5, lambda: told.append(1))
    assert (len(rows.accepted), len(told), reader.most_rows) == (5, 5, MOST_IMAGES)


def test_a_table_is_still_served_by_what_takes_no_window(bench, tmp_path):
    bench.bind("line")
    folder = tmp_path / "table"
    bench.engine.serve("ccpp", Model(folder, write_release(folder), SessionPlan(threads=1)))
    bench.send("line", reading(1, 2))
    bench.dealt_with("line", 1)
    assert bench.answers("line") == [10]
    assert bench.row("line").window is None
