"""What this device can do for a release: does it fit, on which providers, with how many threads and how much memory."""

import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec
import psutil

from devices.cgroups import read_limits
from devices.drivers import drivers_of, read_drivers
from devices.fit import fit
from devices.probe import Probe, read_probe, usable_cores
from devices.profiles import load_profile
from devices.provider_options import ENGINES, OPTIONED, Options, lasting_options
from devices.providers import Choice, choose_providers, proven_providers
from devices.runtime import Runtime
from edge_agent.cores import share_cores
from edge_agent.engines import engine_parts
from edge_agent.errors import DoesNotFitError
from edge_agent.session_plan import SessionPlan, provider_name
from protocols.manifest import Manifest

#: What a process takes before it loads a model: Python, NumPy, ONNX Runtime.
_BASE_BYTES = 256 * 1024 * 1024


class Hardware:
    """This machine, as its profile promises and as it is.

    Args:
        profile: a profile's name.
        folder: the agent's home, whose disk counts.
        wanted: providers that are wanted instead of the profile's, the most wanted first.

    Raises:
        UnknownProfileError: there is no such profile.
    """

    def __init__(self, profile: str, folder: Path, wanted: tuple[str, ...] = ()) -> None:
        promised = load_profile(profile)
        self.profile = msgspec.structs.replace(promised, providers=wanted) if wanted else promised
        self._folder = folder
        self.cores = usable_cores(read_limits())
        #: Models that are served here; they share the cores.
        self.models = 1
        self._probe: Probe | None = None
        self._identity: dict[str, object] | None = None
        self._lock = threading.Lock()

    @property
    def threads(self) -> int:
        """Threads of one inference session."""
        return share_cores(self.cores, self.models, self.profile.threads)

    def probe(self) -> Probe:
        """Look at the machine, once; the first call takes about a second."""
        with self._lock:
            if self._probe is None:
                self._probe = read_probe(self._folder)
            return self._probe

    @property
    def facts(self) -> dict[str, Any]:
        """The probe as it travels in a status; empty until somebody has looked."""
        return dict(self._probe.flat()) if self._probe is not None else {}

    def check_fit(self, manifest: Manifest, *, allow_fallback: bool) -> None:
        """Return if this device can serve the release, as far as its manifest tells.

        Raises:
            DoesNotFitError: it cannot; the text gives every reason.
        """
        answer = fit(manifest, self.profile, self.probe(), allow_fallback=allow_fallback)
        if not answer.fits:
            raise DoesNotFitError(f"{manifest.release} does not fit this device: {'; '.join(answer.reasons)}")

    def choose(self, manifest: Manifest) -> Choice:
        """Return what a session asks for, most wanted first, and what was wanted.

        Raises:
            NoProviderError: the ONNX Runtime here has none that the release is proven on.
        """
        return choose_providers(self.profile, self._installed(), proven_providers(manifest))

    def _installed(self) -> Collection[str]:
        """Return the providers that are installed, without waiting for a look at the machine."""
        if self._probe is not None:
            return self._probe.providers
        import onnxruntime

        available: list[str] = onnxruntime.get_available_providers()
        return available

    def options(self, provider: str, manifest: Manifest) -> Options:
        """Return the options that this device gives a provider, whichever session it is for."""
        if provider not in OPTIONED:
            return {}  # without a look at the machine
        return lasting_options(provider, manifest, self.profile.model_memory_bytes, self.probe().accelerators)

    def engine_parts(self, manifest: Manifest, plan: SessionPlan) -> dict[str, Any] | None:
        """Return what the engine of a release depends on here; None where nothing is compiled for this plan."""
        compiling = [name for name in map(provider_name, plan.providers) if name in ENGINES]
        if not compiling:
            return None
        probe, drivers = self.probe(), read_drivers()
        return engine_parts(
            manifest,
            plan,
            probe.onnxruntime or "",
            {key: value for name in compiling for key, value in drivers_of(name, drivers).items()},
            {
                "arch": probe.arch,
                "board": probe.board,
                "cpu": probe.cpu,
                "cpu_features": probe.cpu_features,
                "accelerators": probe.accelerators,
            },
        )

    def build_bytes(self) -> int:
        """Most memory that compiling an engine may take: what is free, less some for all else."""
        return int(psutil.virtual_memory().available * 0.8)

    def identity(self) -> dict[str, object]:
        """Return what figures measured here depend on: the machine, its profile, and the ONNX Runtime installed."""
        import onnxruntime

        with self._lock:
            if self._identity is None:
                found = read_probe(self._folder, runtime=Runtime())
                named = {name: getattr(found, name) for name in ("arch", "board", "cpu", "cores")}
                runtime = {"onnxruntime": str(onnxruntime.__version__), "profile": self.profile.name}
                self._identity = {**named, "cpu_features": list(found.cpu_features), **runtime}
            return self._identity

    def preflight_bytes(self) -> int:
        """Most memory that a release's proof may take: what the profile gives a model, or what is free, if less."""
        free = int(psutil.virtual_memory().available * 0.8)
        return min(self.profile.model_memory_bytes + _BASE_BYTES, max(free, 2 * _BASE_BYTES))
