"""What an ONNX file says of itself before anything runs it: versions, operators, weights, sizes.

Source: onnx/onnx.proto; docs/IR.md and docs/ExternalData.md of the ONNX project.
"""

import math
import mmap
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from protocols.errors import OnnxRefusedError
from protocols.onnx_wire import fields, numbers, signed

#: The newest that this release of Genba knows: what is above came after it.
NEWEST_IR = 14
NEWEST_OPSETS = {"ai.onnx": 28, "ai.onnx.ml": 5}
#: Protobuf reads no more, so ONNX Runtime loads no more from one file.
LARGEST_FILE_BYTES = 2**31 - 1
#: Domains whose operators one build or another of ONNX Runtime has; any other takes a library that a device lacks.
KNOWN_DOMAINS = frozenset(
    {"ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training"}
    | {"com.microsoft", "com.microsoft.nchwc", "com.microsoft.dml", "com.ms.internal.nhwc", "org.pytorch.aten"}
)
_DEEPEST, _MOST_DIMS = 32, 64
_GRAPH, _FUNCTION = 7, 25
#: Bits of an element by type, in the order of TensorProto.DataType; a text counts as its pointer.
_BITS = (8, 32, 8, 8, 16, 16, 32, 64, 64, 8, 16, 64, 32, 64, 64, 128, 16, 8, 8, 8, 8, 4, 4, 4, 8, 2, 2)
_TEXT = 8

_Message = list[tuple[int, "int | memoryview"]]


class OnnxFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file, as read.

    Attributes:
        ir_version: of the format itself.
        opsets: domain -> version; the standard one is called `ai.onnx`.
        operators: that a runtime must have, as a manifest lists them; functions that the file defines are not among
            them, what they call is.
        external: files beside this one that hold weights, as the file names them.
        largest_name, largest_bytes: the largest tensor whose size is told, an unknown dimension counted as 1.
    """

    ir_version: int
    opsets: dict[str, int]
    operators: tuple[str, ...]
    external: tuple[str, ...] = ()
    largest_name: str = ""
    largest_bytes: int = 0


def read_onnx(data: "bytes | memoryview | mmap.mmap") -> OnnxFile:
    """Read a file's bytes, which may be mapped; weights are not touched.

    Raises:
        OnnxRefusedError: they are not an ONNX model, or not a whole one; one line.
    """
    view = memoryview(data)
    if len(view) > LARGEST_FILE_BYTES:
        raise OnnxRefusedError(f"it is {len(view) >> 20} MiB, and ONNX Runtime loads no file above 2,047")
    return _Reader().read(view)


def check_onnx(file: OnnxFile, newest: Mapping[str, int] = NEWEST_OPSETS) -> None:
    """Return if a device could run the file, as far as it tells.

    Args:
        newest: operator set versions that are known, by domain.

    Raises:
        OnnxRefusedError: its weights lie elsewhere, its operators are nobody's, or it is from the future.
    """
    if file.ir_version > NEWEST_IR:
        raise OnnxRefusedError(
            f"it is in version {file.ir_version} of the ONNX format, and {NEWEST_IR} is the newest known here: "
            f"export it with an older one, or update Genba"
        )
    for domain, version in sorted(file.opsets.items()):
        if version > newest.get(domain, version):
            raise OnnxRefusedError(
                f"it needs opset {version} of {domain}, and {newest[domain]} is the newest known here: "
                f"export it with an older one, or update Genba"
            )
    custom = custom_operators(file.operators)
    if custom:
        raise OnnxRefusedError(
            f"it needs the custom operator{'s' if len(custom) > 1 else ''} {', '.join(custom[:5])}, which no "
            f"ONNX Runtime has without a library of its maker: export it with standard operators"
        )
    if file.external:
        raise OnnxRefusedError(
            f"its weights lie in another file ({file.external[0]!r}), and a model travels as one: save it with its "
            f"weights inside"
        )


def custom_operators(operators: Iterable[str]) -> list[str]:
    """Return those, named as in a manifest, that no build of ONNX Runtime has."""
    return sorted(name for name in operators if "." in name and name.rpartition(".")[0] not in KNOWN_DOMAINS)


class _Reader:
    """Walks one file, and remembers."""

    def __init__(self) -> None:
        self._operators: set[str] = set()
        self._functions: set[str] = set()
        self._external: set[str] = set()
        self._largest = (0, "")

    def read(self, view: memoryview) -> OnnxFile:
        model: _Message = list(fields(view))
        of = [number for number, _ in model]
        ir_version = next((value for number, value in model if number == 1 and isinstance(value, int)), 0)
        opsets = dict(_opset(value) for value in _messages(model, 8))
        if of.count(_GRAPH) != 1 or not ir_version or not opsets:
            raise OnnxRefusedError("it is not an ONNX model: it has no graph, no version or no operator set")
        for graph in _messages(model, _GRAPH):
            self._graph(graph, 0)
        for function in _messages(model, _FUNCTION):
            self._function(function)
        size, name = self._largest
        return OnnxFile(
            ir_version=ir_version,
            opsets=opsets,
            operators=tuple(sorted(self._operators - self._functions)),
            external=tuple(sorted(self._external)),
            largest_name=name,
            largest_bytes=size,
        )

    def _graph(self, graph: memoryview, depth: int) -> None:
        if depth > _DEEPEST:
            raise OnnxRefusedError(f"its graphs lie more than {_DEEPEST} deep in one another")
        for number, value in fields(graph):
            if isinstance(value, int):
                continue
            if number == 1:
                self._node(value, depth)
            elif number == 5:
                self._tensor(value)
            elif number == 15:  # sparse: values and indices are tensors
                for part in _messages(list(fields(value)), 1, 2):
                    self._tensor(part)
            elif number in (11, 12, 13):
                self._value(value)

    def _function(self, function: memoryview) -> None:
        parts: _Message = list(fields(function))
        self._functions.add(_operator(_text(parts, 10), _text(parts, 1)))
        for node in _messages(parts, 7):
            self._node(node, 0)

    def _node(self, node: memoryview, depth: int) -> None:
        parts: _Message = list(fields(node))
        self._operators.add(_operator(_text(parts, 7), _text(parts, 4)))
        for attribute in _messages(parts, 5):
            for number, value in fields(attribute, brief=True):
                if isinstance(value, int):
                    continue
                if number in (5, 10):
                    self._tensor(value)
                elif number in (6, 11):
                    self._graph(value, depth + 1)

    def _tensor(self, tensor: memoryview) -> None:
        parts: _Message = list(fields(tensor))
        dims = [size for number, value in parts if number == 1 for size in numbers(value)]
        kind = next((value for number, value in parts if number == 2 and isinstance(value, int)), 0)
        name = _text(parts, 8)
        size = self._measure(name, dims, kind)
        external = any(number == 14 and value == 1 for number, value in parts)
        if external:
            entries = [list(fields(entry)) for entry in _messages(parts, 13)]
            self._external.update(_text(entry, 2) for entry in entries if _text(entry, 1) == "location")
            return
        for raw in _messages(parts, 9):
            if kind != _TEXT and len(raw) != size:
                raise OnnxRefusedError(f"its tensor {name!r} holds {len(raw)} bytes, and its shape asks for {size}")

    def _value(self, value: memoryview) -> None:
        parts: _Message = list(fields(value))
        for tensor in (found for kind in _messages(parts, 2) for found in _messages(list(fields(kind)), 1)):
            inner: _Message = list(fields(tensor))
            elem = next((number for field, number in inner if field == 1 and isinstance(number, int)), 0)
            dims = [_dim(dim) for shape in _messages(inner, 2) for dim in _messages(list(fields(shape)), 1)]
            self._measure(_text(parts, 1), dims, elem)

    def _measure(self, name: str, dims: list[int], kind: int) -> int:
        """Return a tensor's bytes, and remember the largest."""
        if any(dim < 0 for dim in dims) or len(dims) > _MOST_DIMS:
            raise OnnxRefusedError(f"its tensor {name!r} has the shape {dims[:8]}, which no tensor has")
        bits = _BITS[kind] if kind < len(_BITS) else 8
        size = (math.prod(dims) * bits + 7) // 8
        self._largest = max(self._largest, (size, name))
        return size


def _opset(entry: memoryview) -> tuple[str, int]:
    parts: _Message = list(fields(entry))
    version = next((value for number, value in parts if number == 2 and isinstance(value, int)), 0)
    return _text(parts, 1) or "ai.onnx", signed(version)


def _operator(domain: str, name: str) -> str:
    return f"{domain}.{name}" if domain not in ("", "ai.onnx") else name


def _dim(dim: memoryview) -> int:
    """A dimension's size; one that is only named counts as 1."""
    return next((signed(value) for number, value in fields(dim) if number == 1 and isinstance(value, int)), 1)


def _messages(message: _Message, *wanted: int) -> Iterator[memoryview]:
    return (value for number, value in message if number in wanted and not isinstance(value, int))


def _text(message: _Message, wanted: int) -> str:
    return next((bytes(value).decode(errors="replace") for value in _messages(message, wanted)), "")
