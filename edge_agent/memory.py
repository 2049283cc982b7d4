"""What the daemon remembers over a restart: the lifecycle's state, and whether it stopped in good order."""

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
    """HOME/state.json."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[State, bool]:
        """Return the state and whether the daemon that wrote it stopped in good order.

        A file that cannot be read is put aside: the releases are then fetched anew, which costs time and no more.
        """
        try:
            saved = msgspec.json.decode(self._path.read_bytes(), type=_Saved)
        except FileNotFoundError:
            return State(), True
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.error("state.json cannot be read, so everything is fetched anew", extra={"reason": str(error)})
            self._path.replace(self._path.with_suffix(".damaged"))
            return State(), True
        return saved.state, saved.clean

    def save(self, state: State, *, clean: bool = False) -> None:
        write_atomic(self._path, msgspec.json.encode(_Saved(state, clean)))
