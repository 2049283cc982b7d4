"""Profiles: what a kind of device can do, one TOML file each in `devices/profiles/`."""

import functools
from importlib import resources
from typing import Literal

import msgspec

from devices.errors import ProfileError, UnknownProfileError
from protocols.errors import NameRefusedError
from protocols.names import check_name

Arch = Literal["aarch64", "x86_64"]
_MB = 1024 * 1024


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a kind of device promises.

    Attributes:
        name: the file's name without `.toml`; what enrolment and assignments say.
        title: one line for a person.
        arch: as `uname -m` says it.
        cores, memory_mb: the least that such a device has; a machine below it is warned of.
        model_memory_mb: most that one loaded model may take.
        disk_mb: room that must be free for releases, two of which are on disk during a swap.
        threads: of one inference session, so that the line's other programs keep their cores.
        providers: ONNX Runtime execution providers, most wanted first.
        notes: what an installer should know.
    """

    name: str
    title: str
    arch: Arch
    cores: int
    memory_mb: int
    model_memory_mb: int
    disk_mb: int
    threads: int
    providers: tuple[str, ...]
    notes: str = ""

    def __post_init__(self) -> None:
        for field in ("cores", "memory_mb", "model_memory_mb", "disk_mb", "threads"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} counts from 1, not {getattr(self, field)}")
        if self.model_memory_mb > self.memory_mb:
            raise ValueError(f"model_memory_mb {self.model_memory_mb} is more than memory_mb {self.memory_mb}")
        if not self.providers or len(set(self.providers)) != len(self.providers):
            raise ValueError(f"providers must be named, each once; got {list(self.providers)}")

    @property
    def model_memory_bytes(self) -> int:
        return self.model_memory_mb * _MB

    @property
    def disk_bytes(self) -> int:
        return self.disk_mb * _MB


def parse_profile(name: str, toml: bytes) -> Profile:
    """Read one profile.

    Raises:
        ProfileError: it is not TOML, or a field is missing, unknown or out of range; the text names it.
    """
    try:
        check_name("device profile", name)
        fields = msgspec.toml.decode(toml, type=dict[str, object])
        return msgspec.convert({"name": name, **fields}, Profile)
    except (msgspec.DecodeError, UnicodeDecodeError, NameRefusedError) as error:
        raise ProfileError(name, str(error)) from error


@functools.cache
def list_profiles() -> tuple[Profile, ...]:
    """Return every profile that this release of Genba knows, by name."""
    folder = resources.files("devices") / "profiles"
    files = {file.name.removesuffix(".toml"): file for file in folder.iterdir() if file.name.endswith(".toml")}
    return tuple(parse_profile(name, files[name].read_bytes()) for name in sorted(files))


def load_profile(name: str) -> Profile:
    """Return the profile of that name.

    Raises:
        UnknownProfileError: there is none; the text names those that there are.
    """
    for profile in list_profiles():
        if profile.name == name:
            return profile
    raise UnknownProfileError(name, [profile.name for profile in list_profiles()])
