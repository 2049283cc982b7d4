"""The bench: where releases are checked, proven and loaded on this device's hardware."""

from typing import TYPE_CHECKING, Any

from edge_agent.hardware import Hardware
from edge_agent.preflight import Limits, PreflightReport, prove
from edge_agent.releases import ReleaseStore, read_release
from edge_agent.session_plan import SessionPlan
from edge_agent.settings import AgentHome, Settings
from edge_agent.verification import check_release
from protocols.manifest import Manifest
from protocols.names import ReleaseRef

if TYPE_CHECKING:
    from edge_agent.inference import Model


class Bench:
    """One device's bench; a rehearsal puts another in its place."""

    def __init__(self, home: AgentHome, settings: Settings, store: ReleaseStore) -> None:
        self.hardware = Hardware(settings.profile, home.folder)
        self._settings, self._store = settings, store

    @property
    def facts(self) -> dict[str, Any]:
        """What the machine has, as it travels in a status; empty until somebody has looked."""
        return self.hardware.facts

    def look(self) -> None:
        """Look at the machine, which takes about a second."""
        self.hardware.probe()

    def share(self, models: int) -> None:
        """From now on so many models share the cores; those that are loaded keep the threads that they have."""
        self.hardware.models = models

    def admit(self, manifest: Manifest, allow_fallback: bool) -> None:
        """Return if it fits this device, as far as its manifest tells; raises DoesNotFitError."""
        self.hardware.check_fit(manifest, allow_fallback=allow_fallback)

    def check(self, ref: ReleaseRef) -> Manifest:
        return check_release(ref, self._store)

    def prove(self, ref: ReleaseRef, allow_fallback: bool) -> PreflightReport:
        manifest = check_release(ref, self._store)
        self.hardware.check_fit(manifest, allow_fallback=allow_fallback)
        return prove(
            self._store.path(ref),
            self._plan(manifest, allow_fallback),
            Limits(self._settings.preflight_s, self._settings.preflight_bytes or self.hardware.preflight_bytes()),
        )

    def load(self, ref: ReleaseRef, allow_fallback: bool) -> "Model":
        from edge_agent.inference import Model

        folder = self._store.path(ref)
        manifest = read_release(folder)
        return Model(folder, manifest, self._plan(manifest, allow_fallback))

    def _plan(self, manifest: Manifest, allow_fallback: bool) -> SessionPlan:
        choice = self.hardware.choose(manifest)
        return SessionPlan(
            providers=choice.providers,
            asked=choice.wanted,
            allow_fallback=allow_fallback,
            threads=self.hardware.threads,
        )
