"""Which build of ONNX Runtime a profile needs, and what that build asks of the system around it."""

from dataclasses import dataclass, replace

from devices.profiles import Profile


@dataclass(frozen=True, slots=True)
class RuntimeBuild:
    """One of the builds of ONNX Runtime, which exclude one another.

    Attributes:
        extra: of the genba package; empty where the wheel is the board vendor's own.
        wheel: the wheel's name, for a person.
        python: the version that the base image brings.
        image: what the container is built on.
        packages: Debian packages that bring Python in, where the image has none.
        groups: whose members may open the accelerator.
        devices: lines of the systemd unit about device files.
        docker: options of `docker run` that hand the accelerator in.
        note: the README's paragraph about the accelerator, a template's name.
        rules: the udev rules, a template's name; None where the distribution's own do.
    """

    extra: str
    wheel: str
    python: str
    image: str
    note: str
    packages: str = ""
    groups: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("PrivateDevices=yes",)
    docker: str = ""
    rules: str | None = None


CPU = RuntimeBuild("cpu", "onnxruntime", "3.12", "docker.io/library/python:3.12-slim-bookworm", "accelerator-none.md")
#: Raspberry Pi OS has the Python of its Debian.
CPU_BOARD = replace(CPU, python="3.13", image="docker.io/library/python:3.13-slim-trixie")
OPENVINO = RuntimeBuild(
    "openvino",
    "onnxruntime-openvino",
    "3.12",
    "docker.io/library/python:3.12-slim-bookworm",
    "accelerator-openvino.md",
    groups=("render", "video"),
    devices=("DevicePolicy=closed", "DeviceAllow=char-drm rw", "DeviceAllow=char-accel rw"),
    docker='--device /dev/dri --group-add "$(getent group render | cut -d: -f3)"',
    rules="70-genba-accelerator.rules",
)
CUDA = RuntimeBuild(
    "gpu",
    "onnxruntime-gpu",
    "3.12",
    "docker.io/nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04",
    "accelerator-cuda.md",
    packages="python3 python3-venv",
    groups=("video",),
    devices=(
        "DevicePolicy=closed",
        "DeviceAllow=char-nvidia rw",
        "DeviceAllow=char-nvidia-frontend rw",
        "DeviceAllow=char-nvidia-uvm rw",
        "DeviceAllow=char-nvidia-caps rw",
    ),
    docker="--gpus all",
)
JETSON = RuntimeBuild(
    "",
    "NVIDIA's onnxruntime-gpu for this JetPack",
    "3.12",
    "docker.io/library/ubuntu:24.04",
    "accelerator-jetson.md",
    packages="python3 python3-venv",
    groups=("video", "render"),
    devices=("# The board's many device files (nvmap, nvhost-*, nvgpu) are guarded by their groups.",),
    docker="--runtime nvidia",
)


def runtime_of(profile: Profile) -> RuntimeBuild:
    """Return the build of ONNX Runtime that has the provider which the profile wants most."""
    wanted = profile.providers[0]
    if wanted == "OpenVINOExecutionProvider":
        return OPENVINO
    if wanted in ("CUDAExecutionProvider", "TensorrtExecutionProvider"):
        return JETSON if profile.arch == "aarch64" else CUDA
    return CPU_BOARD if profile.arch == "aarch64" else CPU
