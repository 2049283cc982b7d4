"""Which execution providers a session asks ONNX Runtime for, and whether that is second best."""

from collections.abc import Collection
from typing import NamedTuple

from devices.errors import NoProviderError
from devices.profiles import Profile
from protocols.manifest import Manifest

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
XNNPACK = "XnnpackExecutionProvider"
ACL = "ACLExecutionProvider"
QNN = "QNNExecutionProvider"
COREML = "CoreMLExecutionProvider"
DIRECTML = "DmlExecutionProvider"
#: Those that a profile may name, the fastest kind first; ONNX Runtime has others, which nothing here knows to set up.
KNOWN = (TENSORRT, CUDA, OPENVINO, QNN, COREML, DIRECTML, ACL, XNNPACK, CPU)


class Choice(NamedTuple):
    """What to ask for.

    Attributes:
        providers: most wanted first; never empty.
        wanted: what would have been first, had it been installed. Another first one is a fall-back, which an
            assignment must allow.
    """

    providers: tuple[str, ...]
    wanted: str

    @property
    def fallback(self) -> bool:
        return self.providers[0] != self.wanted


def proven_providers(manifest: Manifest) -> Collection[str] | None:
    """Return the providers that a release may be asked to run on; None: any, since the device can prove it there."""
    return manifest.providers if manifest.elsewhere is None else None


def choose_providers(profile: Profile, installed: Collection[str], proven: Collection[str] | None = None) -> Choice:
    """Return what a session on this device asks for: the profile's providers, proven and installed, in its order.

    Args:
        profile: says what is wanted, and in which order.
        installed: what the ONNX Runtime here was built with (`Probe.providers`).
        proven: what the release may run on (`proven_providers`); None: not asked.

    Raises:
        NoProviderError: nothing is left.
    """
    wanted = [name for name in profile.providers if proven is None or name in proven]
    chosen = tuple(name for name in wanted if name in installed)
    if not chosen:
        raise NoProviderError(wanted or profile.providers, sorted(installed))
    return Choice(chosen, wanted[0])
