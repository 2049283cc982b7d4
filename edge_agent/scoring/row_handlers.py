"""What Arrow calls from its own threads. Python must not end while Arrow still holds it.

A reader of Arrow's that is dropped half way lets go of its handler in a thread of Arrow's, a moment later. If Python
has begun to end by then, that thread cannot take the interpreter's lock, and the whole process is aborted (Arrow's
GH-38626).
"""

import atexit
import time
import weakref
from collections.abc import Callable
from typing import Any

_PATIENCE_S = 5.0
_POLL_S = 0.001

_lent: list[weakref.ref[Any]] = []


def lent_to_arrow(handler: Callable[[Any], str]) -> Callable[[Any], str]:
    """Return a handler that Python's end waits for; nothing but Arrow may keep it."""
    _lent[:] = [reference for reference in _lent if reference() is not None]
    _lent.append(weakref.ref(handler))
    return handler


@atexit.register
def wait_for_arrow() -> None:
    """Return once Arrow has let go of every handler; a reader that somebody still keeps is not waited for long."""
    until = time.monotonic() + _PATIENCE_S
    while any(reference() is not None for reference in _lent) and time.monotonic() < until:
        time.sleep(_POLL_S)
