"""The worker: takes calls from its pipe, one after the other, and answers each."""

import os
import pickle
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from trainer.workers.calls import Failure
from trainer.workers.memory import Peak, cap_memory

_LONGEST_LINE = 500
#: What a worker answers to a call: value, failure, seconds, bytes.
Answer = tuple[Any, Failure | None, float, int]


def work(descriptor: int) -> None:
    """Get the material, say that it is there, answer calls until the pipe closes."""
    pipe = Connection(descriptor)
    setup, memory_bytes = pickle.loads(pipe.recv_bytes())  # noqa: S301  # from the process that started this one
    material: tuple[Any, ...] = ()
    failure = None
    try:
        if setup is not None:
            material = (pickle.loads(setup)(),)  # noqa: S301
        cap_memory(memory_bytes)
    except BaseException as error:  # the caller is told
        failure = failure_of(error)
    pipe.send_bytes(pickle.dumps(failure))
    while failure is None:
        try:
            task = pipe.recv_bytes()
        except EOFError:
            break
        try:
            pipe.send_bytes(answer(task, material))
        except BrokenPipeError:
            break
    os._exit(0)


def answer(task: bytes, material: tuple[Any, ...]) -> bytes:
    """Run a pickled call and return its pickled `Answer`."""
    peak, began = Peak(), time.perf_counter()
    try:
        call, args = pickle.loads(task)  # noqa: S301
        value = call(*material, *args)
        seconds = time.perf_counter() - began
        try:
            return pickle.dumps((value, None, seconds, peak.bytes_()), pickle.HIGHEST_PROTOCOL)
        except Exception as error:
            text = f"its result, {type(value).__name__}, cannot be sent back: {_line(error)}"
            failure = Failure("memory" if isinstance(error, MemoryError) else "error", text, type(error).__name__)
    except BaseException as error:  # a call may do anything, and the caller hears of it
        failure = failure_of(error)
    return pickle.dumps((None, failure, time.perf_counter() - began, peak.bytes_()))


def failure_of(error: BaseException) -> Failure:
    """What a person reads of an exception."""
    name = type(error).__name__
    said = _line(error)
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, MemoryError):
        return Failure(
            "memory", f"it needs more memory than a worker may have{f': {said}' if said else ''}", name, trace
        )
    return Failure("error", f"{name}: {said}" if said else name, name, trace)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:_LONGEST_LINE]


def pack(call: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    """Pickle a call for `answer`."""
    return pickle.dumps((call, args), pickle.HIGHEST_PROTOCOL)
