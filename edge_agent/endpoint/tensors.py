"""Tensors as the Open Inference Protocol writes them: in JSON, and in binary behind it.

Sources: Open Inference Protocol, "HTTP/REST"; Triton Inference Server, "Binary Tensor Data Extension" (raw
little-endian values in row-major order; each text with four bytes of length before it).
"""

import functools
import itertools
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from edge_agent.errors import CallRefusedError

Array = np.ndarray[Any, Any]

#: The protocol's datatypes, as NumPy stores them.
DATATYPES: dict[str, str] = {
    "BOOL": "|b1", "UINT8": "|u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "|i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "BYTES": "object",
}  # fmt: skip
_NAMES = {(np.dtype(stored).kind, np.dtype(stored).itemsize): name for name, stored in DATATYPES.items()}
#: A number takes some ten times more memory once it is read from JSON, and holds up every other thread while it is.
JSON_LIMIT_BYTES = 2 * 1024 * 1024
#: Of a shape.
Length = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class TensorIn(msgspec.Struct):
    """An input of a request. `data` is left as it came until it is known what it should be."""

    name: str
    datatype: str
    shape: Annotated[list[Length], msgspec.Meta(max_length=8)]
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = msgspec.Raw()


class OutputAsked(msgspec.Struct):
    """An output that a request asks for."""

    name: str
    parameters: dict[str, Any] = {}


class InferCall(msgspec.Struct):
    """The body of an infer request; fields that it does not know are ignored."""

    inputs: list[TensorIn]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[OutputAsked] = []


class Column(msgspec.Struct):
    """An input of a table in its most frequent form; `parameters` that are there are another form."""

    name: str
    datatype: Literal["FP32"]
    shape: tuple[int, int]
    data: list[float | None]
    parameters: None = None


class TableCall(msgspec.Struct):
    """An infer request whose inputs are all columns of numbers in JSON."""

    inputs: list[Column]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[OutputAsked] = []


#: What a request wants back is told alike by both.
Asking = InferCall | TableCall

_table_decoder = msgspec.json.Decoder(TableCall)
_call_decoder = msgspec.json.Decoder(InferCall)


def read_call(body: bytes, json_bytes: str | None) -> tuple[InferCall, memoryview]:
    """Return the request, and what follows it in binary.

    Raises:
        CallRefusedError: it is none; the text names the field.
    """
    size = len(body)
    if json_bytes is not None:
        # Python reads no number of some thousand digits.
        if not json_bytes.isdecimal() or len(json_bytes) > 10 or int(json_bytes) > size:
            raise CallRefusedError(400, f"Inference-Header-Content-Length is {json_bytes[:20]!r} of {size} bytes")
        size = int(json_bytes)
    if size > JSON_LIMIT_BYTES:
        allowed = f"the request has {size} bytes of JSON, and {JSON_LIMIT_BYTES} are allowed"
        raise CallRefusedError(413, f"{allowed}; send its tensors in binary (binary_data_size), or fewer rows at once")
    whole = memoryview(body)
    try:
        return _call_decoder.decode(whole[:size]), whole[size:]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallRefusedError(400, f"the body is no infer request: {error}") from error


def read_table_call(body: bytes) -> TableCall | None:
    """Return the request, or None where it is not of this form: `read_call` then says what it is."""
    try:
        return _table_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class Binary:
    """The binary part of a request, taken tensor by tensor."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def take(self, tensor: TensorIn) -> memoryview | None:
        """Return a tensor's part, or None where its data are in the JSON."""
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            return None
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(self._data):
            raise CallRefusedError(400, f"{tensor.name}: binary_data_size is {size!r}; {len(self._data)} bytes follow")
        part, self._data = self._data[:size], self._data[size:]
        return part

    def check_empty(self) -> None:
        if len(self._data):
            raise CallRefusedError(400, f"{len(self._data)} bytes of binary data belong to no input")


def read_tensor(tensor: TensorIn, binary: memoryview | None) -> Array:
    """Return a tensor's values in the shape that it claims, in the type that its datatype names.

    JSON null is NaN among numbers with a fraction and "" among texts: not measured.

    Raises:
        CallRefusedError: data, datatype and shape contradict each other.
    """
    stored, name = DATATYPES.get(tensor.datatype), tensor.name
    if stored is None:
        raise CallRefusedError(400, f"{name}: there is no datatype {tensor.datatype[:20]!r}")
    found = _from_json(tensor, stored) if binary is None else _from_binary(tensor, stored, binary)
    if found.size != math.prod(tensor.shape):
        raise CallRefusedError(400, f"{name}: {found.size} values do not fill the shape {tensor.shape}")
    return found.reshape(tensor.shape)


def _from_json(tensor: TensorIn, stored: str) -> Array:
    raw = memoryview(tensor.data)
    depth = _depth(raw)
    if depth not in (1, len(tensor.shape)):
        told = f"nested {depth} deep" if depth else "no list" if len(raw) else "missing"
        raise CallRefusedError(400, f"{tensor.name}: its data are {told}, and its shape is {tensor.shape}")
    try:
        values = _decoder(tensor.datatype, depth).decode(raw)
        found = _texts(values, depth) if stored == "object" else np.array(values, dtype=stored)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise CallRefusedError(400, f"{tensor.name}: its data are not {tensor.datatype}: {error}") from error
    except ValueError as error:
        raise CallRefusedError(400, f"{tensor.name}: its nested lists differ in length") from error
    if depth > 1 and list(found.shape) != tensor.shape:
        raise CallRefusedError(400, f"{tensor.name}: its data have the shape {list(found.shape)}, not {tensor.shape}")
    return found


def _depth(raw: memoryview) -> int:
    depth = 0
    for byte in raw:
        if byte == 0x5B:  # [
            depth += 1
        elif byte not in b" \t\r\n":
            break
    return depth


@functools.cache
def _decoder(datatype: str, depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = int
    if datatype == "BYTES":
        kind = str | None
    elif datatype == "BOOL":
        kind = bool
    elif datatype.startswith("FP"):
        kind = float | None
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def _texts(values: list[Any], depth: int) -> Array:
    """Return texts in the shape that their lists have; left to NumPy, lists of different lengths would be values."""
    shape = [len(values)]
    for _ in range(depth - 1):
        lengths = {len(part) for part in values}
        if len(lengths) > 1:
            raise ValueError
        shape.append(lengths.pop() if lengths else 0)
        values = list(itertools.chain.from_iterable(values))
    found = np.empty(len(values), dtype=object)
    found[:] = ["" if text is None else text for text in values]
    return found.reshape(shape)


def _from_binary(tensor: TensorIn, stored: str, binary: memoryview) -> Array:
    if stored == "object":
        return np.array(list(_split_texts(tensor.name, binary)), dtype=object)
    each = np.dtype(stored).itemsize
    if len(binary) != each * math.prod(tensor.shape):
        raise CallRefusedError(
            400, f"{tensor.name}: {len(binary)} bytes of {tensor.datatype} do not fill the shape {tensor.shape}"
        )
    return np.frombuffer(binary, dtype=stored).copy()  # in a request they lie anywhere; ONNX Runtime wants them aligned


def _split_texts(name: str, binary: memoryview) -> Iterator[str]:
    place = 0
    while place < len(binary):
        if place + 4 > len(binary):
            raise CallRefusedError(400, f"{name}: its last text has no whole length before it")
        (size,) = struct.unpack_from("<I", binary, place)
        place += 4 + size
        if place > len(binary):
            raise CallRefusedError(400, f"{name}: a text of {size} bytes goes beyond its data")
        try:
            yield str(binary[place - size : place], "utf-8")
        except UnicodeDecodeError as error:
            raise CallRefusedError(400, f"{name}: a text is not UTF-8: {error.reason}") from error


def datatype_of(array: Array) -> str:
    """Return the protocol's name of an array's type; texts of any kind are BYTES."""
    kind = array.dtype.kind
    return "BYTES" if kind in "OUS" else _NAMES[kind, array.dtype.itemsize]


def to_binary(array: Array) -> bytes:
    """Return an array as the binary extension carries it."""
    if array.dtype.kind not in "OUS":
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    texts = [str(text).encode() for text in array.ravel().tolist()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def shape_text(shape: Sequence[int | None]) -> list[int]:
    """Return a manifest's shape as the protocol writes it: -1 for any length."""
    return [-1 if length is None else length for length in shape]
