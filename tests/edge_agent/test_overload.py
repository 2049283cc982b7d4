"""A stream under load: what a full queue does, batches within the latency budget, and models that share a device."""

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from simulators.broker_process import wait_until
from simulators.small_models import regression, write_release

from edge_agent.inference import Array, Model, Predictions
from edge_agent.receipts import Receipt
from edge_agent.session_plan import SessionPlan
from edge_agent.stream import QUEUE_LIMIT_BYTES
from edge_agent.streams import QUEUE_FULL, StreamEngine
from protocols.assignment import MOST_MESSAGES, STREAM_LIMITS, Delivery, Overflow, StreamBinding


@dataclass
class Held:
    """An engine with what it published by topic, and models whose runs can be held up."""

    folder: Path
    engine: StreamEngine = field(init=False)
    out: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    settled: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = StreamEngine(
            lambda topic, payload: self.out.setdefault(topic, []).append(json.loads(payload)),
            lambda *_: None,
            settle=lambda receipts: self.settled.extend(receipt.number for receipt in receipts),
            cores=4,
        )

    def model(self, name: str, *, takes_s: float = 0.0, go: threading.Event | None = None) -> "SlowModel":
        folder = self.folder / name
        folder.mkdir()
        write_release(folder, model=regression())
        manifest = msgspec.structs.replace(Model(folder, _manifest(folder)).manifest, model=name)
        return SlowModel(folder, manifest, takes_s, go)

    def send(self, topic: str, *numbers: int) -> None:
        for number in numbers:
            payload = json.dumps({"id": number, "AT": 1.0, "V": 2.0}).encode()
            self.engine.offer(topic, payload, Receipt(1, number))


class SlowModel(Model):
    """A real model that takes its time, or waits until it may go."""

    def __init__(self, folder: Path, manifest: Any, takes_s: float, go: threading.Event | None) -> None:
        super().__init__(folder, manifest, SessionPlan(threads=1))
        self.takes_s, self.go = takes_s, go
        self.sizes: list[int] = []

    def predict(self, columns: list[Array]) -> Predictions:
        self.sizes.append(len(columns[0]))
        if self.go is not None:
            assert self.go.wait(30)
        if self.takes_s:
            time.sleep(self.takes_s * len(columns[0]))  # it stands for the model's own work
        return super().predict(columns)


def _manifest(folder: Path) -> Any:
    from edge_agent.releases import read_release

    return read_release(folder)


def binding(name: str = "line", model: str = "ccpp", **more: Any) -> StreamBinding:
    return StreamBinding(name, model, f"in/{name}", f"out/{name}", key="$.id", **more)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    held = Held(tmp_path)
    yield held
    held.engine.stop(5)


def test_the_status_knows_what_a_stream_asks_for(held: Held) -> None:
    held.engine.bind([binding(), binding("tight", latency_budget_ms=50.0, queue_limit=3, overflow="refuse")])
    assert held.engine.limits == {"tight": {"latency_budget_ms": 50.0, "queue_limit": 3, "overflow": "refuse"}}


def test_a_stream_that_drops_the_newest_keeps_what_came_first(held: Held) -> None:
    held.engine.bind([binding(queue_limit=3, overflow="drop-newest")])
    held.engine.serve("ccpp", held.model("ccpp"))
    held.send("in/line", *range(10))
    assert held.settled == list(range(3, 10))
    held.engine.start()
    wait_until(lambda: len(held.out.get("out/line", [])) == 3)
    assert [answer["key"] for answer in held.out["out/line"]] == [0, 1, 2]
    assert held.engine.served()[0].dropped == 7
    [window] = [window(1) for window in held.engine.close_windows()]
    assert window.dropped == 7


def test_a_stream_that_refuses_says_so_to_the_sender(held: Held) -> None:
    held.engine.bind([binding(queue_limit=2, overflow="refuse")])
    held.engine.serve("ccpp", held.model("ccpp"))
    held.send("in/line", *range(4))
    refused = held.out["out/line"]
    assert [(answer["key"], answer["error"], answer["prediction"]) for answer in refused] == [
        (2, QUEUE_FULL, None),
        (3, QUEUE_FULL, None),
    ]
    assert all(answer["id"] for answer in refused)
    held.engine.start()
    wait_until(lambda: len(held.out["out/line"]) == 4)
    assert sorted(held.settled) == [0, 1, 2, 3]


def test_the_guide_shows_the_refusal_and_the_options_that_there_are(held: Held) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "operations" / "overload.md").read_text("utf-8")
    [shown] = re.findall(r"```json\n(.*?)```", guide, re.S)
    held.engine.bind([binding(queue_limit=1, overflow="refuse")])
    held.engine.serve("ccpp", held.model("ccpp"))
    held.send("in/line", 1, 2)
    [refused] = held.out["out/line"]
    assert list(refused) == list(json.loads(shown))
    assert json.loads(shown)["error"] == QUEUE_FULL
    for value in (*get_args(Overflow), *get_args(Delivery), *(f"{MOST_MESSAGES:,}", f"{QUEUE_LIMIT_BYTES >> 20} MiB")):
        assert value in guide
    for name in STREAM_LIMITS:
        assert f"--{name.removesuffix('_ms').replace('_', '-')}" in guide


def test_batches_stay_within_the_latency_budget(held: Held) -> None:
    model = held.model("ccpp", takes_s=0.002)
    held.engine.bind([binding(latency_budget_ms=100.0, queue_limit=10_000)])
    held.engine.serve("ccpp", model)
    held.engine.start()
    held.send("in/line", *range(400))
    wait_until(lambda: len(held.out.get("out/line", [])) == 400)
    on_time = model.sizes[: model.sizes.index(max(model.sizes))]
    assert on_time[0] == 1
    assert all(size < 64 for size in on_time), "a batch of 64 rows would take more than the budget"


def test_late_predictions_are_counted(held: Held) -> None:
    go = threading.Event()
    held.engine.bind([binding(latency_budget_ms=50.0)])
    held.engine.serve("ccpp", held.model("ccpp", go=go))
    held.engine.start()
    held.send("in/line", 0)
    time.sleep(0.06)  # the budget itself has to pass
    go.set()
    wait_until(lambda: held.engine.served()[0].late == 1)
    [window] = [window(1) for window in held.engine.close_windows()]
    assert (window.late, window.predictions) == (1, 1)
    held.send("in/line", 1)
    wait_until(lambda: len(held.out["out/line"]) == 2)


def test_a_model_that_is_stuck_holds_up_no_other_model(held: Held) -> None:
    go = threading.Event()
    held.engine.bind([binding("slow", "slow"), binding("fast", "fast")])
    held.engine.serve("slow", held.model("slow", go=go))
    held.engine.serve("fast", held.model("fast"))
    held.engine.start()
    held.send("in/slow", 0)
    held.send("in/fast", *range(20))
    wait_until(lambda: len(held.out.get("out/fast", [])) == 20)
    assert "out/slow" not in held.out
    go.set()
    wait_until(lambda: len(held.out.get("out/slow", [])) == 1)


def test_streams_of_one_model_take_turns(held: Held) -> None:
    go = threading.Event()
    model = held.model("ccpp", go=go)
    held.engine.bind([binding("one", max_batch=10), binding("two", max_batch=10)])
    held.engine.serve("ccpp", model)
    held.engine.start()
    held.send("in/one", *range(100))
    held.send("in/two", 0)
    go.set()
    wait_until(lambda: len(held.out.get("out/one", [])) == 100)
    assert 1 in model.sizes[:3], "the other stream's message waits for one batch, not for the whole queue"


def test_a_lane_ends_with_its_last_stream(held: Held) -> None:
    held.engine.start()
    held.engine.bind([binding()])
    held.engine.serve("ccpp", held.model("ccpp"))
    names = [thread.name for thread in threading.enumerate()]
    assert "lane-ccpp" in names
    held.engine.serve("ccpp", None)
    held.engine.bind([])
    wait_until(lambda: "lane-ccpp" not in [thread.name for thread in threading.enumerate()])
    assert held.engine.healthy


def test_a_message_that_comes_alone_is_served_in_the_thread_that_brought_it(held: Held) -> None:
    model = held.model("ccpp")
    threads: list[str] = []
    predict = model.predict
    model.predict = lambda columns: threads.append(threading.current_thread().name) or predict(columns)  # type: ignore[method-assign, func-returns-value]
    held.engine.bind([binding()])
    held.engine.serve("ccpp", model)
    held.engine.start()
    for number in range(50):
        held.send("in/line", number)
        wait_until(lambda number=number: len(held.out.get("out/line", [])) == number + 1)
        time.sleep(0.003)  # what comes after a while is alone
    assert threads[0] == "lane-ccpp", "how quick the model is, is not known yet"
    assert threads[-1] == threading.current_thread().name
    assert held.settled == list(range(50))


def test_a_model_that_fails_in_that_thread_is_counted_and_others_go_on(held: Held) -> None:
    model = held.model("ccpp")
    held.engine.bind([binding()])
    held.engine.serve("ccpp", model)
    held.engine.start()
    for number in range(20):
        held.send("in/line", number)
        wait_until(lambda number=number: len(held.out.get("out/line", [])) == number + 1)
        time.sleep(0.003)
    predict = model.predict
    model.predict = lambda columns: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    time.sleep(0.003)
    held.send("in/line", 20)
    wait_until(lambda: held.engine.errors == 1)
    model.predict = predict  # type: ignore[method-assign]
    held.send("in/line", 21)
    wait_until(lambda: [answer["key"] for answer in held.out["out/line"]] == [*range(20), 21])
    assert 20 in held.settled


def test_who_closes_windows_waits_for_one_batch_whatever_waits_behind_it(held: Held) -> None:
    names = ("one", "two", "three")
    held.engine.bind([binding(name, max_batch=1, queue_limit=1000) for name in names])
    model = held.model("ccpp", takes_s=0.02)
    held.engine.serve("ccpp", model)
    for name in names:
        held.send(f"in/{name}", *range(300))
    held.engine.start()
    wait_until(lambda: bool(model.sizes))
    waited = []
    for _ in range(10):
        before = len(model.sizes)
        held.engine.close_windows()
        waited.append(len(model.sizes) - before)
    assert max(waited) <= 2
    held.engine.bind([])


def test_a_message_of_two_streams_is_acknowledged_when_the_second_has_answered(held: Held) -> None:
    """The first stream's model is withdrawn, which settles the first's share, and comes back."""
    shares: list[int] = []
    engine = StreamEngine(
        lambda topic, payload: held.out.setdefault(topic, []).append(json.loads(payload)),
        lambda *_: None,
        settle=lambda receipts: shares.extend(receipt.number for receipt in receipts),
        cores=4,
    )
    first, second = held.model("first"), held.model("second", go=(go := threading.Event()))
    both = [StreamBinding(name, name, "in/both", f"out/{name}", key="$.id") for name in ("first", "second")]
    engine.bind(both)
    engine.serve("first", first)
    engine.serve("second", second)
    engine.offer("in/both", b'{"id": 1, "AT": 1, "V": 2}', Receipt(1, 7))
    engine.serve("first", None)
    assert shares == [7]
    engine.serve("first", first)
    engine.start()
    wait_until(lambda: engine.served()[0].predictions == 1, what="the first stream's answer")
    assert shares == [7], "one share of two: the second stream has not answered"
    go.set()
    wait_until(lambda: shares == [7, 7])
    assert engine.stop(5)


def test_a_stream_that_was_taken_away_is_served_no_more(held: Held) -> None:
    go = threading.Event()
    held.engine.bind([binding("kept", max_batch=1), binding("gone")])
    model = held.model("ccpp", go=go)
    held.engine.serve("ccpp", model)
    held.send("in/kept", 1)
    held.send("in/gone", 2)
    held.engine.start()
    wait_until(lambda: bool(model.sizes), what="the batch of the stream that stays")
    unbind = threading.Thread(target=held.engine.bind, args=[[binding("kept", max_batch=1)]])
    unbind.start()  # waits for the batch at work
    go.set()
    unbind.join(10)
    held.send("in/kept", 3)
    wait_until(lambda: len(held.out.get("out/kept", [])) == 2)
    assert "out/gone" not in held.out
    assert sorted(held.settled) == [1, 2, 3]
