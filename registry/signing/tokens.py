"""Keys in PKCS#11 tokens (smart cards, USB keys, HSMs): made there, and never out of there.

A key is named `hsm:ID?label=TOKEN`, ID being a number. PYKCS11LIB names the token's own PKCS#11 library.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

from securesystemslib.exceptions import UnsupportedLibraryError
from securesystemslib.signer import HSMSigner, Key, Signature, SSlibKey

from registry.errors import KeyRefusedError

SCHEME = f"{HSMSigner.SCHEME}:"
#: Asks for a PIN; takes what it is for.
Secret = Callable[[str], str]


class TokenSigner(HSMSigner):
    """securesystemslib's signer, with errors that say what to do, and one question for the PIN.

    Args:
        public: the keys that may sign; the one in the token must be among them.

    Raises:
        KeyRefusedError: it is none of them, or the token or its library cannot be used.
    """

    def __init__(self, uri: str, public: Iterable[Key], secret: Secret) -> None:
        self._uri = uri
        number, label = parse_uri(uri)
        pin = _asked_once(uri, secret)
        with _translated(uri):
            found = HSMSigner.import_(number, label, pin)[1]
            key = next((key for key in public if key.keyval == found.keyval), None)
            if not isinstance(key, SSlibKey):
                raise KeyRefusedError(uri, f"is the key {found.keyid[:12]}, which signs nothing here")
            super().__init__(number, key, pin, label)

    def sign(self, payload: bytes) -> Signature:
        with _translated(self._uri):
            return super().sign(payload)


def take_or_make(uri: str, secret: Secret) -> tuple[SSlibKey, bool]:
    """Return the public half of a token's key, and whether it was made now: P-256, because there was none.

    Raises:
        KeyRefusedError: the token or its library cannot be used.
    """
    number, label = parse_uri(uri)
    pin = _asked_once(uri, secret)
    with _translated(uri):
        made = _make(number, label, pin(uri))
        return HSMSigner.import_(number, label, pin)[1], made


def parse_uri(uri: str) -> tuple[int, str | None]:
    """Return the key's number and the token's label of `hsm:ID?label=TOKEN`; 2 is where smart cards sign.

    Raises:
        KeyRefusedError: it is not of that form.
    """
    parts = urlsplit(uri)
    number = parts.path or str(HSMSigner.SCHEME_KEYID)
    if f"{parts.scheme}:" != SCHEME or not (number.isascii() and number.isdecimal()):
        raise KeyRefusedError(uri, "write hsm:ID?label=TOKEN, ID being a decimal number")
    return int(number), parse_qs(parts.query).get("label", [None])[0]


def _make(number: int, label: str | None, pin: str) -> bool:
    """Make a key pair where the token has none of that number."""
    token = HSMSigner._find_token(label)
    from pkcs11 import Attribute, KeyType
    from pkcs11.util import biginteger
    from pkcs11.util.ec import encode_named_curve_parameters

    name = biginteger(number)
    with token.open(rw=True, user_pin=pin) as session:
        if list(session.get_objects({Attribute.ID: name})):
            return False
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        parameters = session.create_domain_parameters(KeyType.EC, curve, local=True)
        parameters.generate_keypair(id=name, label="genba", store=True)
    return True


def _asked_once(uri: str, secret: Secret) -> Secret:
    known: list[str] = []

    def ask(_: str) -> str:
        if not known:
            known.append(secret(f"PIN of {uri}"))
        return known[0]

    return ask


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    try:
        yield
    except (UnsupportedLibraryError, ImportError, NameError) as error:  # NameError: securesystemslib, without it
        raise KeyRefusedError(uri, "needs the package python-pkcs11: pip install 'genba[pkcs11]'") from error
    except ValueError as error:
        raise KeyRefusedError(uri, _reason(error)) from error
    except Exception as error:  # python-pkcs11 has a tree of its own, which is not there where the package is not
        if not type(error).__module__.startswith("pkcs11"):
            raise
        reason = _PKCS11.get(type(error).__name__, f"the token says {_reason(error)}")
        raise KeyRefusedError(uri, reason) from error


_WRONG = "the PIN is wrong; a token locks itself after a few wrong ones"
_PKCS11 = {
    "PinIncorrect": _WRONG,
    "PinInvalid": _WRONG,
    "PinLenRange": _WRONG,
    "PinLocked": "the token has locked its PIN after too many wrong ones; its security officer unlocks it",
}


def _reason(error: Exception) -> str:
    if "PYKCS11LIB" in str(error):
        return "set PYKCS11LIB to the token's PKCS#11 library (softhsm2: /usr/lib/softhsm/libsofthsm2.so)"
    return " ".join(str(error).split()) or type(error).__name__
