"""What a failed TLS connection with the broker means: one line that names the fault and the way out.

Source: OpenSSL, openssl-verification-options(1) for the codes; RFC 8446, section 6.2, for the alerts.
"""

import ssl
from typing import Any

_AUTHORITY = (2, 18, 19, 20, 21, 24, 27)
_HOST = (62, 64)
_ALERTS = {
    "CERTIFICATE_REVOKED": "it says that {who}'s certificate is revoked; {renew}",
    "CERTIFICATE_EXPIRED": "it says that {who}'s certificate has expired; {renew}",
    "UNKNOWN_CA": "it does not know the authority of {who}'s certificate; {config}",
    "CERTIFICATE_REQUIRED": "it asks for a certificate, and {who} has none; {renew}",
    "BAD_CERTIFICATE": "it refuses {who}'s certificate; {renew}",
    "CERTIFICATE_UNKNOWN": "it refuses {who}'s certificate; {renew}",
    "UNSUPPORTED_CERTIFICATE": "it refuses {who}'s certificate; {renew}",
    "PROTOCOL_VERSION": "it speaks no TLS 1.2 or newer; {config}",
    "WRONG_VERSION_NUMBER": "it does not speak TLS at this port; name its TLS port (8883)",
    "HANDSHAKE_FAILURE": "no cipher or version that both sides have; {config}",
}
_CONFIG = "have `genba registry broker-config mosquitto` write the broker's files"


def explain(error: BaseException, host: str, *, who: str, renew: str) -> str | None:
    """Return what a TLS fault with the broker at `host` means; None where it is none of TLS.

    Args:
        who: whose certificate we show.
        renew: what helps where the broker does not believe that certificate.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _verification(error.verify_code, host, error.verify_message)
    if not isinstance(error, ssl.SSLError):
        return None
    reason = error.reason or ""
    for name, text in _ALERTS.items():
        if name in reason:
            return text.format(who=who, renew=renew, config=_CONFIG)
    return f"TLS fails ({reason.lower().replace('_', ' ') or error})"


def _verification(code: int, host: str, said: str) -> str:
    if code in _HOST:
        return (
            f"its certificate is not for the name {host!r}; name it as its certificate does, or {_CONFIG} with --host"
        )
    if code in _AUTHORITY:
        return f"its certificate is of another authority than the registry's; check the address, or {_CONFIG}"
    if code in (9, 10):
        word = "has expired" if code == 10 else "is not valid yet"
        return f"its certificate {word} by this machine's clock; check the clocks here and there, or {_CONFIG}"
    if code == 26:
        return f"it shows a certificate that is no server's: something else answers in its place; or {_CONFIG}"
    return f"its certificate is refused ({said}); {_CONFIG}"


class Faults:
    """The last fault of a context's connections: paho, which makes them, keeps it to itself."""

    def __init__(self) -> None:
        self.last: BaseException | None = None

    def watch(self, context: ssl.SSLContext) -> None:
        """Remember what goes wrong on the sockets that this context makes from now on."""
        faults = self

        class Socket(ssl.SSLSocket):
            def do_handshake(self, *arguments: Any) -> None:
                faults.last = None
                try:
                    super().do_handshake(*arguments)
                except OSError as error:
                    faults.last = error
                    self.close()  # paho leaves it to the garbage collector
                    raise

            def recv(self, *arguments: Any) -> bytes:
                try:
                    return super().recv(*arguments)
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    raise
                except OSError as error:
                    faults.last = error
                    raise

        context.sslsocket_class = Socket
