"""What the daemon remembers over a restart: the lifecycle's state, and whether it stopped in good order."""

import contextlib
import logging
from pathlib import Path

import msgspec

from edge_agent.disk import write_atomic
from edge_agent.lifecycle import State

log = logging.getLogger(__name__)


class _Saved(msgspec.Struct, frozen=True):
    state: State
    clean: bool
    v: int = 1


class Memory:
    """HOME/state.json, and beside it the one before, for a card that damages one of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = path.with_name(f"{path.stem}.before{path.suffix}")

    def load(self) -> tuple[State, bool]:
        """Return the state and whether the daemon that wrote it stopped in good order.

        A file that cannot be read is put aside for the one before it, which is at most one step older: every step
        may be taken twice. Where both are gone, the releases are fetched anew, which costs time and no more.
        """
        for path in (self._path, self._before):
            try:
                saved = msgspec.json.decode(path.read_bytes(), type=_Saved)
            except FileNotFoundError:
                continue
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                log.error("%s cannot be read and is put aside", path.name, extra={"reason": str(error)})
                with contextlib.suppress(OSError):
                    path.replace(path.with_suffix(".damaged"))
            else:
                return saved.state, saved.clean
        return State(), True

    def save(self, state: State, *, clean: bool = False) -> None:
        """Store the state.

        Raises:
            OSError: the disk is full, read-only or broken.
        """
        self._keep_before()
        write_atomic(self._path, msgspec.json.encode(_Saved(state, clean)))

    def _keep_before(self) -> None:
        """Give the state so far a second name; not on a file system without links, which a device rarely has."""
        with contextlib.suppress(OSError):
            linked = self._path.with_name(f".{self._before.name}.tmp")
            linked.unlink(missing_ok=True)
            linked.hardlink_to(self._path)
            linked.replace(self._before)
            linked.unlink(missing_ok=True)  # a rename over the same file does nothing (POSIX)
