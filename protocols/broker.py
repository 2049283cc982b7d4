"""Broker addresses: mqtt:// on this machine, mqtts:// everywhere else. One rule for both ends of the wire."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from protocols.errors import BrokerAddressError

LOOPBACK = "127.0.0.1"
_LOOPBACK_NAMES = ("localhost", LOOPBACK, "::1")


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is. `secure`: TLS, with a certificate on either side."""

    host: str
    port: int
    secure: bool

    @classmethod
    def parse(cls, url: str) -> "BrokerAddress":
        """Read mqtt://host[:port] or mqtts://host[:port].

        Raises:
            BrokerAddressError: it is neither, or leaves this machine unencrypted.
        """
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise BrokerAddressError(f"broker {url!r}: {error}; write mqtts://host:8883") from error
        if parts.scheme not in ("mqtt", "mqtts") or not host:
            raise BrokerAddressError(f"broker {url!r} is not a broker's address; write mqtts://host:8883")
        if parts.username or parts.password:
            raise BrokerAddressError("broker: a password does not belong into an address; use mqtts:// certificates")
        secure = parts.scheme == "mqtts"
        if not secure and host not in _LOOPBACK_NAMES:
            raise BrokerAddressError(f"broker {url!r} is unencrypted; use mqtts:// (mqtt:// is for this machine alone)")
        return cls(host, port or (8883 if secure else 1883), secure)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.secure else 'mqtt'}://{host}:{self.port}"
