"""HTTP requests that a device signs with its key: who asks, for what, when. No keys here, only what is signed.

Source: RFC 9421, "HTTP Message Signatures", with one fixed form: components "@method" and "@path", parameters
`created`, `keyid` (`<site>.<device>`) and `alg` (ecdsa-p256-sha256: r and s, 32 bytes each).
"""

import base64
import binascii
import re
from dataclasses import dataclass

from protocols.errors import MessageRefusedError

#: Where the registry serves resources: this path, then the resource's name.
DELIVERY_PATH = "/api/v1/delivery/"
#: How far a signature's time may be from the registry's, in seconds.
SIGNATURE_LIFE_S = 300
_LABEL = "genba"
_INPUT = re.compile(
    rf'{_LABEL}=\("@method" "@path"\);created=(?P<created>\d{{1,12}});keyid="(?P<keyid>[a-z0-9._-]{{1,128}})"'
    r';alg="ecdsa-p256-sha256"'
)
_SIGNATURE = re.compile(rf"{_LABEL}=:(?P<bytes>[A-Za-z0-9+/=]{{88}}):")


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a signature covers."""

    method: str
    path: str
    created: int
    keyid: str

    @property
    def params(self) -> str:
        return f'("@method" "@path");created={self.created};keyid="{self.keyid}";alg="ecdsa-p256-sha256"'

    @property
    def base(self) -> bytes:
        """The bytes that are signed."""
        return f'"@method": {self.method}\n"@path": {self.path}\n"@signature-params": {self.params}'.encode()

    def headers(self, signature: bytes) -> dict[str, str]:
        return {
            "Signature-Input": f"{_LABEL}={self.params}",
            "Signature": f"{_LABEL}=:{base64.b64encode(signature).decode()}:",
        }


def read_signed_request(method: str, path: str, signed: str, signature: str) -> tuple[SignedRequest, bytes]:
    """Return what a request's two headers say was signed, and the signature: 64 bytes, not verified here.

    Raises:
        MessageRefusedError: they are not of this form.
    """
    found, value = _INPUT.fullmatch(signed), _SIGNATURE.fullmatch(signature)
    if found is None or value is None:
        raise MessageRefusedError("request signature", "Signature-Input or Signature is missing or of another form")
    try:
        data = base64.b64decode(value["bytes"], validate=True)
    except binascii.Error as error:
        raise MessageRefusedError("request signature", str(error)) from error
    if len(data) != 64:
        raise MessageRefusedError("request signature", f"{len(data)} bytes, not 64")
    return SignedRequest(method, path, int(found["created"]), found["keyid"]), data
