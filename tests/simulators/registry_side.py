"""The registry's half of the wire, over a real broker: serves blocks, keeps and acknowledges what devices send."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from simulators.small_models import file_info

from protocols.assignment import AssignedRelease, Assignment, StreamBinding
from protocols.blocks import BlockPlan, block_digest, blocks_of
from protocols.measuring import MEASURED_FILES, MeasuringOrder
from protocols.messages import (
    UP,
    Ack,
    AssignmentChanged,
    Block,
    BlockRequest,
    Event,
    MeasuringChanged,
    Status,
    Telemetry,
    decode,
    encode,
)
from protocols.names import ReleaseRef
from protocols.resources import RELEASE_FILES, VARIANT_FILES, target_path
from protocols.topics import ALL_UP, DeviceTopics, parse_up

_LARGE_BYTES = 8 * 1024 * 1024


class SignedReleases:
    """Real signed repositories and blobs, as `registry.delivery` serves them, with no registry process."""

    def __init__(self, home: Path, clock: Callable[[], float] = time.time) -> None:
        from registry.blobs import Blobs
        from registry.delivery import Source
        from registry.signing.director import DirectorRepository
        from registry.signing.image import ImageRepository
        from registry.signing.keys import create_keys

        self.home = home
        create_keys(home)
        self.image = ImageRepository(home, clock)
        (home / "director").mkdir(parents=True, exist_ok=True)
        (home / "image").mkdir(parents=True, exist_ok=True)
        self.image.create()
        self.director = DirectorRepository(home, clock)
        self.director.create()
        self._blobs = Blobs(home)
        self._source = Source(home, clock)
        self._files: dict[str, Any] = {}
        self._large: dict[str, bytes] = {}
        self._revision = 0
        self._jobs: dict[int, tuple[MeasuringOrder, dict[str, Any]]] = {}

    def publish(self, ref: ReleaseRef, folder: Path, profiles: tuple[str, ...] = ()) -> None:
        names = [*RELEASE_FILES, *(name for name in VARIANT_FILES if (folder / name).exists())]
        files = {name: file_info(folder / name) for name in names}
        for name in names:
            with (folder / name).open("rb") as file:
                self._blobs.put(file)
        self._files |= {target_path(ref, name): info for name, info in files.items()}
        self.image.publish(ref, files, profiles)

    def assign(
        self, device: str, *refs: ReleaseRef, profile: str = "x86", streams: tuple[StreamBinding, ...] = (), **more: Any
    ) -> int:
        """Direct a device to run these; returns the revision."""
        self._revision += 1
        attempts, fallback = more.pop("attempts", {}), more.pop("allow_fallback", False)
        releases = tuple(AssignedRelease(ref.model, ref.version, attempts.get(ref, 1), fallback) for ref in refs)
        assignment = Assignment(device, self._revision, releases, streams, **more)
        models = {ref: self._of(ref) for ref in refs}
        files = {path: info for part in models.values() for path, info in part.items()}
        self.director.direct(assignment, files, profile)
        return self._revision

    def measure(self, device: str, number: int, graph: Path, profile: str = "x86", **more: Any) -> MeasuringOrder:
        """Direct a device to measure the graph of a release's folder, beside the jobs that it has."""
        from registry.blobs import file_info
        from registry.measuring import complete

        folder = self.home / "measurements" / str(number)
        folder.mkdir(parents=True)
        for name in ("model.onnx", "golden.npz"):
            shutil.copy(graph / name, folder / name)
        complete(folder)
        facts = {"expires_at": time.time() + 600, "seconds": 60.0, **more}
        order = MeasuringOrder(number=number, model="measured", **facts)
        self._jobs[number] = order, {name: file_info(folder / name) for name in MEASURED_FILES}
        self._direct_jobs(device, profile)
        return order

    def end_job(self, device: str, number: int, profile: str = "x86") -> None:
        """Sign a job no more."""
        del self._jobs[number]
        self._direct_jobs(device, profile)

    def _direct_jobs(self, device: str, profile: str) -> None:
        orders = [order for order, _ in self._jobs.values()]
        self.director.measure(device, profile, orders, {number: files for number, (_, files) in self._jobs.items()})

    def files_of(self, ref: ReleaseRef) -> dict[str, Any]:
        """Return a release's files by name, each with digest and size."""
        return {path.rpartition("/")[2]: info for path, info in self._of(ref).items()}

    def _of(self, ref: ReleaseRef) -> dict[str, Any]:
        return {path: info for path, info in self._files.items() if path.startswith(f"{ref.model}/{ref.version}/")}

    def read(self, device: str, resource: str) -> bytes | None:
        from registry.errors import ResourceMissingError

        if resource in self._large:
            return self._large[resource]
        try:
            found = self._source.open(device, resource)
        except ResourceMissingError:
            return None
        data = found.read(0, found.size)
        if found.size > _LARGE_BYTES:  # read for each request, it would take longer than devices wait
            self._large = {resource: data}
        return data


class RegistrySide:
    """Answers devices. `mishap(block)` may return another block, or None to lose it."""

    def __init__(self, port: int, read: Callable[[str, str], bytes | None]) -> None:
        self._read = read
        self.mishap: Callable[[Block], Block | None] = lambda block: block
        self.acknowledges = True
        self.requests: list[BlockRequest] = []
        self.events: dict[int, Event] = {}
        self.windows: dict[int, Telemetry] = {}
        self.statuses: list[Status] = []
        self.received: list[int] = []
        self._lock = threading.Condition()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "registry-side")
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe(ALL_UP, 1)
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(5)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def nudge(self, site: str, device: str, revision: int) -> None:
        topic = DeviceTopics(site, device).down("assignment")
        self._client.publish(topic, encode(AssignmentChanged(revision)), qos=1, retain=True)

    def nudge_measuring(self, site: str, device: str, number: int) -> None:
        topic = DeviceTopics(site, device).down("measuring")
        self._client.publish(topic, encode(MeasuringChanged(number)), qos=1, retain=True)

    def wait_for(self, condition: Callable[[], Any], timeout_s: float = 15.0) -> Any:
        """Return what `condition` returns once it is true; it is asked whenever a message came."""
        with self._lock:
            assert self._lock.wait_for(condition, timeout_s), f"not within {timeout_s} s; events: {self.told()}"
            return condition()

    def told(self) -> list[str]:
        return [f"{event.kind}: {event.text}" for event in self.events.values()]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events.values()]

    def _on_message(self, client: mqtt.Client, data: Any, message: mqtt.MQTTMessage) -> None:
        parsed = parse_up(message.topic)
        if parsed is None:
            return
        site, device, channel = parsed
        topics = DeviceTopics(site, device)
        body = decode(UP[channel], message.payload)  # type: ignore[type-var]
        with self._lock:
            self._keep(body)
            self._lock.notify_all()
        if isinstance(body, BlockRequest):
            self._serve(topics, device, body)
        elif isinstance(body, Event | Telemetry) and self.acknowledges:
            client.publish(topics.down("ack"), encode(Ack((body.id,))), qos=1)

    def _keep(self, body: Any) -> None:
        if isinstance(body, Event):
            self.events[body.id] = body
            self.received.append(body.id)
        elif isinstance(body, Telemetry):
            self.windows[body.id] = body
            self.received.append(body.id)
        elif isinstance(body, Status):
            self.statuses.append(body)
        else:
            self.requests.append(body)

    def _serve(self, topics: DeviceTopics, device: str, request: BlockRequest) -> None:
        from registry.errors import ResourceNotReadyError

        refused = Block(request.transfer, status=404, reason="no such resource")
        try:
            data = self._read(device, request.resource)
        except ResourceNotReadyError as error:
            data, refused = None, Block(request.transfer, status=503, reason=str(error))
        if data is None:
            self._client.publish(topics.down("blocks"), encode(refused), qos=1)
            return
        plan = BlockPlan(len(data), request.block_bytes)
        for index in blocks_of(request.first, request.mask):
            if index >= plan.count:
                continue
            offset, length = plan.span(index)
            part = data[offset : offset + length]
            block = self.mishap(Block(request.transfer, index, len(data), part, block_digest(part)))
            if block is not None:
                self._client.publish(topics.down("blocks"), encode(block), qos=1)
