"""`genba export-signature`: an OpenSSF model signature of a release folder."""

import argparse
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates

from registry.client.cli import UPLOAD_TIMEOUT_S, add_registry, connect, resolve
from registry.client.model_signature import sign_release
from registry.client.release_folder import fetch_release
from registry.errors import ModelSignatureError
from registry.passphrases import Passphrase, ask_for, read_passphrase_file
from registry.signing.metadata import write_atomic


def export_signature(argv: list[str]) -> int:
    """Sign a release folder for tools that read OpenSSF model signatures; print the signature's file."""
    options = _parser().parse_args(argv)
    folder = _folder(options)
    out: Path = options.out or folder.absolute().with_name(folder.absolute().name + ".sig")
    if out.absolute().parent == folder.absolute():
        raise ModelSignatureError(f"--out {out} lies in the release folder, which never changes; name a file outside")
    passphrase = read_passphrase_file(options.passphrase_file) if options.passphrase_file else ask_for
    data = sign_release(folder, _read_key(options.key, passphrase), _read_certificates(options.certificate))
    try:
        write_atomic(out, data, 0o644)
    except OSError as error:
        raise ModelSignatureError(f"--out {out}: {error.strerror}; name another file") from error
    print(out)
    return 0


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genba export-signature",
        description="Sign a release folder for others, who check it with `model_signing verify key` or `verify "
        "certificate` (OpenSSF model signing). Devices do not need it: they trust what the registry signed.",
    )
    parser.add_argument("release", metavar="RELEASE", help="a release folder as it was published, or MODEL@VERSION")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where MODEL@VERSION goes (default: MODEL-VERSION)")
    parser.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="your private key, PEM, P-256 or larger"
    )
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
