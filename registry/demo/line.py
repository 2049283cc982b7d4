"""A production line: publishes a table's rows as sensor messages, and takes the predictions that answer them."""

import math
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from protocols.broker import BrokerAddress
from protocols.errors import GenbaError
from protocols.payloads import Prediction

Phase = Literal["before", "drifted", "after"]
#: Messages on the way at most; a real line's controller buffers likewise.
IN_FLIGHT = 2000

_predictions = msgspec.json.Decoder(Prediction)


class LineError(GenbaError):
    """The line cannot reach its broker."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One message of the line: the sensors it carries and the truth, which the line's historian learns later."""

    station: str
    phase: Phase
    sensors: Mapping[str, Any]
    truth: float | int | str


@dataclass(slots=True)
class Answer:
    """What came back for one reading."""

    reading: Reading
    prediction: Prediction


@dataclass
class Ledger:
    """Every reading and every answer, by key. A reading with no answer is a lost prediction."""

    open: dict[int, Reading] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    twice: int = 0
    raw_bytes: int = 0


class Line:
    """Publishes readings at a steady rate to `plant/<station>/sensors`, hears `plant/<station>/predictions`.

    Threads: paho's network thread and one publishing thread; `ledger` is read under `lock`.
    """

    def __init__(self, broker_url: str, stations: list[str], rate_hz: float) -> None:
        address = BrokerAddress.parse(broker_url)
        if address.secure:
            raise LineError(
                f"{broker_url} asks for a certificate, and a simulated line has none: publish there with a client of "
                "your own and `genba registry certificate`, or simulate with an mqtt:// broker on this machine"
            )
        self.ledger = Ledger()
        self.lock = threading.Lock()
        self._stations = stations
        self._pause_s = 1 / rate_hz
        self._waiting: queue.Queue[Reading] = queue.Queue()
        self._stop = threading.Event()
        self._key = 0
        self._thread = threading.Thread(target=self._publish, name="line", daemon=True)
        self._ready = threading.Event()
        self._heard = threading.Condition(self.lock)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="line")
        self._client.max_inflight_messages_set(IN_FLIGHT)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._ready.set()
        try:
            self._client.connect(address.host, address.port)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise LineError(f"no broker answers at {broker_url} ({reason}); start it, or correct --broker") from error

    def start(self) -> None:
        self._client.loop_start()
        if not self._ready.wait(10):
            raise LineError("the broker did not take the line's subscription within 10 s")
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)
        self._client.disconnect()
        self._client.loop_stop()

    def feed(self, readings: list[Reading]) -> None:
        """Queue readings; they leave in order, at the line's rate per station."""
        for reading in readings:
            self._waiting.put(reading)

    def clear(self) -> list[Reading]:
        """Take back what has not left yet."""
        left = []
        while True:
            try:
                left.append(self._waiting.get_nowait())
            except queue.Empty:
                return left

    @property
    def idle(self) -> bool:
        return self._waiting.empty()

    def wait_answered(self, timeout_s: float) -> bool:
        """Wait until no reading is open; False when time is up."""
        with self._heard:
            return self._heard.wait_for(lambda: not self.ledger.open, timeout_s)

    def _publish(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                reading = self._waiting.get(timeout=0.1)
            except queue.Empty:
                due = time.monotonic()
                continue
            due = max(due + self._pause_s / len(self._stations), time.monotonic() - 1)
            self._stop.wait(max(0.0, due - time.monotonic()))
            self._send(reading)

    def _send(self, reading: Reading) -> None:
        payload = msgspec.json.encode({"key": self._key, **reading.sensors})
        with self.lock:
            self.ledger.open[self._key] = reading
            self.ledger.raw_bytes += len(payload)
        self._key += 1
        self._client.publish(f"plant/{reading.station}/sensors", payload, qos=1)

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe([(f"plant/{station}/predictions", 1) for station in self._stations])

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        prediction = _predictions.decode(message.payload)
        with self._heard:
            key = prediction.key if isinstance(prediction.key, int) else -1
            reading = self.ledger.open.pop(key, None)
            if reading is None:
                self.ledger.twice += 1
                return
            self.ledger.answers.append(Answer(reading, prediction))
            self._heard.notify_all()


def error_of(answers: list[Answer], classification: bool) -> float | None:
    """Return the error of live predictions: log loss for a classifier, root mean square error otherwise.

    None where there are no answers.
    """
    if not answers:
        return None
    if not classification:
        squares = [(float(a.prediction.prediction or 0) - float(a.reading.truth)) ** 2 for a in answers]
        return math.sqrt(sum(squares) / len(squares))
    losses = []
    for answer in answers:
        probability = (answer.prediction.probabilities or {}).get(str(answer.reading.truth), 0.0)
        losses.append(-math.log(min(max(probability, 1e-7), 1.0)))
    return sum(losses) / len(losses)
