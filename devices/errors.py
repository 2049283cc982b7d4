"""Every error that `devices` raises.

DeviceError                 root, a GenbaError
├── UnknownProfileError     no profile of that name                        (caller)
├── ProfileError            a profile's TOML cannot be read                (packager)
└── NoProviderError         nothing that the profile wants is installed    (device)
"""

from collections.abc import Sequence

from protocols.errors import GenbaError


class DeviceError(GenbaError):
    """Root of all errors raised by `devices`."""


class UnknownProfileError(DeviceError):
    """There is no profile of that name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"no device profile {name!r}; there are {', '.join(known)}")
        self.name = name
        self.known = tuple(known)


class ProfileError(DeviceError):
    """A profile's file is not a profile."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"device profile {name!r}: {reason}")
        self.name = name


class NoProviderError(DeviceError):
    """The installed ONNX Runtime has no execution provider that can serve."""

    def __init__(self, wanted: Sequence[str], installed: Sequence[str]) -> None:
        has = f"has {', '.join(installed)}" if installed else "is not there: pip install 'genba[cpu]'"
        super().__init__(f"none of {', '.join(wanted)} can be used here; the installed ONNX Runtime {has}")
        self.wanted = tuple(wanted)
        self.installed = tuple(installed)
