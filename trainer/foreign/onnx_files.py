"""ONNX files of other makers, looked at before the `onnx` package and ONNX Runtime touch them."""

import math
import mmap
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError

from protocols.errors import OnnxRefusedError
from protocols.onnx_file import LARGEST_FILE_BYTES, OnnxFile, check_onnx, read_onnx
from trainer.errors import ImportRefusedError


def load_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file, with the weights that lie in files beside it.

    Raises:
        ImportRefusedError: it cannot be read, is no valid ONNX, or no device could run it; one line.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if file.seek(0, 2) else b""
        found = read_onnx(data)
        # Weights beside the file are taken into it; all else is judged as a device will.
        check_onnx(OnnxFile(ir_version=found.ir_version, opsets=found.opsets, operators=found.operators))
        _check_weights(path, found)
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (OnnxRefusedError, OSError, DecodeError, EncodeError, ValueError, onnx.checker.ValidationError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ImportRefusedError(f"{path.name} is not a valid ONNX model: {reason[:300]}") from error
    return model


def _check_weights(path: Path, found: OnnxFile) -> None:
    """Refuse weights that lie anywhere but beside the file: a model must not read what its maker names elsewhere."""
    folder = path.parent.resolve()
    size = path.stat().st_size
    for name in found.external:
        place = (folder / name).resolve()
        if Path(name).is_absolute() or not place.is_relative_to(folder):
            raise OnnxRefusedError(f"its weights lie in {name!r}, outside the model's folder, and are not read")
        if not place.is_file():
            raise OnnxRefusedError(f"its weights lie in {name!r}, which is not beside it: copy that file here as well")
        size += place.stat().st_size
    if size > LARGEST_FILE_BYTES:
        raise OnnxRefusedError(f"with its weights it is {math.ceil(size / 2**20):,} MiB; a release holds up to 2,047")
