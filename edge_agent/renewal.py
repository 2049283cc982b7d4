"""Renewal: the next certificate before the present one ends, and the way back in for who was away too long."""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from edge_agent.credentials import Credentials
from edge_agent.errors import AgentError, RenewalError
from protocols.errors import GenbaError
from protocols.renewal import RenewalReply, RenewalRequest

log = logging.getLogger(__name__)

#: Between two requests; less for certificates that live shorter, more and more over HTTPS.
_RETRY_S, _LONGEST_RETRY_S = 60.0, 3600.0


class Way(Protocol):
    """How a request reaches the registry when the broker does not take this device any more."""

    def __call__(self, request: RenewalRequest) -> RenewalReply:
        """Return the registry's reply.

        Raises:
            RenewalError: it cannot be reached, or refuses.
        """


class Renewer:
    """Asks for the next certificate in time. For one thread, the daemon's; it never blocks it.

    Args:
        publish: hands a request to the link.
        ask: the way over HTTPS; it runs in a thread of its own.
        renewed: a new certificate is in use from the next connection on; told with its end.
        refused: why there is none, for a person; once for each reason.
        ticks: seconds of a steady clock.
    """

    def __init__(
        self,
        credentials: Credentials,
        publish: Callable[[RenewalRequest], None],
        ask: Way,
        *,
        renewed: Callable[[float], None],
        refused: Callable[[str], None],
        ticks: Callable[[], float],
    ) -> None:
        self._credentials, self._publish, self._ask = credentials, publish, ask
        self._renewed, self._refused, self._ticks = renewed, refused, ticks
        self._next_try = 0.0
        self._failures = 0
        self._told: str | None = None
        self._asking: threading.Thread | None = None
        self._answer: RenewalReply | None = None

    def tick(self, *, connected: bool, turned_away: bool) -> None:
        """Do what is due.

        Args:
            turned_away: the broker says that this certificate has expired, whatever the clock here says.
        """
        answer, self._answer = self._answer, None
        if answer is not None:
            self.answered(answer)
            return  # what the broker said before is of the certificate before
        now = self._ticks()
        if now < self._next_try or not (turned_away or self._credentials.due):
            return
        if connected:
            self._next_try = now + min(_RETRY_S, self._credentials.life_s / 20)
            self._publish(self._credentials.request())
        elif turned_away or self._credentials.expired:
            self._next_try = now + min(_RETRY_S * 2**self._failures, _LONGEST_RETRY_S)
            self._failures = min(self._failures + 1, 16)
            self._begin()

    def answered(self, reply: RenewalReply) -> None:
        """Take the registry's reply, whichever way it came."""
        if not reply.certificate:
            self._tell(reply.reason or "no reason given")
            return
        try:
            self._credentials.accept(reply.certificate)
        except AgentError as error:
            self._tell(str(error))
            return
        except OSError as error:
            self._tell(f"the new certificate cannot be written: {error}")
            return
        # A connection that is being made with the certificate before may still be turned away.
        self._next_try = self._ticks() + min(_RETRY_S, self._credentials.life_s / 20)
        self._failures, self._told = 0, None
        self._renewed(self._credentials.expires_at)

    def _tell(self, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            self._refused(reason)

    def _begin(self) -> None:
        if self._asking is not None and self._asking.is_alive():
            return
        request = self._credentials.request()

        def work() -> None:
            try:
                self._answer = self._ask(request)
            except RenewalError as error:
                self._answer = RenewalReply(reason=str(error))
            except GenbaError as error:
                self._answer = RenewalReply(reason=str(error))

        self._asking = threading.Thread(target=work, name="renewal", daemon=True)
        self._asking.start()
