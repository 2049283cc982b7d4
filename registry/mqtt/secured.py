"""TLS towards the broker: the registry shows its own certificate, and checks the broker's, name included."""

import ssl
import time
from pathlib import Path
from typing import Any

from protocols.handshake import Faults, explain
from registry.errors import SettingsError
from registry.identity import Authority


class Secured:
    """The registry's side of mutual TLS.

    Args:
        home: the registry's home; HOME/ca/broker-ca.pem holds the authorities of brokers that are believed.

    Raises:
        SettingsError: a key or certificate cannot be used; the text names the file.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "ca"
        self._authority = Authority(home, time.time)
        self._faults = Faults()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._faults.watch(self.context)
        try:
            self.context.load_verify_locations(self._folder / "broker-ca.pem")
            self._authority.renew_service()
            self._load()
        except OSError as error:  # ssl.SSLError is an OSError
            raise SettingsError(
                f"{self._folder}: broker-ca.pem, registry.pem or registry.key cannot be used: {error}"
            ) from error

    def renew(self, *_: Any) -> None:
        """Have a certificate that is far from its end, before each connection."""
        if self._authority.renew_service():
            self._load()

    def fault(self, host: str) -> str | None:
        """Return what went wrong with TLS on the last connection, or None."""
        error = self._faults.last
        renew = "delete it in HOME/ca, and it is made anew at the next start"
        return None if error is None else explain(error, host, who="the registry", renew=renew)

    def _load(self) -> None:
        self.context.load_cert_chain(self._folder / "registry.pem", self._folder / "registry.key")
