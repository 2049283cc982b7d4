"""The time by which signed metadata expires: the device's clock, but never earlier than what has been proven.

A device without a battery-backed clock wakes up in 1970, and metadata that expired long ago would be good again. What
proves the time is a signature: the device's certificate was issued, and the director's timestamp was signed, before
now. From there the seconds count that the machine has run (which no setting of the clock moves).

The device's clock alone never raises what is proven, or one wrong setting would shut the device out for good; nor does
the registry's alone, as long as the device's clock is not known to be wrong: the earlier of the two is believed.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec

from edge_agent.certificate_dates import read_dates
from edge_agent.disk import write_atomic

log = logging.getLogger(__name__)

#: What is remembered is written when it has grown by this much, to spare the flash.
_GRAIN_S = 3600.0
#: Two good clocks differ by less than this; a clock that is further behind what is proven is wrong.
_SLACK_S = 86_400.0
_LAST = 253_402_300_799  # the last second of the year 9999, where Python's calendar ends


class _Proof(msgspec.Struct, frozen=True):
    """What is remembered. `root`: the version of the director's root under which it was proven."""

    at: Annotated[float, msgspec.Meta(ge=0, le=_LAST)]
    root: int


class TrustedTime:
    """Tells the time by which expiry is judged, and remembers what has been proven.

    For one thread, but `keep` is for any.

    Args:
        file: where the proven time is kept.
        not_before: a time that is proven in another way (the device's certificate).
        clock: the device's clock, right or wrong; `ticks` counts the seconds that the machine runs.
    """

    def __init__(
        self,
        file: Path,
        *,
        not_before: float = 0.0,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file, self._not_before, self._clock, self._ticks = file, not_before, clock, ticks
        self._saved = self._read()
        self._root = self._saved.root
        self._begin(self._saved.at)

    def now(self, root: int = 0) -> float:
        """Return the time by which to judge what is signed under this version of the director's root.

        A new root forgets what was proven under the one before it: its keys may have been stolen and have lied.
        """
        if root > self._root:
            self._root = root
            self._begin(0.0)
        local, proven = self._clock(), self._proven()
        if self._behind(local, proven):
            log.warning("the clock is %d days behind what signatures prove; set it", (proven - local) // 86_400)
        return min(max(local, proven), _LAST)

    def learn(self, signed_at: float | None) -> None:
        """Take a verified signature's word that the time is not before this."""
        local, proven = self._clock(), self._proven()
        if signed_at is not None:
            believed = signed_at if self._behind(local, proven) else min(signed_at, local)
            if believed > proven:
                self._begin(believed)
        self.keep()

    def keep(self) -> None:
        """Remember the proven time over a restart."""
        proven = _Proof(self._proven(), self._root)
        if proven.at - self._saved.at >= _GRAIN_S or proven.root != self._saved.root:
            write_atomic(self._file, msgspec.json.encode(proven))
            self._saved = proven

    def _behind(self, local: float, proven: float) -> bool:
        return local < proven - _SLACK_S

    def _begin(self, proven: float) -> None:
        self._anchor = (max(proven, self._not_before), self._ticks())

    def _proven(self) -> float:
        start, since = self._anchor
        return start + (self._ticks() - since)

    def _read(self) -> _Proof:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Proof)
        except FileNotFoundError:
            return _Proof(0.0, 0)
        except (OSError, msgspec.DecodeError) as error:
            log.warning("%s cannot be read (%s); the time is proven anew", self._file, error)
            return _Proof(0.0, 0)


def issued_at(certificate: Path) -> float:
    """Return when a certificate was issued (seconds since 1970); 0 if it cannot be read."""
    try:
        return read_dates(certificate.read_text())[0]
    except (OSError, ValueError):
        return 0.0
