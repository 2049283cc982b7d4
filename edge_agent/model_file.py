"""A release's model.onnx as a file, looked at before ONNX Runtime reads it."""

import mmap
from pathlib import Path

from edge_agent.errors import ReleaseDamagedError, ReleaseRefusedError
from protocols.errors import OnnxRefusedError
from protocols.onnx_file import OnnxFile, check_onnx, read_onnx


def check_model_file(path: Path, memory_bytes: int = 0) -> OnnxFile:
    """Return what a model's file says of itself, if a device could run it.

    Args:
        memory_bytes: most that it may take here; 0: no limit.

    Raises:
        ReleaseRefusedError: it is no ONNX model or not a whole one, or it asks for what no device gives; one line.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if file.seek(0, 2) else b""
    except OSError as error:
        raise ReleaseDamagedError(f"{path.name}: {error.strerror}; fetch the release again") from error
    try:
        found = read_onnx(data)
        check_onnx(found)
    except OnnxRefusedError as error:
        raise ReleaseRefusedError(f"{path.name}: {error}") from error
    if memory_bytes and found.largest_bytes > memory_bytes:
        raise ReleaseRefusedError(
            f"{path.name}: its tensor {found.largest_name!r} alone takes {found.largest_bytes >> 20} MiB, and "
            f"{memory_bytes >> 20} MiB are allowed here"
        )
    return found
