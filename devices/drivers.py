"""What an accelerator's compiled code depends on beside ONNX Runtime: drivers and libraries, and their versions."""

import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path

from devices.cgroups import read_text
from devices.providers import COREML, OPENVINO, QNN, TENSORRT

#: What each provider's engines depend on; a change of anything else is no reason to compile anew.
_MATTERS: Mapping[str, tuple[str, ...]] = {
    TENSORRT: ("nvidia", "jetson", "cuda", "tensorrt", "cudnn"),
    OPENVINO: ("intel-gpu", "intel-npu", "compute-runtime", "openvino"),
    QNN: ("qnn", "kernel"),
    COREML: ("kernel",),
}
_PACKAGES = {
    "cuda": ("nvidia-cuda-runtime-cu13", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime"),
    "cudnn": ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12"),
    "tensorrt": ("tensorrt-cu13", "tensorrt-cu12", "tensorrt"),
    "openvino": ("onnxruntime-openvino", "openvino"),
    "qnn": ("onnxruntime-qnn",),
}
#: Libraries of the system, whose file's name ends with the version.
_LIBRARIES = {
    "cuda": ("usr/local/cuda/lib64/libcudart.so.*", "usr/local/cuda/targets/*/lib/libcudart.so.*"),
    "cudnn": ("usr/lib/*/libcudnn.so.*", "usr/local/cuda/lib64/libcudnn.so.*"),
    "tensorrt": ("usr/lib/*/libnvinfer.so.*", "usr/local/tensorrt/lib/libnvinfer.so.*"),
    "qnn": ("usr/lib/libQnnHtp.so*", "usr/lib/*/libQnnHtp.so*"),
}
_COMPUTE_RUNTIME = ("usr/lib/*/intel-opencl/libigdrcl.so", "usr/lib64/intel-opencl/libigdrcl.so")


def installed_version(package: str) -> str | None:
    """Return the version of an installed Python package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def read_drivers(
    root: Path = Path("/"), installed: Callable[[str], str | None] = installed_version
) -> dict[str, str | None]:
    """Return name -> version of what engines depend on; None where it is not there.

    Args:
        root: where /proc, /sys, /etc and /usr are; a folder of files in tests.
        installed: tells a Python package's version.
    """
    found = {name: _package(names, installed) for name, names in _PACKAGES.items()}
    for name, patterns in _LIBRARIES.items():
        found[name] = found[name] or _library(root, patterns)
    kernel = read_text(root / "proc/sys/kernel/osrelease").strip() or None
    return {
        **found,
        "nvidia": _first_line(root / "proc/driver/nvidia/version"),
        "jetson": _first_line(root / "etc/nv_tegra_release"),
        "intel-gpu": _module(root, ("xe", "i915"), kernel),
        "intel-npu": _module(root, ("intel_vpu",), kernel),
        "compute-runtime": _stamp(root, _COMPUTE_RUNTIME),
        "kernel": kernel,
    }


def drivers_of(provider: str, found: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return those of `read_drivers` that the engines of a provider depend on."""
    return {name: found.get(name) for name in _MATTERS.get(provider, ())}


def _package(names: tuple[str, ...], installed: Callable[[str], str | None]) -> str | None:
    versions = ((name, installed(name)) for name in names)
    return next((f"{name} {version}" for name, version in versions if version), None)


def _library(root: Path, patterns: tuple[str, ...]) -> str | None:
    """Return the longest of the names that a library goes by, which has its whole version."""
    names = [path.name for pattern in patterns for path in root.glob(pattern)]
    return max(names, key=lambda name: (len(name), name), default=None)


def _module(root: Path, names: tuple[str, ...], kernel: str | None) -> str | None:
    """Return the version of the first of these kernel modules that is loaded: its own, or the kernel's."""
    for name in names:
        folder = root / "sys/module" / name
        if folder.is_dir():
            return f"{name} {read_text(folder / 'version').strip() or kernel or ''}".rstrip()
    return None


def _stamp(root: Path, patterns: tuple[str, ...]) -> str | None:
    """Return what tells one build of a library from another where its name does not: size and time of change."""
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            facts = path.stat()
            return f"{path.name} {facts.st_size} {int(facts.st_mtime)}"
    return None


def _first_line(path: Path) -> str | None:
    return next(iter(read_text(path).splitlines()), "").strip() or None
