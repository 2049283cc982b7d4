"""What this device can do for a release: does it fit, on which providers, with how many threads and how much memory."""

from dataclasses import dataclass
from typing import Any

from edge_agent.errors import ReleaseRefusedError
from edge_agent.inference import Provider
from protocols.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Hardware:
    """This machine, as its profile describes it and as it really is."""

    profile: str
    threads: int
    probe: dict[str, Any]

    def check_fit(self, manifest: Manifest) -> None:
        if manifest.profiles and self.profile not in manifest.profiles:
            raise ReleaseRefusedError(f"{manifest.release} is for {', '.join(manifest.profiles)}, not {self.profile}")

    def providers(self, manifest: Manifest) -> list[Provider]:
        import onnxruntime

        chosen: list[Provider] = [p for p in onnxruntime.get_available_providers() if p in manifest.providers]
        return chosen


def read_hardware(profile: str) -> Hardware:
    return Hardware(profile, 0, {})
