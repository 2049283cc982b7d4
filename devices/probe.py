"""The probe: what this machine really has. Facts only; whether they are enough is said by `devices.fit`."""

import os
import shutil
from pathlib import Path

import msgspec

from devices.accelerators import read_accelerators
from devices.cgroups import Limits, counts_memory, read_limits, read_text
from devices.processors import processor_name
from devices.runtime import Runtime, ask_runtime

_ARCH = {"amd64": "x86_64", "arm64": "aarch64"}
#: CPU features that change how fast a model runs; the kernel lists a hundred others.
CPU_FEATURES = frozenset(
    {"sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16"}
    | {"amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "fphp", "sve", "sve2", "i8mm", "bf16"}
)


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One machine. It is flat, so that it travels in an enrolment and in a device's status as it is.

    Attributes:
        arch: as `uname -m` says it: x86_64, aarch64.
        system: the distribution's name and version.
        board: the board's model, where the firmware says it (Raspberry Pi, Jetson); else None.
        cpu: the processor's name; on Arm that of its cores.
        cores: usable by this process, after affinity and container limits; a part of one counts as one.
        memory_bytes, memory_free_bytes: of the machine or the container, whichever is less.
        disk_free_bytes: where the agent's folder is or will be.
        cpu_features: those that matter to inference.
        accelerators: one line each.
        onnxruntime: version of the installed ONNX Runtime; None: none that loads, and `runtime_fault` says why.
        providers: execution providers that it was built with; whether one works shows in preflight.
        opset, opset_ml: highest operator sets of ai.onnx and ai.onnx.ml that it reads.
        memory_limits: whether the kernel holds a service to a memory limit; None: it does not say.
    """

    arch: str
    system: str
    board: str | None
    cpu: str
    cores: int
    memory_bytes: int
    memory_free_bytes: int
    disk_free_bytes: int
    cpu_features: tuple[str, ...] = ()
    accelerators: tuple[str, ...] = ()
    onnxruntime: str | None = None
    runtime_fault: str | None = None
    providers: tuple[str, ...] = ()
    opset: int = 0
    opset_ml: int = 0
    memory_limits: bool | None = None

    def flat(self) -> dict[str, bool | int | float | str | list[str] | None]:
        """Return the probe as JSON takes it; `msgspec.convert(..., Probe)` reads it back."""
        fields: dict[str, bool | int | float | str | list[str] | None] = msgspec.to_builtins(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def read_probe(folder: Path = Path(), *, root: Path = Path("/"), runtime: Runtime | None = None) -> Probe:
    """Look at this machine.

    Args:
        folder: whose disk counts; it need not exist yet.
        root: where /proc, /sys, /dev and /etc are; a folder of files in tests.
        runtime: what is known of ONNX Runtime; None: a child process is asked, which takes about a second.
    """
    runtime = ask_runtime() if runtime is None else runtime
    limits = read_limits(root)
    cores = [_fields(block) for block in read_text(root / "proc/cpuinfo").split("\n\n")]
    cpuinfo = {name: value for core in reversed(cores) for name, value in core.items()}
    memory, free = _memory(root, limits)
    machine = os.uname().machine
    board = read_text(root / "proc/device-tree/model").strip("\x00\n ") or cpuinfo.get("Model")
    return Probe(
        arch=_ARCH.get(machine, machine),
        system=_fields(read_text(root / "etc/os-release"), "=").get("PRETTY_NAME", os.uname().sysname).strip('"'),
        board=board,
        cpu=processor_name(cores) or board or machine,
        cores=usable_cores(limits),
        memory_bytes=memory,
        memory_free_bytes=free,
        disk_free_bytes=_disk_free(folder),
        cpu_features=_features(cpuinfo),
        accelerators=read_accelerators(root),
        onnxruntime=runtime.version,
        runtime_fault=runtime.fault,
        providers=runtime.providers,
        opset=runtime.opset,
        opset_ml=runtime.opset_ml,
        memory_limits=counts_memory(root),
    )


def _fields(text: str, sign: str = ":") -> dict[str, str]:
    """Return key -> value of `key : value` lines; the first of a key counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, between, value = line.partition(sign)
        if between:
            found.setdefault(key.strip(), value.strip())
    return found


def _features(cpuinfo: dict[str, str]) -> tuple[str, ...]:
    words = (cpuinfo.get("flags") or cpuinfo.get("Features") or "").split()
    return tuple(sorted(CPU_FEATURES.intersection(words)))


def usable_cores(limits: Limits) -> int:
    """Return the cores that this process may use, by affinity and container; a part of one counts as one."""
    usable = len(os.sched_getaffinity(0))
    return max(1, min(usable, round(limits.cores))) if limits.cores is not None else usable


def _memory(root: Path, limits: Limits) -> tuple[int, int]:
    meminfo = _fields(read_text(root / "proc/meminfo"))
    total, free = (_kilobytes(meminfo.get(name, "")) for name in ("MemTotal", "MemAvailable"))
    if limits.memory_bytes is not None:
        total = min(total, limits.memory_bytes) if total else limits.memory_bytes
        free = min(free, max(0, limits.memory_bytes - limits.memory_used_bytes))
    return total, free


def _kilobytes(text: str) -> int:
    number = text.removesuffix("kB").strip()
    return int(number) * 1024 if number.isdigit() else 0


def _disk_free(folder: Path) -> int:
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
