"""Patches that many ask for at once."""

import io
import random
import threading
from pathlib import Path

import pytest
from filelock import FileLock
from simulators.broker_process import wait_until

from registry.blobs import Blobs
from registry.errors import ResourceNotReadyError
from registry.patches import Patches


def makers() -> int:
    return sum(thread.name == "patch" for thread in threading.enumerate())


def test_who_asks_again_while_a_patch_is_made_leaves_no_thread_behind(tmp_path: Path) -> None:
    """Over HTTP each request asks by a `Patches` of its own."""
    data = random.Random(1).randbytes(200_000)
    base, target = (Blobs(tmp_path).put(io.BytesIO(data + end)) for end in (b"old", b"new"))
    (tmp_path / "patches").mkdir()
    with FileLock(tmp_path / "patches" / ".lock"):
        for _ in range(5):
            with pytest.raises(ResourceNotReadyError):
                Patches(tmp_path).open("image/patches/x", base, target)
        wait_until(lambda: makers() == 0, what="the end of those who found it being made")
