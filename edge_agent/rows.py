"""Sensor messages to model inputs: decode, find each feature, check it, make columns. Every refusal has a reason."""

import itertools
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from edge_agent.columns import Array, ColumnMaker
from edge_agent.rejections import PAYLOAD_LIMIT_BYTES, Rejection
from protocols.assignment import StreamBinding
from protocols.manifest import TensorSpec
from protocols.payloads import ABSENT, Path, begins, extract, parse_path, quote_name

Key = str | int | float | None


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch that can be served. `accepted[i]` is the place in the given payloads of row i.

    `columns` are what the graph takes; rows are their first axis. `warming` are the places of rows that no answer
    belongs to, since they only fill a window.
    """

    columns: list[Array]
    keys: Sequence[Key]
    accepted: Sequence[int]
    rejected: list[tuple[int, Rejection]]
    #: float32, (columns, rows): the inputs that are numbers, float32 before int64. Of a window, its newest row.
    numbers: Array
    warming: Sequence[int] = ()
    #: What reading took, where that is more than microseconds.
    reading_s: float = 0.0

    def only(self, row: int) -> "Rows":
        """Return one row alone."""
        part = slice(row, row + 1)
        columns = [column[part] for column in self.columns]
        return Rows(columns, [self.keys[row]], [self.accepted[row]], [], self.numbers[:, part])


class RowReader:
    """Reads the messages of one stream for one model.

    A fast path decodes the wanted fields alone, into a type made for them; what that refuses is looked at again,
    field by field, for the reason.
    """

    quick = True
    payload_limit_bytes = PAYLOAD_LIMIT_BYTES
    held = needed = 0

    def __init__(self, inputs: Sequence[TensorSpec], binding: StreamBinding) -> None:
        self._inputs = inputs
        self.most_rows = binding.max_batch
        texts = [binding.inputs.get(spec.name) or quote_name(spec.name) for spec in inputs]
        self._paths = [parse_path(text) for text in texts]
        self._key = parse_path(binding.key) if binding.key else None
        self._fast = _fast_reader(inputs, self._paths, self._key)
        self._columns = ColumnMaker(inputs)

    def read(self, payloads: Sequence[bytes], alive: Callable[[], None] = lambda: None) -> Rows:
        """Return the columns of what can be served, (rows, 1) each, and why the rest cannot."""
        rows: list[tuple[Any, ...]] = []
        accepted: list[int] = []
        rejected: list[tuple[int, Rejection]] = []
        for index, payload in enumerate(payloads):
            row = self._fast(payload) if self._fast is not None else None
            if row is None:
                found = self._read_one(payload)
                if isinstance(found, Rejection):
                    rejected.append((index, found))
                    continue
                row = found
            rows.append(row)
            accepted.append(index)
        return self._made(rows, accepted, rejected)

    def begin_anew(self) -> None:
        """Nothing is kept from one row to the next."""

    def key_of(self, payload: bytes) -> Key:
        """Return the key of a message that is not read further; None where it has none."""
        if self._key is None:
            return None
        try:
            return as_key(extract(msgspec.json.decode(payload), self._key))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def _made(self, rows: list[tuple[Any, ...]], accepted: list[int], rejected: list[tuple[int, Rejection]]) -> Rows:
        if not rows:
            return Rows([], [], [], rejected, np.empty((0, 0), np.float32))
        *values, keys = zip(*rows, strict=True)
        made = self._columns.make(values)
        infinite = np.isinf(made.numbers)
        if infinite.any():
            wrong = np.logical_or.reduce(infinite)
            for row in np.flatnonzero(wrong).tolist():
                name = self._columns.number_names[int(np.argmax(infinite[:, row]))]
                text = f"{name}: the number is beyond what a float32 can hold"
                rejected.append((accepted[row], Rejection("not-finite", text)))
            good: Array = ~wrong
            made = self._columns.picked(made, good)
            accepted = list(itertools.compress(accepted, good))
            keys = tuple(itertools.compress(keys, good))
        named = [as_key(key) for key in keys] if self._key else keys
        numbers = made.numbers
        if made.counts.size:
            numbers = np.concatenate([numbers, made.counts], dtype=np.float32)
        return Rows(self._columns.ordered(made), named, accepted, rejected, numbers)

    def _read_one(self, payload: bytes) -> tuple[Any, ...] | Rejection:
        try:
            document = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if "out of range" in str(error):
                return Rejection("not-finite", str(error))
            return Rejection("not-json", f"{error}; {begins(payload)}")
        if not isinstance(document, dict):
            return Rejection("not-an-object", f"it is {_kind(document)}; a sensor message is a JSON object")
        row: list[Any] = []
        for spec, path in zip(self._inputs, self._paths, strict=True):
            value = extract(document, path)
            rejection = _check(spec, value, path)
            if rejection is not None:
                return rejection
            row.append(float(value) if spec.dtype == "float32" and value is not None else value)
        row.append(extract(document, self._key) if self._key is not None else None)
        return tuple(row)


def _check(spec: TensorSpec, value: Any, path: Path) -> Rejection | None:
    if value is ABSENT:
        where = show_path(path)
        return Rejection("missing-feature", f"{spec.name}: nothing at {where} (null would mean: not measured)")
    if spec.dtype == "float32":
        wrong = value is not None and not isinstance(value, int | float)  # true and false are 1 and 0
        wanted = "a number"
    elif spec.dtype == "int64":
        wrong = not isinstance(value, int) or not -(2**63) <= value < 2**63
        wanted = "a whole number"
    else:
        wrong = value is not None and not isinstance(value, str)
        wanted = "text"
    if wrong:
        return Rejection("wrong-type", f"{spec.name}: {_kind(value)} at {show_path(path)}, expected {wanted}")
    if isinstance(value, int) and abs(value) > 10**300:
        return Rejection("not-finite", f"{spec.name}: the number is beyond what a float32 can hold")
    return None


def as_key(value: Any) -> Key:
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else None


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    kinds = {dict: "an object", list: "a list", bool: "true or false", type(None): "null", int: "a number"}
    return kinds.get(type(value), "a number")


def show_path(path: Path) -> str:
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


#: msgspec gives a field no name with a backslash, a double quote or a control character in it.
_NAMEABLE = re.compile(r"[^\\\"\x00-\x1f]+")
_TYPES: dict[str, Any] = {"float32": float | bool | None, "int64": int | bool, "string": str | None}


def _fast_reader(
    inputs: Sequence[TensorSpec], paths: Sequence[Path], key: Path | None
) -> Callable[[bytes], tuple[Any, ...] | None] | None:
    """Return a function from payload to row (inputs, then key), or to None where the slow path must look.

    None instead of a function: a path goes into a list, has an odd name, or contradicts another.
    """
    leaves: list[tuple[Path, Any, bool]] = [
        (path, _TYPES[spec.dtype], True) for spec, path in zip(inputs, paths, strict=True)
    ]
    if key is not None:
        leaves.append((key, Any, False))
    tree: dict[str | int, Any] = {}
    names: list[str] = []
    for path, kind, required in leaves:
        name = _plant(tree, path, kind, required=required)
        if name is None:
            return None
        names.append(name)
    decoder = msgspec.json.Decoder(_struct(tree))
    getters = [operator.attrgetter(name) for name in names]
    get = operator.attrgetter(*names) if len(names) > 1 else lambda document: (getters[0](document),)
    tail: tuple[Any, ...] = () if key is not None else (None,)

    def read(payload: bytes) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] = get(decoder.decode(payload))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return row + tail

    return read


def _plant(tree: dict[str | int, Any], path: Path, kind: Any, *, required: bool) -> str | None:
    """Put a leaf into the tree of wanted fields and return its attribute path, or None if it has no place there."""
    names: list[str] = []
    for depth, step in enumerate(path):
        if isinstance(step, int) or not _NAMEABLE.fullmatch(step):
            return None
        last = depth == len(path) - 1
        if step not in tree:
            tree[step] = (kind, required) if last else {}
        elif isinstance(tree[step], dict) == last or (last and kind not in (Any, tree[step][0])):
            return None
        names.append(f"f{list(tree).index(step)}")
        if not last:
            tree = tree[step]
    return ".".join(names)


def _struct(tree: dict[str | int, Any]) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for index, node in enumerate(tree.values()):
        if isinstance(node, dict):
            fields.append((f"f{index}", _struct(node)))
        elif node[1]:
            fields.append((f"f{index}", node[0]))
        else:
            fields.append((f"f{index}", node[0], None))
    rename = {f"f{index}": str(step) for index, step in enumerate(tree)}
    return msgspec.defstruct("Wanted", fields, rename=rename, kw_only=True, gc=False)
