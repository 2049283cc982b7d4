"""The installed ONNX Runtime: version, execution providers, and the operator sets that it really reads.

It is asked in a child process (`python -m devices.runtime`), so that the asking process loads no ONNX Runtime and
survives a GPU driver that crashes or hangs on being looked at.
"""

import os
import subprocess
import sys

import msgspec

#: No released operator set is near these; the search goes down from them.
_HIGHEST = {"ai.onnx": 64, "ai.onnx.ml": 16}


class Runtime(msgspec.Struct, frozen=True):
    """What is installed. `version` None: nothing usable, and `fault` says why. Opset 0: none is read."""

    version: str | None = None
    providers: tuple[str, ...] = ()
    opset: int = 0
    opset_ml: int = 0
    fault: str | None = None


def ask_runtime(timeout_s: float = 60.0) -> Runtime:
    """Return what a child process finds installed; it never raises, since a broken runtime is a finding."""
    try:
        child = subprocess.run(
            [sys.executable, "-m", "devices.runtime"],
            capture_output=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
            # The child finds what this process finds, however it was started.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    except subprocess.TimeoutExpired:
        return Runtime(fault=f"ONNX Runtime did not answer within {timeout_s:g} s")
    if child.returncode != 0:
        last = child.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit status {child.returncode}"]
        return Runtime(fault=f"ONNX Runtime cannot be loaded: {last[0][:200]}")
    return msgspec.json.decode(child.stdout.splitlines()[-1], type=Runtime)


def read_runtime() -> Runtime:
    """Look at the ONNX Runtime of this process, which loads it."""
    try:
        import onnxruntime
    except ImportError as error:
        return Runtime(fault=f"not installed ({error}): pip install 'genba[cpu]'")
    onnxruntime.set_default_logger_severity(4)

    def reads(domain: str, opset: int) -> bool:
        try:
            onnxruntime.InferenceSession(identity_model({domain: opset}), providers=["CPUExecutionProvider"])
        except Exception:  # the binding's errors share no root but Exception; here each means "no"
            return False
        return True

    highest = {
        domain: next((opset for opset in range(top, 0, -1) if reads(domain, opset)), 0)
        for domain, top in _HIGHEST.items()
    }
    providers = tuple(onnxruntime.get_available_providers())
    return Runtime(str(onnxruntime.__version__), providers, highest["ai.onnx"], highest["ai.onnx.ml"])


def identity_model(opsets: dict[str, int]) -> bytes:
    """Return the smallest ONNX model there is, y = x, which imports these operator sets.

    Written by hand, since a device has no `onnx` package.

    Source: onnx/onnx.proto3, messages ModelProto, GraphProto, NodeProto, ValueInfoProto.
    """
    imports = {"ai.onnx": 13, **opsets}
    node = _field(1, b"x") + _field(2, b"y") + _field(4, b"Identity")
    tensor = _field(1, _number(1, 1) + _field(2, _field(1, _number(1, 1))))  # float32, shape (1)
    sides = _field(11, _field(1, b"x") + _field(2, tensor)) + _field(12, _field(1, b"y") + _field(2, tensor))
    graph = _field(1, node) + _field(2, b"identity") + sides
    versions = b"".join(
        _field(8, (_field(1, domain.encode()) if domain != "ai.onnx" else b"") + _number(2, version))
        for domain, version in imports.items()
    )
    return _number(1, 8) + _field(7, graph) + versions


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field; the length must fit one byte of a varint, so under 128, as all here do."""
    return bytes([number << 3 | 2, len(value)]) + value


def _number(number: int, value: int) -> bytes:
    """A varint field, of one byte: under 128."""
    return bytes([number << 3, value])


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(read_runtime()) + b"\n")
