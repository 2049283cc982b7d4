"""The registry's own key for model signatures: ECDSA on P-256, in HOME/keys/model-signature.key, for nothing else.

It is no part of what devices trust. It is made when it is first asked for, and stays in the home; others get its public
half, or trust the registry's certificate authority, which vouches for it.
"""

from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from filelock import FileLock

from registry.catalogue.releases import Release
from registry.certificates import Holder
from registry.errors import NotInitialisedError
from registry.identity import Authority, create_key
from registry.model_signature import public_pem, sign
from registry.signing.metadata import Clock

#: By what others check a signature: the public key that they have, or a certificate of an authority that they trust.
Proof = Literal["key", "certificate"]

_HOLDER = Holder("Genba model signatures", use="model-signature")


class SignatureKey:
    """The key of one registry's home."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self._home = home
        self._authority = Authority(home, clock)

    @property
    def public_pem(self) -> str:
        """The public half, for `model_signing verify key --public_key`."""
        return public_pem(self._load())

    @property
    def authority_pem(self) -> str:
        """The authority's certificate, for `model_signing verify certificate --certificate_chain`."""
        return self._authority.pem

    def sign(self, release: Release, proof: Proof) -> bytes:
        """Return the signature file of a catalogued release."""
        key = self._load()
        digests = {name: info.sha256 for name, info in release.files.items()}
        return sign(release.ref, digests, key, self._certificates(key) if proof == "certificate" else ())

    def _certificates(self, key: EllipticCurvePrivateKey) -> list[x509.Certificate]:
        """A new certificate for each signature: the public tool judges it by the moment at which it begins."""
        issued = self._authority.issue(_HOLDER, key.public_key())
        return [x509.load_pem_x509_certificate(issued.pem.encode())]

    def _load(self) -> EllipticCurvePrivateKey:
        path = self._home / "keys" / "model-signature.key"
        with FileLock(self._home / "run" / "model-signature.lock", timeout=30):
            if not path.exists():
                return create_key(path)
        key = load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise NotInitialisedError(self._home)
        return key
