"""Credentials: the device's key and certificate, in one file, so that a power cut leaves the old pair or the new one.

The key is made here and never leaves. The next key waits in a file of its own until its certificate has come.
"""

import ssl
from collections.abc import Callable

from edge_agent.certificate_dates import read_dates
from edge_agent.errors import HomeError
from edge_agent.settings import AgentHome
from protocols.renewal import RenewalRequest, due_at


class Credentials:
    """What this device shows. For one thread.

    Raises:
        HomeError: they are missing or damaged.
    """

    def __init__(self, home: AgentHome, site: str, device: str, clock: Callable[[], float]) -> None:
        self._home, self._site, self._device, self._clock = home, site, device, clock
        self._load()

    @property
    def due(self) -> bool:
        """Whether two thirds of the certificate's time are over."""
        return self._clock() >= due_at(self._begin, self._end)

    @property
    def expired(self) -> bool:
        return self._clock() >= self._end

    @property
    def life_s(self) -> float:
        return self._end - self._begin

    @property
    def expires_at(self) -> float:
        return self._end

    @property
    def begins_at(self) -> float:
        return self._begin

    def request(self) -> RenewalRequest:
        """Return a request for the next certificate; its key is made once, and kept until the certificate is here."""
        from edge_agent.key_pairs import next_request

        return next_request(self._home, self._site, self._device)

    def accept(self, pem: str) -> None:
        """Take the next certificate into use.

        Raises:
            RenewalError: it is not the one that was asked for; all stays as it is.
        """
        from edge_agent.key_pairs import take_certificate

        take_certificate(self._home, self._site, self._device, pem)
        self._load()

    def _load(self) -> None:
        path = self._home.identity
        try:
            self._begin, self._end = read_dates(path.read_text())
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(path)  # the key is there, and this certificate's
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise HomeError(f"{path}: {error}; the device must be enrolled again") from error
