"""Hypothesis strategies for any of the protocol's types, from their annotations."""

import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import strategies as st

from protocols.messages import Number

#: What MessagePack and JSON can both carry.
_INTEGERS = st.integers(-(2**63), 2**63 - 1)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    st.none() | st.booleans() | _INTEGERS | _FLOATS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    Any: _JSON,
    bool: st.booleans(),
    int: _INTEGERS,
    Number: st.integers(0, 2**63 - 1),
    float: _FLOATS,
    str: st.text(max_size=12),
    bytes: st.binary(max_size=24),
    type(None): st.none(),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for an annotation; structs keep the version they speak."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    arguments = get_args(hint)
    origin = get_origin(hint)
    if hint is msgspec.UnsetType:
        return st.just(msgspec.UNSET)
    if origin is Annotated:
        low, high = hint.__metadata__[0].ge, hint.__metadata__[0].le
        ranged = {int: st.integers(low, high), float: st.floats(low, high)}
        return ranged[hint.__origin__] if hint.__origin__ in ranged else values_of(hint.__origin__)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, types.UnionType):
        return st.one_of([values_of(argument) for argument in arguments])
    if origin is tuple and arguments[-1] is not ...:
        return st.tuples(*map(values_of, arguments))
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=3).map(tuple)
    if origin is list:
        return st.lists(values_of(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(values_of(arguments[0]), values_of(arguments[1]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        hints = get_type_hints(hint, include_extras=True)
        fields = {name: kind for name, kind in hints.items() if name in hint.__struct_fields__}
        return st.builds(hint, **{name: values_of(kind) for name, kind in fields.items() if name != "v"})
    raise TypeError(f"no strategy for {hint!r}")


@pytest.fixture(scope="session")
def structs() -> Callable[[Any], st.SearchStrategy[Any]]:
    return values_of
