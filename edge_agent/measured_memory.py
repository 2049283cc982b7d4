"""What this device remembers of measuring jobs: HOME/measured.json. None is done twice, none is tried for ever."""

import logging
import threading
from pathlib import Path

import msgspec

from edge_agent.disk import write_atomic

log = logging.getLogger(__name__)

#: A job that the agent did not outlive this often is not begun again: it may be why.
MOST_TRIES = 2


class _Saved(msgspec.Struct, frozen=True):
    """`done`: the newest job that is reported; `begun`: the one in hand, and how often it was begun."""

    done: int = 0
    begun: int = 0
    tries: int = 0


class MeasuredMemory:
    """Numbers of jobs rise, so the newest that is done says which are. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        try:
            self._saved = msgspec.json.decode(path.read_bytes(), type=_Saved)
        except FileNotFoundError:
            self._saved = _Saved()
        except (OSError, msgspec.DecodeError) as error:
            log.warning("%s cannot be read (%s); jobs may be measured once more", path, error)
            self._saved = _Saved()

    @property
    def done(self) -> int:
        return self._saved.done

    def begin(self, number: int) -> bool:
        """Note that a job is begun; False where it was begun too often already.

        Raises:
            OSError: the disk takes nothing.
        """
        with self._lock:
            tries = self._saved.tries + 1 if self._saved.begun == number else 1
            if tries > MOST_TRIES:
                return False
            self._save(_Saved(self._saved.done, number, tries))
            return True

    def put_off(self) -> None:
        """Note that the job in hand was given up in good order: that does not count as a try."""
        with self._lock:
            self._save(_Saved(self._saved.done))

    def finish(self, number: int) -> None:
        """Note that a job is done.

        Raises:
            OSError: the disk takes nothing.
        """
        with self._lock:
            begun, tries = (self._saved.begun, self._saved.tries) if self._saved.begun > number else (0, 0)
            self._save(_Saved(max(number, self._saved.done), begun, tries))

    def _save(self, saved: _Saved) -> None:
        write_atomic(self._path, msgspec.json.encode(saved))
        self._saved = saved
