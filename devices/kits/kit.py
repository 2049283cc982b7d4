"""Writes a kit: unit, container, offline wheels, accelerator and the steps, rendered for one profile."""

import string
from importlib import resources
from pathlib import Path

from devices.errors import DeviceError
from devices.kits.runtimes import RuntimeBuild, runtime_of
from devices.profiles import Profile

#: What the agent takes besides its models; a release's proof runs in a second process.
_BASE_MB = 256
#: Of the machine's memory, the agent may take this share at most.
_SHARE = 7 / 8
_DOCKER_ARCH = {"aarch64": "arm64", "x86_64": "amd64"}
_EXECUTABLE = frozenset({"wheelhouse.sh"})


class KitFolderError(DeviceError):
    """The kit cannot be written there."""


class _Template(string.Template):
    """`@{name}` alone, since shell scripts, units and Dockerfiles are full of dollars."""

    delimiter = "@"
    pattern = r"@(?:(?P<escaped>(?!))|(?P<named>(?!))|\{(?P<braced>[a-z_]+)\}|(?P<invalid>(?!)))"  # type: ignore[assignment]


def write_kit(profile: Profile, folder: Path, *, force: bool = False) -> list[Path]:
    """Write the kit of a profile into a folder and return what was written.

    Raises:
        KitFolderError: something is there already and `force` is not given, or it cannot be written.
    """
    if not force and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise KitFolderError(f"--out {folder} is not an empty folder; name another, or write over it with --force")
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in render(profile).items():
            path = folder / name
            path.write_text(text)
            path.chmod(0o755 if name in _EXECUTABLE else 0o644)
            written.append(path)
    except OSError as error:
        raise KitFolderError(f"--out {folder}: {error.strerror}; name a folder that can be written") from error
    return written


def render(profile: Profile) -> dict[str, str]:
    """Return file name -> text."""
    build = runtime_of(profile)
    values = _values(profile, build)
    values["accelerator"] = _fill(build.note, values).strip()
    values["kernel"] = _fill(_kernel_note(profile), values).strip()
    names = ["README.md", "genba-agent.service", "Dockerfile", "wheelhouse.sh", *([build.rules] if build.rules else [])]
    return {name: _fill(name, values) for name in names}


def _fill(name: str, values: dict[str, str]) -> str:
    text = (resources.files("devices.kits") / "templates" / name).read_text(encoding="utf-8")
    return _Template(text).substitute(values)


def _values(profile: Profile, build: RuntimeBuild) -> dict[str, str]:
    most = memory_limit_mb(profile)
    return {
        "profile": profile.name,
        "title": profile.title,
        "notes": profile.notes,
        "arch": _DOCKER_ARCH[profile.arch],
        "machine": profile.arch,
        "extra": build.extra,
        "requirement": f"genba[{build.extra}]" if build.extra else "genba",
        "wheel": build.wheel,
        "python": build.python,
        "image": build.image,
        "packages": _packages(build.packages),
        "groups": " ".join(build.groups),
        "supplementary": f"SupplementaryGroups={' '.join(build.groups)}\n" if build.groups else "",
        "devices": "\n".join(build.devices),
        "docker_options": f" {build.docker}" if build.docker else "",
        "memory_high": f"{most * 9 // 10}",
        "memory_max": f"{most}",
        "disk": f"{profile.disk_mb}",
    }


def _kernel_note(profile: Profile) -> str:
    """The README's paragraph about what the memory limits need of the kernel, a template's name."""
    return "kernel-raspberry-pi.md" if profile.name.startswith("raspberry-pi") else "kernel.md"


def _packages(names: str) -> str:
    if not names:
        return ""
    return (
        "# hadolint ignore=DL3008\n"
        "RUN apt-get update \\\n"
        f"    && apt-get install -y --no-install-recommends {names} \\\n"
        "    && rm -rf /var/lib/apt/lists/*\n"
    )


def memory_limit_mb(profile: Profile) -> int:
    """Return what the agent and a release's proof may take together.

    Two models are loaded during a swap and a third in the proof, each process has its own base; a share of the
    machine is left to its other programs in any case.
    """
    wanted = 3 * profile.model_memory_mb + 2 * _BASE_MB
    return min(wanted, int(profile.memory_mb * _SHARE))
