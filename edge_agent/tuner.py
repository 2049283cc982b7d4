"""The tuner: has plans for a release measured on this device, within a time, and keeps the best for the next start."""

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from edge_agent.preflight import Limits, PreflightReport, prove
from edge_agent.session_plan import CPU, Precision, SessionPlan, provider_name
from edge_agent.tuned import Tuned, TunedStore
from edge_agent.tuning import Bounds, Measured, Space, choose, explain, merged, settled, thread_counts
from protocols.manifest import Manifest

log = logging.getLogger(__name__)

#: The child sees to the time by itself; this is for one that hangs before it can.
_GRACE_S = 10.0
_POLL_S = 0.02
#: A smaller model is not worth a file of its own.
_MAPPED_FROM_BYTES = 1024 * 1024


class TuningOrder(msgspec.Struct, frozen=True):
    """What the parent asks of the child, on its stdin.

    Attributes:
        plan: what serves without tuning; measured first.
        seconds: for all measurements together.
        memory_bytes: most for one; 0: no limit.
        mapped: where a file that can be mapped may be made.
    """

    folder: Path
    plan: SessionPlan
    space: Space
    bounds: Bounds
    seconds: float
    memory_bytes: int
    mapped: Path


def measure_plans(order: TuningOrder, cancelled: Callable[[], bool] = lambda: False) -> list[Measured]:
    """Return what a child measured until it was done, its time was over, or nobody wanted it any more; never raises."""
    with os.fdopen(os.memfd_create("order"), "w+b") as asked, os.fdopen(os.memfd_create("out"), "w+b") as out:
        asked.write(msgspec.json.encode(order, enc_hook=str))
        asked.seek(0)
        child = subprocess.Popen(
            [sys.executable, "-m", "edge_agent.tuning_child"],
            stdin=asked,
            stdout=out,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        try:
            deadline = time.monotonic() + order.seconds + _GRACE_S
            while child.poll() is None and time.monotonic() < deadline and not cancelled():
                _hold_back(child.pid, order.memory_bytes)
                time.sleep(_POLL_S)
        finally:
            child.kill()
            child.wait()
        out.seek(0)
        return [found for line in out.read().splitlines() if (found := _decoded(line)) is not None]


def _hold_back(pid: int, memory_bytes: int) -> None:
    """Kill a fork that takes more memory than it may: before it takes that of what serves."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for fork in psutil.Process(pid).children() if memory_bytes else ():
            if fork.memory_info().rss > memory_bytes:
                fork.kill()


def _decoded(line: bytes) -> Measured | None:
    try:
        return msgspec.json.decode(line, type=Measured, dec_hook=lambda kind, text: kind(text))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # a library that prints


class Tuner:
    """Finds the plan by which a release serves best on this device. A plan whose provider compiles is left alone.

    Args:
        store: what was found before.
        seconds: longest for one release; 0: nothing is measured, and what was found before is not used.
        identity: tells what the measurements depend on.
    """

    def __init__(self, store: TunedStore, seconds: float, identity: Callable[[], dict[str, object]]) -> None:
        self._store, self._seconds, self._identity = store, seconds, identity
        #: Digests of what was to be forgotten on a disk that takes nothing.
        self._forgotten: set[str] = set()

    def prove(
        self,
        folder: Path,
        manifest: Manifest,
        base: SessionPlan,
        limits: Limits,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> PreflightReport:
        """Tune a release if that is wanted and was not done, and prove the plan that it will serve by."""
        if not self._seconds:
            return prove(folder, base, limits, cancelled=cancelled)
        found = self.find(manifest, base) or self.tune(folder, manifest, base, limits.memory_bytes, cancelled=cancelled)
        plan = self.plan(manifest, base)
        report = prove(folder, plan, limits, cancelled=cancelled)
        if not report.passed and plan != base and not cancelled():
            log.warning("what tuning found does not prove itself", extra={"reason": report.reason})
            self.forget(manifest, base)
            return prove(folder, base, limits, cancelled=cancelled)
        return msgspec.structs.replace(report, tuned=found.text) if found else report

    def find(self, manifest: Manifest, base: SessionPlan) -> Tuned | None:
        """Return what was found for this release on this machine and these providers, if it is there and whole."""
        if manifest.digest in self._forgotten:
            return None
        return self._store.find(manifest.digest, self._machine(manifest, base))

    def plan(self, manifest: Manifest, base: SessionPlan) -> SessionPlan:
        """Return the plan that was found for this release on this machine, or the base where none was."""
        if not self._seconds or base.cache is not None:
            return base
        found = self.find(manifest, base)
        return found.applied(base, self._store.graph(manifest.digest, found.machine)) if found else base

    def tune(
        self,
        folder: Path,
        manifest: Manifest,
        base: SessionPlan,
        memory_bytes: int,
        *,
        threads: Sequence[int] = (),
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Tuned | None:
        """Measure, and keep the best; None where nothing that was measured may serve, or it cannot be kept.

        Args:
            memory_bytes: most that the model may take; 0: no limit.
            threads: counts to try; none: up to the base plan's.
        """
        machine = self._machine(manifest, base)
        graph = self._store.graph(manifest.digest, machine)
        making = graph.with_suffix(".making.ort")
        try:
            graph.parent.mkdir(parents=True, exist_ok=True)
            order = TuningOrder(
                folder,
                base,
                _space(manifest, base, threads, shutil.disk_usage(graph.parent).free),
                Bounds(manifest.latency_limit_ms, memory_bytes),
                self._seconds,
                memory_bytes,
                making,
            )
            measured = merged(measure_plans(order, cancelled))
            winner = choose(measured, order.bounds)
            if winner is None or cancelled():
                return None
            text = explain(winner, measured[0], len(measured))
            log.info("tuned", extra={"release": str(manifest.release), "plan": text})
            found = Tuned.of(manifest, machine, settled(winner), text, tuple(measured))
            kept = self._store.keep(found, winner.plan.mapped)
            self._forgotten.discard(manifest.digest)
            return kept
        except OSError as error:
            log.warning("what tuning found is not kept: %s", error.strerror)
            return None
        finally:
            with contextlib.suppress(OSError):  # a read-only disk refuses even what is not there
                making.unlink(missing_ok=True)

    def forget(self, manifest: Manifest, base: SessionPlan) -> None:
        """Delete what was found for a release: it did not prove itself."""
        try:
            self._store.forget(manifest.digest, self._machine(manifest, base))
        except OSError as error:
            self._forgotten.add(manifest.digest)
            log.warning("what tuning found cannot be deleted: %s", error.strerror)

    def _machine(self, manifest: Manifest, base: SessionPlan) -> dict[str, object]:
        """Return what a finding depends on beyond the model itself."""
        variants: dict[str, str] = {
            name: manifest.files[found.file].sha256 for name, found in manifest.variants.items()
        }
        return {**self._identity(), "providers": list(map(provider_name, base.providers)), "variants": variants}

    def keep_only(self, digests: set[str]) -> None:
        """Delete what was found for all releases but these."""
        self._store.keep_only(digests)


def _space(manifest: Manifest, base: SessionPlan, threads: Sequence[int], free_bytes: int) -> Space:
    on_cpu = [provider_name(provider) for provider in base.providers] == [CPU]
    size = manifest.files["model.onnx"].size_bytes
    counts = tuple(threads) or (thread_counts(base.threads) if on_cpu and base.threads else ())
    precisions: tuple[Precision, ...] = ("float32", *manifest.variants)
    return Space(
        threads=counts, precisions=precisions, mapping=on_cpu and size >= _MAPPED_FROM_BYTES and free_bytes > 3 * size
    )
