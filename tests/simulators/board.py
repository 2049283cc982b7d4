"""A Raspberry Pi 4: an arm64 system of Debian's packages and real aarch64 wheels, run by qemu in user mode.

The folder is a virtual environment whose Python is a two-line script, so that whatever the agent starts by
`sys.executable` runs on the emulated processor as well; the machine needs no binfmt. It is made once, under
~/.cache/genba/boards or $GENBA_BOARDS, and again when the lock, the base dependencies or Debian's release change.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "requirements" / "dev.txt"
PROCESSOR = "cortex-a72"
#: Name of the variable by which one process on the board gets another processor.
OTHER_PROCESSOR = "GENBA_BOARD_PROCESSOR"
#: Raised when what `_build` makes changes.
_FORMAT = 2
_MODEL = "Raspberry Pi 4 Model B Rev 1.5"
#: What a 64-bit Raspberry Pi OS says of each of the four cores; no aes, no asimddp: a Cortex-A72 has neither.
_CORE = """\
processor	: {}
BogoMIPS	: 108.00
Features	: fp asimd evtstrm crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x0
CPU part	: 0xd08
CPU revision	: 3

"""
_CPUINFO = "".join(_CORE.format(core) for core in range(4)) + f"Revision	: c03115\nModel		: {_MODEL}\n"
#: Of the wheels; the newest is what Debian 12 has the C library for.
_TAGS = ("manylinux_2_36", "manylinux_2_35", "manylinux_2_34", "manylinux_2_28", "manylinux_2_27", "manylinux_2_17")


class NoBoardError(Exception):
    """This machine cannot emulate one; the text says what is missing."""


class Board:
    """The emulated machine; `python` runs there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.root = folder / "root"

    @property
    def packages(self) -> Path:
        return next((self.folder / "lib").glob("python3*")) / "site-packages"

    def run(
        self, *words: str | Path, timeout_s: float = 120.0, environment: Mapping[str, str] | None = None, **options: Any
    ) -> "subprocess.CompletedProcess[str]":
        """Run Python on the board with this repository's source, and return what it said."""
        return subprocess.run(
            [self.python, *words],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environment or {})},
            timeout=timeout_s,
            capture_output=True,
            text=True,
            check=False,
            **options,
        )


def emulator(machine: str = "aarch64") -> Path:
    """Return qemu's program for a machine.

    Raises:
        NoBoardError: it is not installed.
    """
    found = shutil.which(f"qemu-{machine}-static") or shutil.which(f"qemu-{machine}")
    if found is None:
        raise NoBoardError(f"qemu-{machine}-static is not installed (Debian: apt install qemu-user-static)")
    return Path(found)


def make_board() -> Board:
    """Return the board, built if it is not there yet: seconds where packages are near, minutes where not.

    Raises:
        NoBoardError: a tool or a package index is missing.
    """
    emulator()
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise NoBoardError(f"{tool} is not here; the board is made of Debian's packages")
    shelf = Path(os.environ.get("GENBA_BOARDS") or Path.home() / ".cache" / "genba" / "boards")
    shelf.mkdir(parents=True, exist_ok=True)
    folder = shelf / _key()
    with (shelf / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "pyvenv.cfg").exists():
            _build(folder)
        (folder / "pyvenv.cfg").touch()  # used now
        _forget_unused(shelf)
    return Board(folder)


def _forget_unused(shelf: Path) -> None:
    """Remove the boards of other locks that nobody used for two weeks; each takes 400 MB."""
    for configuration in shelf.glob("pi4-*/pyvenv.cfg"):
        if time.time() - configuration.stat().st_mtime > 14 * 86400:
            shutil.rmtree(configuration.parent)


def _key() -> str:
    parts = [str(_FORMAT), _release(), *_requirements(), LOCK.read_text(), str(emulator())]
    return f"pi4-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"


def _release() -> str:
    lines = dict(line.partition("=")[::2] for line in Path("/etc/os-release").read_text().splitlines())
    return f"{lines.get('ID', '')}-{lines.get('VERSION_ID', '')}".replace('"', "")


def _requirements() -> list[str]:
    """What pyproject.toml asks of a device: the base, and ONNX Runtime for the CPU."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["cpu"]]


def _build(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as temporary:
        made = Path(temporary) / "board"
        _unpack_system(made / "root", Path(temporary) / "apt")
        python = next((made / "root" / "usr" / "bin").glob("python3.[0-9]*"))
        _install_wheels(made, python.name)
        (made / "root" / "proc").mkdir()
        (made / "root" / "proc" / "cpuinfo").write_text(_CPUINFO)  # ONNX Runtime does not live without
        _write_python(made, folder, python.name)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)


def _write_python(made: Path, folder: Path, name: str) -> None:
    """Make it a virtual environment: `home` is where Python's own library is found."""
    (made / "bin").mkdir()
    script = made / "bin" / "python"
    root, itself = folder / "root", folder / "bin" / "python"
    command = f"{emulator()} -cpu ${{{OTHER_PROCESSOR}:-{PROCESSOR}}} -L {root} -0 {itself} {root}/usr/bin/{name}"
    script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    script.chmod(0o755)
    (made / "pyvenv.cfg").write_text(f"home = {folder}/root/usr/bin\ninclude-system-site-packages = false\n")


def _unpack_system(root: Path, state: Path) -> None:
    """Python and the C++ library for arm64, with all that they need, by an apt that knows nothing of this machine."""
    root.mkdir(parents=True)
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    configuration = state / "apt.conf"
    configuration.write_text(
        'APT::Architecture "arm64";\nAPT::Architectures { "arm64"; };\nAPT::Install-Recommends "false";\n'
        f'APT::Sandbox::User "";\nDir::State "{state}";\nDir::State::status "{state}/status";\n'
        f'Dir::Cache "{state}/cache";\nDebug::NoLocking "true";\n'
    )
    apt = ["apt-get", "-q", "-y"]
    environment = {**os.environ, "APT_CONFIG": str(configuration)}
    # A source that has nothing for arm64 fails here and matters not: what is missing shows below.
    subprocess.run([*apt, "update"], env=environment, capture_output=True, check=False, timeout=300)
    _done([*apt, "install", "--download-only", "python3", "libstdc++6"], environment)
    for package in sorted((state / "cache" / "archives").glob("*.deb")):
        _done(["dpkg-deb", "-x", str(package), str(root)])


def _install_wheels(made: Path, python: str) -> None:
    version = python.removeprefix("python")
    tags = [f"--platform={tag}_aarch64" for tag in (*_TAGS, "manylinux2014")]
    chosen = ["--only-binary=:all:", "--implementation=cp", f"--python-version={version}", *tags]
    target = made / "lib" / python / "site-packages"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    _done([*pip, "install", "-q", "--no-compile", *chosen, f"--target={target}", f"-c{LOCK}", *_requirements()])


def _done(command: list[str], environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        raise NoBoardError(f"the board cannot be built: {' '.join(command[:3])} ...: {last}")
