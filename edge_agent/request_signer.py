"""Requests over HTTP, signed with the device's key."""

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from edge_agent.errors import HomeError
from protocols.signed_request import SignedRequest


class RequestSigner:
    """Signs requests with the device's key, in the registry's time: a device's clock may be years off."""

    def __init__(self, key: Path, keyid: str, clock: Callable[[], float] = time.time) -> None:
        self._key, self._keyid, self._clock = key, keyid, clock
        self._ahead_s = 0.0

    def headers(self, path: str) -> dict[str, str]:
        """Return the headers that sign a GET of `path`."""
        key = load_pem_private_key(self._key.read_bytes(), None)  # read anew: it is renewed now and then
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise HomeError(f"{self._key} is not an elliptic-curve key; enrol the device again")
        request = SignedRequest("GET", path, int(self._clock() + self._ahead_s), self._keyid)
        r, s = decode_dss_signature(key.sign(request.base, ec.ECDSA(hashes.SHA256())))
        return request.headers(r.to_bytes(32, "big") + s.to_bytes(32, "big"))

    def believe(self, date: str | None) -> bool:
        """Take the registry's time from its Date header; return whether that changes anything."""
        try:
            ahead_s = parsedate_to_datetime(date or "").timestamp() - self._clock()
        except (TypeError, ValueError):
            return False
        changed = abs(ahead_s - self._ahead_s) > 5
        self._ahead_s = ahead_s
        return changed
