"""When a certificate begins and ends: all that an agent at rest wants to know of its own.

Reading two dates is not worth a library of 7 MB in memory. This judges nothing: who issued the certificate, and for
whom, was checked when it was taken (`edge_agent.key_pairs`).

Source: RFC 5280, section 4.1 (the form) and 4.1.2.5 (validity); ITU-T X.690, section 8.1 (tags and lengths).
"""

import ssl
from datetime import UTC, datetime

_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def read_dates(pem: str) -> tuple[float, float]:
    """Return when the first certificate in a PEM text begins and ends, in seconds since 1970.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    start, end = pem.find(_BEGIN), pem.find(_END)
    if start < 0 or end < start:
        raise ValueError("there is no certificate in it")
    _, certificate, _ = _element(ssl.PEM_cert_to_DER_cert(pem[start : end + len(_END)]), _SEQUENCE)
    _, rest, _ = _element(certificate, _SEQUENCE)
    if rest[:1] == bytes([_VERSION]):
        rest = _element(rest)[2]
    for _ in range(3):  # serial number, algorithm, issuer
        rest = _element(rest)[2]
    _, validity, _ = _element(rest, _SEQUENCE)
    kind, begins, rest = _element(validity)
    begins_at = _time(kind, begins)
    kind, ends, _ = _element(rest)
    return begins_at, _time(kind, ends)


def _element(data: bytes, wanted: int | None = None) -> tuple[int, bytes, bytes]:
    """Return the tag and the content of the first element, and what follows it."""
    if len(data) < 2 or wanted not in (None, data[0]):
        raise ValueError("the certificate's form is not X.509's")
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if start + length > len(data):
        raise ValueError("the certificate is cut short")
    return data[0], data[start : start + length], data[start + length :]


def _time(kind: int, text: bytes) -> float:
    if kind == _UTC_TIME:  # years of two digits: 1950 to 2049
        text = (b"19" if text >= b"5" else b"20") + text
    elif kind != _GENERALIZED_TIME:
        raise ValueError("the certificate's validity is not of X.509's form")
    return datetime.strptime(text.decode("ascii"), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
