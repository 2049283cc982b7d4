"""Whatever goes wrong where a release is loaded, the daemon goes on, and its rules hear of it."""

import errno
import queue
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_agent.daemon import Daemon
from edge_agent.lifecycle_events import Activate, ActivationFailed
from edge_agent.settings import AgentHome
from protocols.names import ReleaseRef

ONE = ReleaseRef("ccpp", 1)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EROFS, "Read-only file system"), ImportError("libonnxruntime.so: cannot open"), MemoryError()],
)
def test_a_release_that_cannot_be_loaded_is_an_event_and_not_the_daemons_end(tmp_path: Path, error: Exception) -> None:
    def load(ref: ReleaseRef, allow_fallback: bool) -> Any:
        raise error

    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    installer = SimpleNamespace(do=lambda job: None)
    parts: Any = SimpleNamespace(home=AgentHome(tmp_path), installer=installer, reporter=None, load=load, inbox=inbox)
    daemon = Daemon(parts)
    daemon._act(Activate(ONE, 1, False))
    assert inbox.get_nowait() == ActivationFailed(ONE, 1, f"unforeseen: {error!r}")
    assert daemon.errors == 1
