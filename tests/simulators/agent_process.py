"""An agent as a process of its own, and the plant's line that it serves."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from simulators.registry_side import RegistrySide, SignedReleases
from simulators.small_models import write_release

from edge_agent.settings import AgentHome
from protocols.assignment import StreamBinding
from protocols.names import ReleaseRef

ROOT = Path(__file__).resolve().parents[2]
STREAM = StreamBinding("line", "ccpp", "plant/sensors", "plant/predictions", key="$.id")


class Agent:
    """An agent's process; `environment` is what it finds beside ours, `python` the interpreter that runs it."""

    def __init__(
        self, home: AgentHome, environment: Mapping[str, str] | None = None, python: str = sys.executable
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self.process = subprocess.Popen(
            [python, "-m", "genba", "agent", "run", "--home", str(home.folder)],
            cwd=ROOT,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(10)

    def log(self) -> list[dict[str, Any]]:
        self._errors.seek(0)
        return [json.loads(line) for line in self._errors.read().decode().splitlines()]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._errors.close()


class Line:
    """The plant: publishes sensors, collects predictions by key."""

    def __init__(self, port: int) -> None:
        self.predictions: dict[Any, list[dict[str, Any]]] = {}
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "line")
        self._client.max_inflight_messages_set(1000)
        ready = threading.Event()
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(STREAM.output_topic, 1)
        self._client.loop_start()
        assert ready.wait(5)

    def _on_message(self, client: Any, data: Any, message: mqtt.MQTTMessage) -> None:
        prediction = json.loads(message.payload)
        self.predictions.setdefault(prediction.get("key"), []).append(prediction)

    def send(self, payload: dict[str, Any] | bytes) -> None:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self._client.publish(STREAM.topic, body, qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def published(signed: SignedReleases, folder: Path, ref: ReleaseRef, **release: Any) -> ReleaseRef:
    write_release(folder / str(ref), name=ref.model, version=ref.version, **release)
    signed.publish(ref, folder / str(ref))
    return ref


def assign(signed: SignedReleases, side: RegistrySide, *refs: ReleaseRef, **more: Any) -> None:
    more.setdefault("streams", (STREAM,))
    side.nudge("osaka", "press-1", signed.assign("press-1", *refs, **{"window_s": 0.5, "confirm_s": 0.3, **more}))
