"""A fleet of simulated devices: enrols them, switches them on and off, and counts what became of them."""

import functools
import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from devices.profiles import load_profile
from edge_agent.enrolment import enrol
from edge_agent.settings import AgentHome
from protocols.errors import GenbaError
from protocols.names import ReleaseRef
from registry.client.binding import bound, stream_of
from registry.client.rest import RegistryClient
from registry.errors import RegistryRefusedError
from rehearsal.bench import Recordings, SimulatedBench, UntunedBench, board
from rehearsal.device import SimulatedDevice
from rehearsal.readings import Readings, Row
from rehearsal.sockets import allow_many

#: Files that a device holds open: outbox, sockets, lock, what it is writing.
_FILES_EACH = 16
_AT_ONCE = 4
#: What a mixed fleet is made of.
PROFILES = ("x86", "raspberry-pi-4", "raspberry-pi-5")
_INSTALLED, _REFUSED = ("active", "confirmed"), ("refused", "rolled-back")


class RehearsalError(GenbaError):
    """The rehearsal cannot be held as it was asked for."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays.

    Attributes:
        devices: how many.
        prefix, site: their names are `<prefix>-001` and so on.
        profiles: given in turn.
        drift, offline, fail: shares of them: sensors that lie off, devices that come and go, devices that refuse
            every release.
        away_s: how long such a device is away, and how long it is there, on average.
        rate_hz: sensor messages a second, of each device.
        real_inference: prove and serve with ONNX Runtime on this machine.
        seed: who does what.
    """

    devices: int
    prefix: str = "sim"
    site: str = "rehearsal"
    profiles: tuple[str, ...] = PROFILES
    drift: float = 0.0
    offline: float = 0.0
    fail: float = 0.0
    away_s: float = 30.0
    rate_hz: float = 1.0
    real_inference: bool = False
    seed: int = 7

    def __post_init__(self) -> None:
        for name in ("drift", "offline", "fail"):
            if not 0 <= getattr(self, name) <= 1:
                raise RehearsalError(f"--{name} {getattr(self, name)} is not a share; give 0 to 1")
        if self.devices < 1 or self.rate_hz <= 0 or self.away_s <= 0:
            raise RehearsalError("--devices, --rate and --away count from above 0")
        for profile in self.profiles:
            load_profile(profile)


@dataclass(frozen=True, slots=True)
class Census:
    """What became of the fleet. `messages` and `bytes`: over MQTT, both ways, payloads alone."""

    enrolled: int
    online: int
    assigned: int
    installed: int
    refused: int
    messages: int
    bytes: int


class Fleet:
    """Owns the devices and two threads: one senses, one switches those that come and go."""

    def __init__(self, cast: Cast, home: Path, registry: RegistryClient, table: Sequence[Row] = ()) -> None:
        self.cast, self._home, self._registry, self._table = cast, home, registry, table
        self.devices: list[SimulatedDevice] = []
        self._random = random.Random(cast.seed)
        self._recordings = Recordings()
        shares = {name: self._share(getattr(cast, name)) for name in ("drift", "offline", "fail")}
        self._drifted, self._moving, self._failing = shares["drift"], shares["offline"], shares["fail"]
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def _share(self, share: float) -> frozenset[int]:
        return frozenset(self._random.sample(range(self.cast.devices), round(share * self.cast.devices)))

    @property
    def names(self) -> list[str]:
        return [f"{self.cast.prefix}-{number:03d}" for number in range(1, self.cast.devices + 1)]

    def enrol(self, *, replace: bool = False, progress: Callable[[int], None] = lambda _: None) -> None:
        """Enrol each device with a token of its own; a home that is enrolled already is taken as it is.

        Raises:
            RehearsalError: a name is enrolled already, and `replace` is not asked for.
            RegistryRefusedError, RegistryUnreachableError, EnrolmentError: the registry did not take one of them.
            OpenFilesError: the system does not let one process hold so many.
        """
        allow_many(self.cast.devices * _FILES_EACH)
        enrol_one = functools.partial(self._enrol_one, replace=replace)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for device in pool.map(enrol_one, range(self.cast.devices)):
                self.devices.append(device)
                progress(len(self.devices))

    def _token(self, wanted: dict[str, Any]) -> str:
        try:
            return str(self._registry.send("POST", "/devices/tokens", wanted)["token"])
        except RegistryRefusedError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            raise RehearsalError(
                f"{wanted['device']} is enrolled already, perhaps by an earlier rehearsal: take such names over with "
                "--replace, or choose others with --prefix"
            ) from error

    def _enrol_one(self, index: int, *, replace: bool) -> SimulatedDevice:
        cast, name = self.cast, self.names[index]
        home = AgentHome(self._home / name)
        profile = load_profile(cast.profiles[index % len(cast.profiles)])
        if not home.enrolled and not self._stop.is_set():
            wanted = {"device": name, "site": cast.site, **({"replace": True} if replace else {})}
            token = self._token(wanted)
            enrol(
                home,
                registry=self._registry.url,
                token=token,
                device=name,
                site=cast.site,
                profile=profile.name,
                probe=board(profile).flat(),
            )
        bench = functools.partial(SimulatedBench, recordings=self._recordings, refuses=index in self._failing)
        readings = Readings(random.Random(f"{cast.seed} {name}"), self._table, drifted=index in self._drifted)
        return SimulatedDevice(home, UntunedBench if cast.real_inference else bench, readings)

    def assign(self, ref: ReleaseRef, window_s: float) -> None:
        """Assign a release to each device, as an operator would."""
        topics = {"topic": "rehearsal/{device}/sensors", "output_topic": "rehearsal/{device}/predictions"}
        options = {"stream": "rehearsal", "inputs": {}, **topics}
        for name in self.names:
            place = f"/devices/{name}/assignment"
            release = {"model": ref.model, "version": ref.version}
            stream = stream_of(ref.model, {"name": name, "site": self.cast.site}, options)
            body = bound(self._registry.get(place), release, stream)
            self._registry.send("PUT", place, {**body, "window_s": window_s})

    def start(self) -> None:
        """Switch all devices on."""
        for device in self.devices:
            if self._stop.is_set():
                return
            device.on()
        for name, run in (("sensors", self._sense), ("switches", self._switch)):
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def interrupt(self) -> None:
        """End what is under way; safe in a signal handler."""
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        """Wait; return whether the rehearsal was interrupted meanwhile."""
        return self._stop.wait(seconds)

    def stop(self) -> None:
        """Switch all devices off in good order."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(SimulatedDevice.off, self.devices))

    def census(self) -> Census:
        """Count what the devices say of themselves."""
        pages = [page for device in self.devices if (page := device.look()) is not None]
        states = [{release.state for release in page.releases} for page in pages]
        traffic = [device.traffic for device in self.devices]
        return Census(
            enrolled=len(self.devices),
            online=sum(device.online for device in self.devices),
            assigned=sum(page.revision > 0 for page in pages),
            installed=sum(not found.isdisjoint(_INSTALLED) for found in states),
            refused=sum(not found.isdisjoint(_REFUSED) for found in states),
            messages=sum(one.sent + one.heard for one in traffic),
            bytes=sum(one.sent_bytes + one.heard_bytes for one in traffic),
        )

    def _sense(self) -> None:
        """Give every device its messages, evenly over time; what a slow machine cannot do is left out."""
        pause_s = 1 / (self.cast.rate_hz * len(self.devices))
        due = time.monotonic()
        for device in itertools.cycle(self.devices):
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            device.sense()
            due = max(due + pause_s, time.monotonic() - 1.0)

    def _switch(self) -> None:
        """Switch those that come and go; each is away and there for a random time."""
        if not self._moving:
            return
        plan = [(self._moment(), index, False) for index in self._moving]
        heapq.heapify(plan)
        while not self._stop.wait(max(0.0, plan[0][0] - time.monotonic())):
            _, index, on = heapq.heappop(plan)
            device = self.devices[index]
            device.on() if on else device.off()
            heapq.heappush(plan, (self._moment(), index, not on))

    def _moment(self) -> float:
        return time.monotonic() + self.cast.away_s * self._random.uniform(0.5, 1.5)
