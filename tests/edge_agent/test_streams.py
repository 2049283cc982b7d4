"""Streams: batches, bounded queues, swaps between batches, failures, and what the telemetry window says of them."""

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulators.broker_process import wait_until
from simulators.small_models import classification, nan_regression, picky_regression, regression, write_release

from edge_agent.errors import ModelRunError
from edge_agent.faults import FAULTS_KEPT
from edge_agent.inference import Model
from edge_agent.receipts import Receipt
from edge_agent.rejections import PAYLOAD_LIMIT_BYTES
from edge_agent.session_plan import SessionPlan
from edge_agent.stream import QUEUE_LIMIT_BYTES
from edge_agent.streams import StreamEngine
from edge_agent.telemetry import BUFFER_ROWS
from edge_agent.trial import FAILURES_ALLOWED
from protocols.assignment import StreamBinding
from protocols.messages import Telemetry, encode
from protocols.names import ReleaseRef
from protocols.sketches import CategorySketch, NumericSketch

STREAM = StreamBinding("line", "ccpp", "in", "out", key="$.id")


class Bench:
    """An engine whose publications and alarms are collected."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out: list[dict[str, Any]] = []
        self.failing: list[tuple[ReleaseRef, str]] = []
        self.settled: list[tuple[int, int]] = []
        self.engine = StreamEngine(
            self._publish, lambda ref, reason: self.failing.append((ref, reason)), settle=self._settle
        )

    def _settle(self, receipts: Sequence[Receipt]) -> None:
        """Note which message is settled, and how many answers had been given by then."""
        for receipt in receipts:
            receipt.shares -= 1
            if receipt.shares == 0:
                self.settled.append((receipt.number, len(self.out)))

    def send_kept(self, *payloads: Any, first: int = 0) -> None:
        """Send messages that the broker keeps until they are settled; their numbers rise from `first`."""
        for number, payload in enumerate(payloads, start=first):
            self.engine.offer("in", json.dumps(payload).encode(), Receipt(1, number))

    def _publish(self, topic: str, payload: bytes) -> None:
        assert topic == "out"
        self.out.append(json.loads(payload))

    def model(self, version: int = 1, **release: Any) -> Model:
        folder = self.folder / str(version)
        return Model(folder, write_release(folder, version=version, **release), SessionPlan(threads=1))

    def send(self, *payloads: Any) -> None:
        for payload in payloads:
            self.engine.offer("in", payload if isinstance(payload, bytes) else json.dumps(payload).encode())

    def windows(self) -> list[Telemetry]:
        return [window(number) for number, window in enumerate(self.engine.close_windows(), start=1)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    bench.engine.bind([STREAM])
    yield bench
    bench.engine.stop(5)


def rows(count: int, first: int = 0, **more: Any) -> list[dict[str, Any]]:
    return [{"id": number, "AT": 1.0, "V": 2.0, **more} for number in range(first, first + count)]


def test_what_waits_is_served_in_batches_in_order(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = bench.model(), []
    run = model.run
    monkeypatch.setattr(model, "run", lambda columns: sizes.append(len(columns[0])) or run(columns))
    bench.engine.serve("ccpp", model)
    bench.send(*rows(600))
    bench.engine.start()
    wait_until(lambda: len(bench.out) == 600)
    assert [answer["key"] for answer in bench.out] == list(range(600))
    assert sizes == [256, 256, 88]
    bench.send(*rows(1, first=600))
    wait_until(lambda: len(bench.out) == 601)
    assert sizes[-1] == 1


def test_a_batch_is_no_larger_than_the_plan_found_to_be_quick(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_release(bench.folder / "1")
    model, sizes = Model(bench.folder / "1", manifest, SessionPlan(threads=1, max_batch=100)), []
    run = model.run
    monkeypatch.setattr(model, "run", lambda columns: sizes.append(len(columns[0])) or run(columns))
    bench.engine.serve("ccpp", model)
    bench.send(*rows(250))
    bench.engine.start()
    wait_until(lambda: len(bench.out) == 250)
    assert sizes == [100, 100, 50]


def test_a_full_queue_drops_the_oldest_and_counts_it(bench: Bench) -> None:
    small = StreamBinding("line", "ccpp", "in", "out", key="$.id", queue_limit=10)
    bench.engine.bind([small])
    bench.send(*rows(25))
    bench.engine.serve("ccpp", bench.model())
    bench.engine.start()
    wait_until(lambda: len(bench.out) == 10)
    assert [answer["key"] for answer in bench.out] == list(range(15, 25))
    [window] = bench.windows()
    assert window.dropped == 15
    assert bench.engine.dropped == 15


def test_a_queue_of_large_messages_is_bounded_in_bytes(bench: Bench) -> None:
    large = json.dumps({"id": 0, "AT": 1, "V": 2, "blob": "x" * (PAYLOAD_LIMIT_BYTES - 100)}).encode()
    for _ in range(200):
        bench.send(large)
    fit = QUEUE_LIMIT_BYTES // len(large)
    assert bench.engine.dropped == 200 - fit
    bench.engine.serve("ccpp", bench.model())
    bench.engine.start()
    wait_until(lambda: len(bench.out) == fit)
    bench.send(*rows(500))
    wait_until(lambda: len(bench.out) == fit + 500)
    assert bench.engine.dropped == 200 - fit


def test_messages_wait_for_the_first_release(bench: Bench) -> None:
    bench.engine.start()
    bench.send(*rows(3))
    bench.engine.serve("ccpp", bench.model())
    wait_until(lambda: len(bench.out) == 3)


def test_bad_messages_are_counted_and_stop_nothing(bench: Bench) -> None:
    bench.engine.serve("ccpp", bench.model())
    good = rows(1)[0]
    big = json.dumps({**good, "blob": "x" * PAYLOAD_LIMIT_BYTES}).encode()
    bench.send(big, b"?", b"[]", {"AT": 1}, {**good, "AT": "hot"}, b"x" * 1_000_000, good)
    bench.engine.start()
    wait_until(lambda: len(bench.out) == 1)
    [window] = bench.windows()
    assert window.rejected == {"too-large": 2, "not-json": 1, "not-an-object": 1, "missing-feature": 1, "wrong-type": 1}
    assert window.predictions == 1
    assert window.sample == "wrong-type: AT: the text 'hot' at $.AT, expected a number"
    counted = [(fault.reason, fault.count) for fault in window.faults]
    assert counted == [
        ("wrong-type", 1),
        ("missing-feature", 1),
        ("not-an-object", 1),
        ("not-json", 1),
        ("too-large", 2),
    ], "the last seen first; two that differ in size alone are one"
    assert window.faults[-1].text.startswith("1000000 bytes")
    served = bench.engine.served()[0]
    assert served.rejected == 6
    assert served.faults == window.faults


def test_the_faults_of_a_stream_are_bounded_and_outlive_its_windows(bench: Bench) -> None:
    bench.engine.serve("ccpp", bench.model())
    bench.engine.start()
    good = rows(1)[0]
    for name in ("AT", "V"):
        bench.send(
            {**good, name: "hot"}, {**good, name: [1]}, {key: value for key, value in good.items() if key != name}
        )
    bench.send(*[f"garbage {number}".encode() for number in range(300)], {**good, "AT": "x" * 100_000})
    wait_until(lambda: bench.engine.served()[0].rejected == 307)
    faults = bench.engine.served()[0].faults
    assert len(faults) == FAULTS_KEPT
    assert next(fault.count for fault in faults if fault.reason == "not-json") == 300
    assert all(len(fault.text) <= 200 for fault in faults)
    bench.windows()
    assert bench.engine.served()[0].faults == faults


def test_a_swap_loses_nothing_and_closes_the_window_of_the_release_before(bench: Bench) -> None:
    one, two = bench.model(1), bench.model(2, model=regression(bias=1000.0))
    bench.engine.bind([StreamBinding("line", "ccpp", "in", "out", key="$.id", queue_limit=10**6)])
    bench.engine.serve("ccpp", one)
    bench.engine.start()
    halt, sent = threading.Event(), [0]

    def produce() -> None:
        while not halt.is_set():
            for _ in range(10):
                bench.send({"id": sent[0], "AT": 0, "V": 0})
                sent[0] += 1
            halt.wait(0.0005)

    producer = threading.Thread(target=produce)
    producer.start()
    for turn in range(20):
        wait_until(lambda turn=turn: len(bench.out) > 50 * turn)
        bench.engine.serve("ccpp", two if turn % 2 == 0 else one)
    halt.set()
    producer.join()
    wait_until(lambda: len(bench.out) == sent[0])
    assert [answer["key"] for answer in bench.out] == list(range(sent[0]))
    assert all(answer["prediction"] == (10.0 if answer["version"] == 1 else 1000.0) for answer in bench.out)
    windows = bench.windows()
    for version in (1, 2):
        made = sum(answer["version"] == version for answer in bench.out)
        assert sum(window.predictions for window in windows if window.version == version) == made


def test_one_row_that_the_model_cannot_take_takes_no_other_with_it(bench: Bench) -> None:
    inside = [np.array([[1.0], [2.0]], np.float32)] * 2
    bench.engine.serve("ccpp", bench.model(model=picky_regression(), columns=inside))
    bench.send(*rows(3), {"id": "bad", "AT": 99, "V": 0}, *rows(3, first=3))
    bench.engine.start()
    wait_until(lambda: len(bench.out) == 6)
    [window] = bench.windows()
    assert window.rejected == {"model-failed": 1}
    assert window.sample is not None
    assert window.sample.startswith("model-failed: ccpp@1")
    assert bench.failing == []


def test_a_release_on_trial_that_keeps_failing_is_halted_and_its_messages_wait(bench: Bench) -> None:
    inside = [np.array([[1.0], [2.0]], np.float32)] * 2
    bench.engine.serve("ccpp", bench.model(2, model=picky_regression(), columns=inside), on_trial=True)
    bench.send(*rows(50, AT=99))
    bench.engine.start()
    wait_until(lambda: bench.failing)
    assert bench.failing[0][0] == ReleaseRef("ccpp", 2)
    bench.engine.serve("ccpp", bench.model(1))
    wait_until(lambda: len(bench.out) == 50 - FAILURES_ALLOWED)
    assert [answer["key"] for answer in bench.out] == list(range(FAILURES_ALLOWED, 50))
    assert len(bench.failing) == 1


def test_predictions_that_are_no_numbers_end_a_trial(bench: Bench) -> None:
    inside = [np.array([[1.0], [2.0]], np.float32)] * 2
    bench.engine.serve("ccpp", bench.model(2, model=nan_regression(), columns=inside), on_trial=True)
    bench.send(*rows(10, AT=-1))
    bench.engine.start()
    wait_until(lambda: bench.failing)
    assert "not numbers" in bench.failing[0][1]
    assert bench.out[0]["prediction"] is None


def test_a_confirmed_release_goes_on_whatever_messages_do(bench: Bench) -> None:
    inside = [np.array([[1.0], [2.0]], np.float32)] * 2
    bench.engine.serve("ccpp", bench.model(2, model=picky_regression(), columns=inside), on_trial=True)
    bench.engine.confirm(ReleaseRef("ccpp", 2))
    bench.send(*rows(20, AT=99), *rows(1, first=20))
    bench.engine.start()
    wait_until(lambda: len(bench.out) == 1)
    assert bench.failing == []


def test_messages_are_settled_after_their_answers_are_out_and_refused_ones_too(bench: Bench) -> None:
    bench.engine.serve("ccpp", bench.model())
    bench.send_kept(*rows(3), {"AT": 1}, *rows(2, first=4))
    assert bench.settled == []
    bench.engine.start()
    wait_until(lambda: len(bench.settled) == 6)
    assert bench.settled == [(number, 5) for number in range(6)]


def test_what_no_release_can_serve_is_settled_at_once(bench: Bench) -> None:
    bench.send_kept(*rows(2))
    assert [number for number, _ in bench.settled] == [0, 1]
    bench.engine.serve("ccpp", bench.model())
    bench.send_kept(*rows(2, first=2), first=2)
    assert len(bench.settled) == 2
    bench.engine.serve("ccpp", None)
    assert [number for number, _ in bench.settled] == [0, 1, 2, 3]


def test_an_at_most_once_stream_settles_on_arrival(bench: Bench) -> None:
    bench.engine.bind([StreamBinding("line", "ccpp", "in", "out", key="$.id", delivery="at-most-once")])
    bench.engine.serve("ccpp", bench.model())
    bench.send_kept(*rows(3))
    assert len(bench.settled) == 3


def test_what_gives_way_in_a_full_queue_or_an_ended_stream_is_settled(bench: Bench) -> None:
    bench.engine.serve("ccpp", bench.model())
    bench.engine.bind([StreamBinding("line", "ccpp", "in", "out", key="$.id", queue_limit=2)])
    bench.send_kept(*rows(5))
    assert [number for number, _ in bench.settled] == [0, 1, 2]
    bench.engine.bind([])
    assert [number for number, _ in bench.settled] == [0, 1, 2, 3, 4]


def test_a_message_of_two_streams_is_settled_when_both_have_answered(bench: Bench) -> None:
    bench.engine.bind([STREAM, StreamBinding("twin", "ccpp", "in", "out", key="$.id")])
    bench.engine.serve("ccpp", bench.model())
    bench.send_kept(*rows(1))
    bench.engine.start()
    wait_until(lambda: bench.settled)
    assert bench.settled == [(0, 2)]


def test_what_a_halted_release_leaves_stays_unsettled_for_the_next(bench: Bench) -> None:
    inside = [np.array([[1.0], [2.0]], np.float32)] * 2
    bench.engine.serve("ccpp", bench.model(2, model=picky_regression(), columns=inside), on_trial=True)
    bench.send_kept(*rows(20, AT=99))
    bench.engine.start()
    wait_until(lambda: bench.failing and len(bench.settled) == FAILURES_ALLOWED)
    bench.engine.serve("ccpp", bench.model(1))
    wait_until(lambda: len(bench.settled) == 20)
    assert len(bench.out) == 20 - FAILURES_ALLOWED


def test_a_classifier_answers_with_probabilities(bench: Bench) -> None:
    bench.engine.serve("ccpp", bench.model(model=classification()))
    bench.send(
        {"id": 1, "AT": 4.0, "kind": "a"}, {"id": 2, "AT": None, "kind": None}, {"id": 3, "AT": -4, "kind": "zz"}
    )
    bench.engine.start()
    wait_until(lambda: len(bench.out) == 3)
    assert bench.out[0]["prediction"] == "high"
    assert list(bench.out[0]["probabilities"]) == ["low", "mid", "high"]
    assert sum(bench.out[0]["probabilities"].values()) == pytest.approx(1.0)
    assert bench.out[2]["prediction"] == "low"
    [window] = bench.windows()
    assert set(window.outputs) == {"probability_low", "probability_mid", "probability_high"}
    kinds = CategorySketch.of(window.categories["kind"])
    assert (kinds.frequencies(), kinds.missing, kinds.unseen) == ({"a": 1, "zz": 1}, 1, 1)
    assert NumericSketch.of(window.numeric["AT"]).missing == 1


def test_a_window_sketches_every_row_and_stays_small(bench: Bench) -> None:
    bench.engine.serve("ccpp", bench.model())
    values = np.random.default_rng(5).uniform(-10, 50, BUFFER_ROWS * 2 + 77)
    bench.engine.start()
    for number, value in enumerate(values):
        bench.send({"id": number, "AT": float(value), "V": 50.0})
    wait_until(lambda: len(bench.out) == len(values))
    [window] = bench.windows()
    sketch = NumericSketch.of(window.numeric["AT"])
    assert sketch.count == len(values)
    assert sketch.mean == pytest.approx(values.mean(), rel=1e-4)
    assert sketch.out_of_range == int(((values < 0) | (values > 40)).sum())
    assert abs(float(sketch.quantiles([0.5])[0]) - float(np.quantile(values, 0.5))) < 3
    assert window.latency.count == len(values)
    assert len(encode(window)) < 2048 * 5
    assert bench.windows() == []


def test_two_streams_share_a_topic_and_a_model(bench: Bench) -> None:
    bench.engine.bind([STREAM, StreamBinding("twin", "ccpp", "in", "out", inputs={"AT": "$.V", "V": "$.AT"}, key="id")])
    bench.engine.serve("ccpp", bench.model())
    bench.send({"id": 1, "AT": 1, "V": 2})
    bench.engine.start()
    wait_until(lambda: len(bench.out) == 2)
    assert sorted(answer["prediction"] for answer in bench.out) == [10.0, 13.0]


def test_rebinding_keeps_what_waits_and_ends_what_is_gone(bench: Bench) -> None:
    bench.send(*rows(5))
    bench.engine.bind([STREAM, StreamBinding("other", "pump", "in2", "out")])
    bench.engine.serve("ccpp", bench.model())
    bench.engine.start()
    wait_until(lambda: len(bench.out) == 5)
    bench.engine.bind([])
    bench.send(*rows(5))
    assert bench.engine.served() == ()
    assert [window.predictions for window in bench.windows()] == [5]


def test_stopping_serves_what_waits(bench: Bench) -> None:
    bench.engine.serve("ccpp", bench.model())
    bench.engine.start()
    bench.send(*rows(2000))
    assert bench.engine.stop(10)
    assert len(bench.out) == 2000


def test_a_failing_run_is_one_of_our_errors(bench: Bench) -> None:
    inside = [np.array([[1.0], [2.0]], np.float32)] * 2
    model = bench.model(model=picky_regression(), columns=inside)
    with pytest.raises(ModelRunError, match="ccpp@1: the model fails"):
        model.predict([np.array([[99.0]], np.float32)] * 2)
