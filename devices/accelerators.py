"""Accelerators that this machine shows: device files and what the kernel says of them. No driver is loaded."""

from collections.abc import Iterator
from pathlib import Path

from devices.cgroups import read_text

_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel", "0x14e4": "Broadcom", "0x1af4": "virtio"}
#: (pattern under /dev, what it is).
_PLAIN = (
    ("nvhost-gpu", "NVIDIA Jetson GPU"),
    ("nvhost-ctrl", "NVIDIA Jetson"),
    ("accel/accel[0-9]*", "NPU"),
    ("kfd", "AMD compute"),
    ("apex_[0-9]*", "Coral Edge TPU"),
    ("hailo[0-9]*", "Hailo"),
    ("dxg", "GPU by WSL"),
)


def read_accelerators(root: Path = Path("/")) -> tuple[str, ...]:
    """Return one line an accelerator, `/dev/nvidia0: NVIDIA L4`, in the order of their names.

    An accelerator is something to run a model on only where the installed ONNX Runtime has a provider for it.

    Args:
        root: where /dev, /proc and /sys are; a folder of files in tests.
    """
    found = [*_nvidia(root), *_render_nodes(root), *_others(root)]
    return tuple(sorted(f"/dev/{node}: {text}" for node, text in found))


def _nvidia(root: Path) -> Iterator[tuple[str, str]]:
    models = {}
    for page in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        fields = dict(line.split(":", 1) for line in read_text(page).splitlines() if ":" in line)
        models[fields.get("Device Minor", "").strip()] = fields.get("Model", "").strip()
    for node in sorted(root.glob("dev/nvidia[0-9]*")):
        yield node.name, models.get(node.name.removeprefix("nvidia")) or "NVIDIA GPU"


def _render_nodes(root: Path) -> Iterator[tuple[str, str]]:
    for node in sorted(root.glob("dev/dri/renderD*")):
        device = root / "sys/class/drm" / node.name / "device"
        vendor = read_text(device / "vendor").strip()
        driver = next(
            (line[7:] for line in read_text(device / "uevent").splitlines() if line.startswith("DRIVER=")), ""
        )
        yield f"dri/{node.name}", f"{_VENDORS.get(vendor, vendor)} GPU {driver}".strip()


def _others(root: Path) -> Iterator[tuple[str, str]]:
    for pattern, text in _PLAIN:
        for node in sorted(root.glob(f"dev/{pattern}")):
            yield str(node.relative_to(root / "dev")), text
