"""A bench with no hardware: the machine is what its profile promises, and no model is ever loaded."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from devices.probe import Probe
from devices.profiles import Profile
from edge_agent.bench import Bench
from edge_agent.golden import GoldenVectors, read_golden
from edge_agent.hardware import Hardware
from edge_agent.inference import Array, Model
from edge_agent.preflight import PreflightReport
from edge_agent.releases import ReleaseStore, read_release
from edge_agent.session_plan import CPU, SessionPlan
from edge_agent.settings import AgentHome, Settings
from edge_agent.verification import check_release
from protocols.manifest import Manifest
from protocols.names import ReleaseRef

_MB = 1024 * 1024
#: Newer than any release asks for: whether an ONNX Runtime is recent enough is not what is rehearsed.
_OPSET = 1000


def board(profile: Profile) -> Probe:
    """Return the machine that a profile promises, with a CPU's ONNX Runtime."""
    return Probe(
        arch=profile.arch,
        system="rehearsal",
        board=None,
        cpu="simulated",
        cores=profile.cores,
        memory_bytes=profile.memory_mb * _MB,
        memory_free_bytes=profile.memory_mb * _MB * 3 // 4,
        disk_free_bytes=2 * profile.disk_mb * _MB,
        onnxruntime="simulated",
        providers=(CPU,),
        opset=_OPSET,
        opset_ml=_OPSET,
    )


class BoardHardware(Hardware):
    """Hardware that is its profile's promise."""

    def probe(self) -> Probe:
        self._probe = board(self.profile)
        return self._probe


class RecordedModel(Model):
    """Answers any rows with the golden vectors' outputs in turn: no session, so no memory and no time."""

    def __init__(self, manifest: Manifest, golden: GoldenVectors) -> None:
        self.manifest = manifest
        self.placement = {CPU: len(manifest.operators)}
        self.provider = self.asked = CPU
        self.plan = SessionPlan(threads=1)
        self._inputs = [spec.name for spec in manifest.inputs]
        self._outputs = [spec.name for spec in manifest.outputs]
        self._state = [np.zeros(pair.shape, dtype=np.float32) for pair in manifest.state]
        self._recorded = golden.outputs
        self._place = 0

    def run(self, columns: Sequence[Array]) -> list[Array]:
        rows = len(columns[0])
        picked = (self._place + np.arange(rows)) % len(self._recorded[0])
        self._place = int(picked[-1]) + 1 if rows else self._place
        return [*(output[picked] for output in self._recorded), *self._state]


class Recordings:
    """One copy of each release's manifest and golden vectors, for all devices of a process."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Manifest, GoldenVectors]] = {}

    def of(self, folder: Path, manifest: Manifest) -> tuple[Manifest, GoldenVectors]:
        """Return the copy; two devices that come at once read the same."""
        if manifest.digest not in self._known:
            self._known[manifest.digest] = manifest, read_golden(folder / "golden.npz", manifest)
        return self._known[manifest.digest]


class UntunedBench(Bench):
    """A bench on this machine's hardware, which many devices share: what one found by measuring fits none of them."""

    def __init__(self, home: AgentHome, settings: Settings, store: ReleaseStore) -> None:
        super().__init__(home, msgspec.structs.replace(settings, tune_s=0.0), store)


class SimulatedBench(Bench):
    """Checks every digest and the fit as a device does; the proof's verdict is given.

    Args:
        recordings: shared by all devices.
        refuses: every release fails its proof here.
    """

    def __init__(
        self,
        home: AgentHome,
        settings: Settings,
        store: ReleaseStore,
        *,
        recordings: Recordings,
        refuses: bool = False,
    ) -> None:
        super().__init__(home, settings, store)
        self.hardware = BoardHardware(settings.profile, home.folder)
        self._recordings, self._refuses = recordings, refuses

    def prove(
        self, ref: ReleaseRef, allow_fallback: bool, cancelled: Callable[[], bool] = lambda: False
    ) -> PreflightReport:
        manifest = check_release(ref, self._store)
        self.hardware.check_fit(manifest, allow_fallback=allow_fallback)
        if self._refuses:
            return PreflightReport(False, "this device refuses every release, for the rehearsal (--fail)")
        return PreflightReport(True, provider=CPU, placement={CPU: len(manifest.operators)}, onnxruntime="simulated")

    def load(self, ref: ReleaseRef, allow_fallback: bool) -> Model:
        folder = self._store.path(ref)
        manifest = read_release(folder)
        return RecordedModel(*self._recordings.of(folder, manifest))
