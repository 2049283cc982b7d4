"""Real brokers, a real registry home, the service in a process of its own, and a device that speaks by paho."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from protocols.manifest import (
    FileInfo,
    Footprint,
    Lineage,
    Manifest,
    ParityCase,
    ParityCertificate,
    TensorSpec,
    Tolerance,
)
from protocols.messages import Status, Telemetry, encode
from protocols.reference import ReferenceProfile, encode_reference
from protocols.sketches import NumericSketch
from protocols.topics import DeviceTopics
from registry.blobs import Blobs
from registry.catalogue import Catalogue
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository
from registry.signing.keys import create_keys

ROOT = Path(__file__).parents[3]


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 15.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {timeout_s} s for {what}")


@pytest.fixture(scope="session", name="wait_until")
def _wait_until() -> Callable[..., Any]:
    return wait_until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A child process of a test, which can be started again and never outlives it."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.arguments, self.log = arguments, log
        self.start()

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self.log.open("ab") as stderr:
            self.child = subprocess.Popen(self.arguments, stderr=stderr, stdout=stderr, env=environment)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.child.poll() is None:
            self.child.send_signal(number)
        try:
            return self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise


@pytest.fixture
def process(tmp_path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(*arguments: str) -> Process:
        started.append(Process(list(arguments), tmp_path / f"process-{len(started)}.log"))
        return started[-1]

    yield start
    for one in started:
        if one.child.poll() is None:
            one.child.kill()
        one.child.wait()


class Broker:
    """A broker on a port of its own."""

    def __init__(self, kind: str, process: Callable[..., Process], folder: Path) -> None:
        self.kind, self.port = kind, free_port()
        if kind == "mosquitto":
            program = shutil.which("mosquitto")
            if program is None:
                pytest.skip("mosquitto is not installed")
            settings = folder / "mosquitto.conf"
            settings.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
            self.process = process(program, "-c", str(settings))
        else:
            self.process = process(sys.executable, "-m", "registry.broker", "--port", str(self.port))
        self.wait()

    def wait(self) -> None:
        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        wait_until(answers, f"{self.kind} to answer")

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"


@pytest.fixture(params=["mosquitto", "embedded"])
def broker(request, process, tmp_path) -> Broker:
    return Broker(request.param, process, tmp_path)


@pytest.fixture
def mosquitto(process, tmp_path) -> Broker:
    return Broker("mosquitto", process, tmp_path)


@pytest.fixture
def embedded(process, tmp_path) -> Broker:
    return Broker("embedded", process, tmp_path)


class Client:
    """A plain MQTT client that keeps what it receives."""

    def __init__(self, port: int, name: str, *, clean: bool = True, will: tuple[str, bytes] | None = None) -> None:
        self.messages: list[mqtt.MQTTMessage] = []
        self._up, self._subscribed = threading.Event(), threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, name, clean_session=clean, reconnect_on_failure=False)
        self.client.on_message = lambda client, data, message: self.messages.append(message)
        self.client.on_connect = lambda *_: self._up.set()
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.max_inflight_messages_set(200)
        if will:
            self.client.will_set(*will, qos=1, retain=True)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._up.wait(10)

    def subscribe(self, topic: str) -> None:
        self._subscribed.clear()
        self.client.subscribe(topic, 1)
        assert self._subscribed.wait(10)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> mqtt.MQTTMessageInfo:
        return self.client.publish(topic, payload, qos=1, retain=retain)

    def payloads(self, topic: str) -> list[bytes]:
        return [bytes(message.payload) for message in list(self.messages) if message.topic == topic]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def vanish(self) -> None:
        """Go without a word, as a device without power does."""
        self.client.socket().shutdown(socket.SHUT_RDWR)


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def make(port: int, name: str, **options: Any) -> Client:
        clients.append(Client(port, name, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


class Device(Client):
    """An enrolled device as the registry sees it."""

    def __init__(self, port: int, site: str, name: str) -> None:
        super().__init__(port, f"{site}.{name}", clean=False)
        self.name, self.site = name, site
        self.topics = DeviceTopics(site, name)
        self.subscribe(self.topics.all_down)

    def send(self, channel: Any, message: Any) -> None:
        self.publish(self.topics.up(channel), encode(message), retain=channel == "status")

    def online(self) -> None:
        self.send("status", Status(time.time(), True, "0.1.0", "x86"))


@pytest.fixture
def device() -> Iterator[Callable[..., Device]]:
    devices: list[Device] = []

    def make(port: int, name: str = "press-7", site: str = "osaka") -> Device:
        devices.append(Device(port, site, name))
        return devices[-1]

    yield make
    for one in devices:
        one.close()


@pytest.fixture
def catalogue(tmp_path) -> Iterator[Catalogue]:
    """A registry's home with two enrolled devices."""
    home = tmp_path / "registry"
    made = Catalogue.create(home)
    create_keys(home)
    ImageRepository(home).create()
    DirectorRepository(home).create()
    for name in ("press-7", "press-8"):
        made.devices.add(name, "osaka", "x86", "certificate", "1")
    yield made
    made.close()


@pytest.fixture
def service(process, catalogue) -> Callable[[str], Process]:
    return lambda url: process(sys.executable, "-m", "registry.mqtt", "--home", str(catalogue.home), "--broker", url)


@pytest.fixture
def release(catalogue) -> Callable[..., Manifest]:
    """Catalogue a release of the model `ccpp`, whose one input AT was learnt from `values`; it is the champion."""

    def add(values: Any, version: int = 1) -> Manifest:
        sketch = NumericSketch()
        sketch.update(values)
        profile = encode_reference(ReferenceProfile(len(values), {"AT": sketch.summary()}, {}, {}))
        path = catalogue.home / "reference"
        path.write_bytes(profile)
        with path.open("rb") as file:
            sha256 = Blobs(catalogue.home).put(file)
        manifest = Manifest(
            model="ccpp",
            version=version,
            task="regression",
            target="PE",
            created="2026-01-01T00:00:00Z",
            files={"model.onnx": FileInfo("0" * 64, 1), "reference": FileInfo(sha256, len(profile))},
            inputs=(TensorSpec("AT", "float32"),),
            outputs=(TensorSpec("prediction", "float32"),),
            opset={"": 18},
            operators=("MatMul",),
            providers={"CPUExecutionProvider": Tolerance(1e-4, 1e-4)},
            footprint=Footprint(1, 1.0, 1.0, "test"),
            lineage=Lineage("0" * 64, "ccpp", len(values), ("AT",), "PE", "0.1.0", {}, 0, 1.0, 1, {}),
            parity=ParityCertificate(Tolerance(1e-4, 1e-4), (ParityCase("held-out", 1, 0, 0, 0, True),), "1"),
            metric="rmse",
            metrics={"rmse": 1.0},
        )
        catalogue.releases.add(manifest)
        catalogue.models.set_champion(manifest.release)
        return manifest

    return add


@pytest.fixture
def window() -> Callable[..., Telemetry]:
    def make(number: int, values: Any, *, start: float, end: float, version: int = 1) -> Telemetry:
        sketch = NumericSketch()
        sketch.update(np.asarray(values, dtype=np.float32))
        return Telemetry(
            id=number,
            stream="main",
            model="ccpp",
            version=version,
            provider="CPUExecutionProvider",
            start=start,
            end=end,
            predictions=len(values),
            rejected={},
            dropped=0,
            bytes_in=0,
            latency=NumericSketch().summary(),
            numeric={"AT": sketch.summary()},
            categories={},
            outputs={},
        )

    return make
