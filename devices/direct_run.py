"""A session's run without the part of ONNX Runtime's that is written in Python.

That part looks for each input's name in a list of all of them, which takes a time that grows with the square of the
inputs: of 5,000 columns nearly all of a row's time (`benchmarks/wide_rows.py`). The part below it makes the same check
itself, and has no fallback to other providers, of which nobody would hear.

Source: onnxruntime 1.32, `capi/onnxruntime_inference_collection.py`, `Session.run` and `Session._validate_input`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: Takes the names of outputs, None for all, and arrays by the names of inputs; returns the outputs' arrays.
Run = Callable[[Sequence[str] | None, Mapping[str, Any]], list[Any]]


def direct_run(session: Any) -> Run:
    """Return what runs an `onnxruntime.InferenceSession`, or whatever else has its `run`."""
    below = getattr(session, "_sess", None)
    if below is None:
        return lambda outputs, feed: list(session.run(outputs, feed))
    every = [output.name for output in session.get_outputs()]
    return lambda outputs, feed: list(below.run(outputs or every, feed, None))
