"""Signing what waits at a registry, from afar: the request comes by REST, the key stays here, signatures go back."""

from collections.abc import Callable

import msgspec
from securesystemslib.signer import Signer

from registry.client.rest import RegistryClient
from registry.errors import CeremonyRefusedError
from registry.signing.exchange import STAGED, RequestFiles, Taken, unpacked
from registry.signing.request import SigningRequest


def sign_at(client: RegistryClient, choose: Callable[[SigningRequest], Signer | None]) -> tuple[list[str], Taken]:
    """Fetch what waits, sign it, and send the signatures; return what was signed, in words, and how it stands.

    Args:
        choose: shows the request to a person and returns the key to sign with; None signs nothing.

    Raises:
        CeremonyRefusedError: nothing waits, or nothing that waits needs this key.
        RegistryRefusedError, RegistryUnreachableError, NotAuthorisedError: as RegistryClient says.
    """
    sent = msgspec.convert(client.get("/trust/request"), RequestFiles)
    if not sent.files:
        raise CeremonyRefusedError("nothing waits for a signature")
    with unpacked(sent) as folder:
        request = SigningRequest(folder)
        signer = choose(request)
        if signer is None:
            return [], Taken(0, ())
        done = request.sign(signer)
        if not done:
            raise CeremonyRefusedError(f"nothing that waits needs the key {signer.public_key.keyid[:12]}")
        signed = {name: (folder / name).read_bytes() for name in STAGED if (folder / name).exists()}
    return done, msgspec.convert(client.send("POST", "/trust/signatures", RequestFiles(signed)), Taken)
