"""A registry with a past: a plant goes from winter to summer, its model drifts and is trained anew.

Everything goes in through the catalogue as the services would put it there; sketches and reports are real.
"""

from collections.abc import Callable
from pathlib import Path

from simulators.candidates import readings, reference_of, sketch, write_candidate

from protocols.assignment import AssignedRelease, Assignment, StreamBinding
from protocols.messages import Event, HeldRelease, ServedStream, Status, Telemetry
from protocols.names import ReleaseRef
from registry.assigning import assign
from registry.catalogue import Catalogue
from registry.monitoring.merging import merge
from registry.monitoring.policy import Policy
from registry.monitoring.reports import judge
from registry.publication import publish

WINDOW_S = 60.0
CPU = "CPUExecutionProvider"
PROBE = {
    "architecture": "x86_64",
    "cores": 4,
    "memory_mb": 7800,
    "cpu_features": ["avx2", "fma"],
    "execution_providers": [CPU],
    "onnxruntime": "1.32.0",
}


class History:
    """Writes the past of one plant; `now` moves with the clock that the catalogue uses."""

    def __init__(self, home: Path, catalogue: Catalogue, clock: Callable[[], float], workshop: Path) -> None:
        self._home, self._catalogue, self._clock, self._workshop = home, catalogue, clock, workshop
        self._windows = 0

    def publish(self, temperature: float, **changes: object) -> ReleaseRef:
        folder = self._workshop / f"made-{temperature}"
        made = write_candidate(folder, named=f"graph {temperature}".encode(), temperature=temperature, **changes)
        return publish(self._home, self._catalogue, made, self._clock, published_by="anna").release

    def enrol(self, device: str, site: str, profile: str) -> None:
        self._catalogue.devices.add(device, site, profile, "PEM", "5af0c1")

    def assign(self, device: str, version: int) -> None:
        stream = StreamBinding("main", "ccpp", f"plant/{device}/sensors", f"plant/{device}/predictions", key="hour")
        wanted = Assignment(device, 0, (AssignedRelease("ccpp", version),), (stream,), WINDOW_S)
        assign(self._home, self._catalogue, wanted, self._clock, assigned_by="anna")

    def status(self, device: str, version: int, *, online: bool = True, refused: str | None = None) -> None:
        assignment = self._catalogue.assignments.get(device)
        held = [HeldRelease("ccpp", version, "confirmed")]
        held += [HeldRelease("ccpp", version + 1, "refused", refused)] if refused else []
        status = Status(
            at=self._clock(),
            online=True,
            agent_version="0.1.0",
            profile="x86",
            revision=assignment.revision if assignment else 0,
            streams=(ServedStream("main", "ccpp", version, CPU, 48_210, 4),),
            releases=tuple(held),
            probe=PROBE,
        )
        self._catalogue.devices.update_status(device, status)
        if not online:
            self._catalogue.devices.update_status(device, Status(self._clock(), False))

    def window(self, device: str, site: str, version: int, temperature: float, end: float) -> None:
        self._windows += 1
        columns = readings(300, temperature, seed=self._windows)
        profile = reference_of(columns)
        rejected = {"not-json": 3, "missing-feature": 1} if self._windows % 3 == 0 else {}
        telemetry = Telemetry(
            id=self._windows,
            stream="main",
            model="ccpp",
            version=version,
            provider=CPU,
            start=end - WINDOW_S,
            end=end,
            predictions=300,
            rejected=rejected,
            dropped=0,
            bytes_in=31_400,
            latency=sketch(0.4 + 0.1 * abs(columns["RH"] - 75) / 9),
            numeric=profile.numeric,
            categories=profile.categories,
            outputs=profile.outputs,
            sample="not-json: expecting value at byte 0" if rejected else None,
        )
        self._catalogue.telemetry.add(device, site, telemetry)

    def report(self, version: int, end: float, trained_at: float) -> None:
        windows = self._catalogue.telemetry.windows("ccpp", version, end - 1, end)
        reference = reference_of(readings(4000, trained_at))
        self._catalogue.drift.add(judge(ReleaseRef("ccpp", version), reference, merge(windows), Policy()))


def write_history(
    home: Path, catalogue: Catalogue, clock: Callable[[], float], workshop: Path, *, retrained: bool = False
) -> None:
    """Fill a registry with three devices of one model whose plant warms up; `retrained` goes on to a second release.

    Args:
        clock: the past ends at its time.
        workshop: a folder for candidates.
    """
    plant, now = History(home, catalogue, clock, workshop), clock()
    plant.publish(14.0)
    for device, site, profile in (
        ("unit-a", "osaka", "x86"),
        ("unit-b", "osaka", "raspberry-pi-5"),
        ("unit-c", "nagoya", "x86"),
    ):
        plant.enrol(device, site, profile)
        plant.assign(device, 1)
    minutes = 24
    for minute in range(minutes):
        end = now - (minutes - 1 - minute) * WINDOW_S
        second = retrained and minute >= 18
        temperature = 14.0 if minute < 8 else min(29.0, 14.0 + 1.9 * (minute - 7))
        for device in ("unit-a", "unit-b"):
            plant.window(device, "osaka", 2 if second else 1, temperature, end)
        if second and minute == 18:
            _retrain(plant, catalogue)
        plant.report(2 if second else 1, end, 29.0 if second else 14.0)
    for device in ("unit-a", "unit-b"):
        plant.status(device, 2 if retrained else 1)
    plant.status("unit-c", 1, online=False, refused="golden vectors: prediction differs by 0.31" if retrained else None)
    catalogue.rows.append("ccpp", [{"AT": 28.0, "PE": 431.0}] * 900, now)
    _jobs(catalogue)
    catalogue.events.add("unit-a", Event(1, now - 300, "confirmed", "info", "ccpp@1 is confirmed on CPU", "ccpp", 1))
    catalogue.events.add(
        "unit-c",
        Event(1, now - 200, "refused", "error", "ccpp@2: golden vectors: prediction differs by 0.31", "ccpp", 2),
    )


def _retrain(plant: History, catalogue: Catalogue) -> None:
    ref = plant.publish(29.0, metrics={"rmse": 2.944, "mae": 2.11, "r2": 0.962})
    for device in ("unit-a", "unit-b", "unit-c"):
        plant.assign(device, ref.version)
    catalogue.models.set_champion(ref)


def _jobs(catalogue: Catalogue) -> None:
    jobs = catalogue.jobs
    jobs.add("train", {"model": "ccpp"}, "asked for by anna")
    jobs.finish(jobs.claim("worker").id, {"release": "ccpp@1", "metric": "rmse", "challenger": 3.187, "champion": None})
    jobs.add("train", {"model": "line4"}, "asked for by ben")
    jobs.fail(
        jobs.claim("worker").id, "target 'defect' is not a column of line4.csv; it has time, torque, speed, defects"
    )
    jobs.add("retrain", {"model": "ccpp"}, "AT, V drifted in 3 windows in a row")
    jobs.progress(jobs.claim("worker").id, "search: trial 14 of the budget, best rmse 2.97", 0.46)
