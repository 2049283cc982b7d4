"""`genba export-signature`: an OpenSSF model signature of a release folder."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates

from protocols.names import ReleaseRef
from registry.client.cli import add_registry, connect, resolve
from registry.client.release_folder import fetch_release, read_release
from registry.client.rest import RegistryClient
from registry.client.upload import UPLOAD_TIMEOUT_S
from registry.errors import ModelSignatureError
from registry.model_signature import sign, signed_statement, statement
from registry.passphrases import Passphrase, ask_for, read_passphrase_file
from registry.signing.metadata import write_atomic


def export_signature(argv: list[str]) -> int:
    """Sign a release folder for tools that read OpenSSF model signatures; print the signature's file."""
    options = _parse(argv)
    folder = _folder(options)
    out: Path = options.out or folder.absolute().with_name(folder.absolute().name + ".sig")
    if out.absolute().parent == folder.absolute():
        raise ModelSignatureError(f"--out {out} lies in the release folder, which never changes; name a file outside")
    ref, digests = read_release(folder)
    if options.key is not None:
        passphrase = read_passphrase_file(options.passphrase_file) if options.passphrase_file else ask_for
        key = _read_key(options.key, passphrase)
        _write(out, sign(ref, digests, key, _read_certificates(options.certificate)))
    else:
        _sign_by_registry(connect(options), ref, digests, CHECKS[options.proof or "key"], folder, out)
    print(out)
    return 0


class Check(NamedTuple):
    """How others check what the registry signed: by what, where that is had, and the tool's words for it."""

    proof: str
    place: str
    suffix: str
    option: str


CHECKS = {
    "key": Check("key", "/model-signature/key.pem", ".pub", "--public_key"),
    "certificate": Check("certificate", "/model-signature/authority.pem", ".ca.pem", "--certificate_chain"),
}


def _sign_by_registry(
    client: RegistryClient, ref: ReleaseRef, digests: Mapping[str, str], check: Check, folder: Path, out: Path
) -> None:
    """Write what the registry signed, and beside it what others check it with."""
    place = f"/models/{ref.model}/releases/{ref.version}/signature"
    bundle = msgspec.json.encode(client.send("POST", place, {"proof": check.proof}))
    if signed_statement(bundle) != statement(ref, digests):
        raise ModelSignatureError(f"{folder} is not {ref} as {client.url} has it; fetch it anew with --folder")
    trusted = out.with_name(out.name.removesuffix(".sig") + check.suffix)
    _write(trusted, b"".join(client.download(check.place)))
    _write(out, bundle)
    print(
        f"check it: model_signing verify {check.proof} {folder} --signature {out} {check.option} {trusted}",
        file=sys.stderr,
    )


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomic(path, data, 0o644)
    except OSError as error:
        raise ModelSignatureError(f"--out {path}: {error.strerror}; name another file") from error


def _folder(options: argparse.Namespace) -> Path:
    """Return the folder that was named, or fetch the release that was."""
    if "@" not in options.release or Path(options.release).is_dir():
        return Path(options.release)
    client = connect(options, UPLOAD_TIMEOUT_S)
    ref = resolve(client, options.release)
    folder: Path = options.folder or Path(f"{ref.model}-{ref.version}")
    fetch_release(client, ref, folder)
    return folder


def _read_key(path: Path, passphrase: Passphrase) -> EllipticCurvePrivateKey:
    try:
        pem = path.read_bytes()
        secret = passphrase(path.name).encode() if b"ENCRYPTED" in pem else None
        key = load_pem_private_key(pem, secret)
    except OSError as error:
        raise ModelSignatureError(f"--key {path}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ModelSignatureError(f"--key {path}: the passphrase is wrong, or it is no PEM private key") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise ModelSignatureError(f"--key {path}: the format takes elliptic curve keys (P-256, P-384, P-521) alone")
    return key


def _read_certificates(path: Path | None) -> list[Certificate]:
    if path is None:
        return []
    try:
        return load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ModelSignatureError(f"--certificate {path}: {error.strerror}") from error
    except ValueError as error:
        raise ModelSignatureError(f"--certificate {path}: not PEM certificates") from error


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(argv)
    if options.key is None and (options.certificate or options.passphrase_file):
        parser.error("--certificate and --passphrase-file belong to --key FILE, your own key")
    if options.key is not None and options.proof is not None:
        parser.error("--proof is for signatures by the registry's key; with --key, give --certificate FILE or not")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genba export-signature",
        description="Sign a release folder for others, who check it with `model_signing verify key` or `verify "
        "certificate` (OpenSSF model signing). Devices do not need it: they trust what the registry signed.",
    )
    parser.add_argument("release", metavar="RELEASE", help="a release folder as it was published, or MODEL@VERSION")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where MODEL@VERSION goes (default: MODEL-VERSION)")
    parser.add_argument(
        "--proof",
        choices=CHECKS,
        help="the registry signs, and others check by its public key (default) or by a certificate of its authority",
    )
    parser.add_argument("--key", type=Path, metavar="FILE", help="sign by your own key instead: PEM, P-256 or larger")
    parser.add_argument(
        "--certificate", type=Path, metavar="FILE", help="PEM: the key's certificate, then its issuers up to the root"
    )
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help="holds the key's passphrase; without it GENBA_PASSPHRASE is taken, or it is asked for",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the signature (default: DIR.sig beside the folder)")
    add_registry(parser)
    return parser
