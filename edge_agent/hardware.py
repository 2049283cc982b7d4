"""What this device can do for a release: does it fit, on which providers, with how many threads and how much memory."""

import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import psutil

from devices.cgroups import read_limits
from devices.fit import fit
from devices.probe import Probe, read_probe, usable_cores
from devices.profiles import load_profile
from devices.providers import Choice, choose_providers, proven_providers
from edge_agent.cores import share_cores
from edge_agent.errors import DoesNotFitError
from protocols.manifest import Manifest

#: What a process takes before it loads a model: Python, NumPy, ONNX Runtime.
_BASE_BYTES = 256 * 1024 * 1024


class Hardware:
    """This machine, as its profile promises and as it is.

    Args:
        profile: a profile's name.
        folder: the agent's home, whose disk counts.

    Raises:
        UnknownProfileError: there is no such profile.
    """

    def __init__(self, profile: str, folder: Path) -> None:
        self.profile = load_profile(profile)
        self._folder = folder
        self.cores = usable_cores(read_limits())
        #: Models that are served here; they share the cores.
        self.models = 1
        self._probe: Probe | None = None
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

    def preflight_bytes(self) -> int:
        """Most memory that a release's proof may take: what the profile gives a model, or what is free, if less."""
        free = int(psutil.virtual_memory().available * 0.8)
        return min(self.profile.model_memory_bytes + _BASE_BYTES, max(free, 2 * _BASE_BYTES))
