"""Machines made of files, and probes of machines that are not at hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from devices.probe import Probe
from devices.runtime import Runtime

MB = 1024 * 1024
RUNTIME = Runtime("1.20.1", ("CPUExecutionProvider",), 21, 5)
PI = Probe(
    arch="aarch64",
    system="Debian GNU/Linux 12 (bookworm)",
    board="Raspberry Pi 4 Model B Rev 1.5",
    cpu="Cortex-A72",
    cores=4,
    memory_bytes=3800 * MB,
    memory_free_bytes=3000 * MB,
    disk_free_bytes=20_000 * MB,
    onnxruntime="1.20.1",
    providers=("CPUExecutionProvider",),
    opset=21,
    opset_ml=5,
)


@pytest.fixture
def pi() -> Callable[..., Probe]:
    """A Raspberry Pi 4, with fields changed."""

    def made(**fields: Any) -> Probe:
        return msgspec.structs.replace(PI, **fields)

    return made


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Write a machine's kernel files, path -> text, and return its root."""

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / "machine" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (tmp_path / "machine").mkdir(exist_ok=True)
        return tmp_path / "machine"

    return write


@pytest.fixture
def runtime() -> Runtime:
    return RUNTIME
