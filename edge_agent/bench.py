"""The bench: where releases are checked, proven and loaded on this device's hardware."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from edge_agent.building import Builder, Task
from edge_agent.engines import EngineStore, engine_key
from edge_agent.errors import EngineMissingError, ModelLoadError
from edge_agent.hardware import Hardware
from edge_agent.measuring_bench import MeasuringBench
from edge_agent.preflight import Limits, PreflightReport, prove
from edge_agent.releases import ReleaseStore, read_manifest, read_release
from edge_agent.session_plan import Provider, SessionPlan
from edge_agent.settings import AgentHome, Settings
from edge_agent.tuned import TunedStore
from edge_agent.tuner import Tuner
from edge_agent.verification import check_release
from protocols.errors import GenbaError
from protocols.manifest import Manifest
from protocols.messages import Building
from protocols.names import ReleaseRef

if TYPE_CHECKING:
    from edge_agent.inference import Model


class Bench:
    """One device's bench; a rehearsal puts another in its place."""

    def __init__(self, home: AgentHome, settings: Settings, store: ReleaseStore) -> None:
        self.hardware = Hardware(settings.profile, home.folder, settings.providers)
        self._settings, self._store = settings, store
        self.measuring = MeasuringBench(self.hardware, settings, lambda manifest: self._plan(manifest, False))
        self._tuner = Tuner(TunedStore(home.tuned), settings.tune_s, self.hardware.identity)
        self._engines = EngineStore(home.engines)
        self._builder = Builder(self._engines, prove, lambda: Limits(settings.build_s, self.hardware.build_bytes()))

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

    def prove(
        self, ref: ReleaseRef, allow_fallback: bool, cancelled: Callable[[], bool] = lambda: False
    ) -> PreflightReport:
        """Run a release's preflight: with an engine, which is built first, where its provider compiles, else tuned.

        Args:
            cancelled: whether nobody wants the report any more.
        """
        manifest = check_release(ref, self._store)
        self.hardware.check_fit(manifest, allow_fallback=allow_fallback)
        folder, plan = self._store.path(ref), self._plan(manifest, allow_fallback)
        limits = Limits(self._settings.preflight_s, self._settings.preflight_bytes or self.hardware.preflight_bytes())
        parts = self.hardware.engine_parts(manifest, plan)
        if parts is not None:
            return self._builder.prove(Task(folder, manifest, plan, parts), limits, cancelled)
        return self._tuner.prove(folder, manifest, plan, limits, cancelled)

    def load(self, ref: ReleaseRef, allow_fallback: bool) -> "Model":
        from edge_agent.inference import Model

        folder = self._store.path(ref)
        manifest = read_release(folder)
        base = self._with_engine(manifest, self._plan(manifest, allow_fallback))
        plan = self._tuner.plan(manifest, base)
        try:
            return Model(folder, manifest, plan)
        except ModelLoadError as error:
            if base.cache is not None:
                self._engines.discard(base.cache.name)
                raise EngineMissingError(f"{manifest.release}: its engine cannot be loaded: {error}") from error
            if plan == base:
                raise
            self._tuner.forget(manifest, base)
            return Model(folder, manifest, base)

    def building(self) -> dict[ReleaseRef, Building]:
        """Return the release whose engine is being compiled, and how far that is."""
        return self._builder.building()

    def keep_engines(self, kept: frozenset[ReleaseRef]) -> None:
        """Delete the engines, and what tuning found, of all releases but these."""
        digests = set()
        for ref in kept:
            with contextlib.suppress(GenbaError):  # it is not fetched yet, so nothing was compiled of it
                digests.add(read_manifest(self._store.path(ref)).digest)
        self._engines.keep_only(digests)
        self._tuner.keep_only(digests)

    def _with_engine(self, manifest: Manifest, plan: SessionPlan) -> SessionPlan:
        parts = self.hardware.engine_parts(manifest, plan)
        if parts is None:
            return plan
        engine = self._engines.find(engine_key(parts))
        if engine is None:
            raise EngineMissingError(
                f"{manifest.release}: there is no engine of it for this device, its drivers and its ONNX Runtime as "
                "they are now; one is built"
            )
        return msgspec.structs.replace(plan, cache=engine.cache)

    def _plan(self, manifest: Manifest, allow_fallback: bool) -> SessionPlan:
        choice = self.hardware.choose(manifest)
        return SessionPlan(
            providers=tuple(self._with_options(name, manifest) for name in choice.providers),
            asked=choice.wanted,
            allow_fallback=allow_fallback,
            threads=self.hardware.threads,
        )

    def _with_options(self, name: str, manifest: Manifest) -> Provider:
        """Return a provider with what this device and this release ask of it, and above that agent.toml."""
        options = {**self.hardware.options(name, manifest), **self._settings.provider_options.get(name, {})}
        return (name, options) if options else name
