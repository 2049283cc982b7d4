"""Tells the service manager (systemd, or whatever speaks its protocol) that the agent serves and is alive.

Source: sd_notify(3), "Standalone Implementations": one datagram of NAME=VALUE lines to the socket in $NOTIFY_SOCKET.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

from edge_agent.status import StatusPage

log = logging.getLogger(__name__)

_RUNNING = ("active", "confirmed")


class ServiceManager:
    """One service's line to its manager; where there is none, every call does nothing. Never raises, never blocks.

    Args:
        address: a socket's path, or `@name` for an abstract one; None: nobody listens.
        watchdog_s: the manager ends a service that it has not heard of for so long; None: it does not.
        ticks: seconds of a steady clock.
    """

    def __init__(
        self,
        address: str | None = None,
        watchdog_s: float | None = None,
        *,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = f"\0{address[1:]}" if address and address.startswith("@") else address
        self._every_s = watchdog_s / 4 if watchdog_s else None
        self._ticks = ticks
        self._ready = False
        self._status = ""
        self._fed = float("-inf")

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> "ServiceManager":
        """Return the manager that started this process, as its variables tell."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = ours and microseconds.isdigit() and int(microseconds) > 0
        return cls(environment.get("NOTIFY_SOCKET") or None, int(microseconds) / 1e6 if watched else None)

    def heed(self, page: StatusPage, *, healthy: bool) -> None:
        """Tell what the page says. To be called by the daemon's own loop, so that a loop that hangs feeds no watchdog.

        Args:
            healthy: what the loop cannot see of itself is well too: the streams are being served.
        """
        lines = []
        if not self._ready and serves_what_it_should(page):
            self._ready = True
            lines.append("READY=1")
        text = summary(page) if healthy else "the streams are not being served: a batch hangs"
        if text != self._status:
            self._status = text
            lines.append(f"STATUS={text}")
        now = self._ticks()
        if healthy and self._every_s is not None and now - self._fed >= self._every_s:
            self._fed = now
            lines.append("WATCHDOG=1")
        self._send(lines)

    def stopping(self) -> None:
        """Tell that the end has begun; the manager then waits instead of restarting."""
        self._send(["STOPPING=1", "STATUS=stopping in good order"])

    def _send(self, lines: list[str]) -> None:
        if self._address is None or not lines:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.setblocking(False)
                connection.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:  # its queue is full, or it is being restarted: the next tick tells it again
            log.debug("the service manager did not hear: %s", error)
            self._ready = self._ready and "READY=1" not in lines
            self._status, self._fed = "", float("-inf")


def serves_what_it_should(page: StatusPage) -> bool:
    """Return whether every stream whose model has an installed release is served; the broker need not be there."""
    installed = {release.model for release in page.releases if release.state in _RUNNING}
    return all(stream.version > 0 for stream in page.streams if stream.model in installed)


def summary(page: StatusPage) -> str:
    """Return one line for `systemctl status`."""
    served = sorted({f"{row.model}@{row.version}" for row in page.streams if row.version})
    waiting = sum(not row.version for row in page.streams)
    parts = [
        "connected" if page.connected else page.link,
        f"serves {', '.join(served)}" if served else "serves nothing yet",
    ]
    if waiting:
        parts.append(f"{waiting} streams wait for a release")
    return "; ".join(parts)
