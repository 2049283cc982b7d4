"""More sockets than one agent ever needs: paho-mqtt waits with select(2), which takes descriptors below 1024 alone.

A process with 130 devices is past that, and its later links would be lost again and again without a word. Here
paho-mqtt waits with poll(2), which knows no such limit.
"""

import resource
import select
from collections.abc import Sequence
from typing import Any

import paho.mqtt.client

from protocols.errors import GenbaError

_READS = select.POLLIN | select.POLLPRI | select.POLLHUP | select.POLLERR
_WRITES = select.POLLOUT | select.POLLHUP | select.POLLERR
#: What the process holds open besides its devices' files.
_SPARE = 256


class OpenFilesError(GenbaError):
    """The system does not let one process hold so many devices."""


class Polling:
    """Stands where paho-mqtt expects the module `select`."""

    @staticmethod
    def select(
        reading: Sequence[Any], writing: Sequence[Any], failing: Sequence[Any], timeout_s: float
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Return which of the sockets can be read and written now; raises as select.select does."""
        poll = select.poll()
        for connection in {*reading, *writing}:
            poll.register(connection, (_READS * (connection in reading)) | (_WRITES * (connection in writing)))
        events = dict(poll.poll(timeout_s * 1000))
        return (
            [one for one in reading if events.get(one.fileno(), 0) & _READS],
            [one for one in writing if events.get(one.fileno(), 0) & _WRITES],
            [],
        )


def allow_many(files: int) -> None:
    """Let this process hold so many files more open, and its links use them.

    Raises:
        OpenFilesError: the system does not allow it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = files + _SPARE
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise OpenFilesError(f"so many devices need {needed} open files, and {hard} are allowed; raise `ulimit -Hn`")
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    paho.mqtt.client.select = Polling  # type: ignore[assignment,attr-defined]
