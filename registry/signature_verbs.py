"""`genba registry keys export`, `sign`, `import` and `discard`: signatures for what waits (see docs/ceremony.md)."""

import argparse
import os
import sys
import time
from pathlib import Path

from securesystemslib.signer import Signer

from registry.client.rest import RegistryClient
from registry.client.signing import sign_at
from registry.errors import CeremonyRefusedError
from registry.passphrases import VARIABLE, ask_for, read_passphrase_file
from registry.signing.ceremony import describe, repository, trust_state
from registry.signing.keys import open_signer
from registry.signing.request import NAMES, SigningRequest, export_request, import_request
from registry.signing.tokens import Secret


def add_signing_verbs(keys: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add these verbs to `genba registry keys`."""
    verb = keys.add_parser("export", help="write what waits for signatures to a folder, to be carried to the keys")
    add_home(verb)
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    verb.set_defaults(run=_export)

    verb = keys.add_parser("sign", help="sign what waits: in a folder that was carried here, or at a registry")
    verb.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="what `export` wrote")
    verb.add_argument("--home", type=Path, metavar="DIR", help="or a registry's home, where the key is at hand there")
    verb.add_argument("--registry", metavar="URL", help="or a registry's address; the key stays here")
    verb.add_argument(
        "--token",
        default=os.environ.get("GENBA_TOKEN"),
        help="its API token; GENBA_TOKEN keeps it out of process lists",
    )
    verb.add_argument("--key", required=True, metavar="FILE|URI", help="a key file, or hsm:ID?label=TOKEN")
    verb.add_argument("--yes", action="store_true", help="do not ask")
    verb.add_argument("--dry-run", action="store_true", help="say what would be signed, and sign nothing")
    add_secret(verb)
    verb.set_defaults(run=_sign, usage=verb.error)

    verb = keys.add_parser("import", help="take the signatures of a folder that came back")
    add_home(verb)
    verb.add_argument("folder", type=Path, metavar="DIR", help="what `export` wrote and `sign` signed")
    verb.add_argument("--dry-run", action="store_true", help="say what is in it, and take nothing")
    verb.set_defaults(run=_import)

    verb = keys.add_parser("discard", help="give up a change of keys that waits for signatures")
    add_home(verb)
    verb.add_argument("--dry-run", action="store_true", help="say what would be given up")
    verb.set_defaults(run=_discard)


def _export(options: argparse.Namespace) -> int:
    for line in export_request(options.home, options.out, time.time):
        print(line)
    print(f"carry {options.out} to the keys, `genba registry keys sign DIR --key FILE`, and back to `... keys import`")
    return 0


def _sign(options: argparse.Namespace) -> int:
    if sum(place is not None for place in (options.folder, options.home, options.registry)) != 1:
        options.usage("give one of the folder that `export` wrote, --home DIR and --registry URL")
    if options.home is not None:
        return _sign_at_home(options)
    if options.registry is not None:
        return _sign_at_registry(options)
    request = SigningRequest(options.folder)
    signer = _chosen(options, request)
    done = request.sign(signer) if signer else []
    print("\n".join(f"signed: {line}" for line in done), end="\n" if done else "")
    return 0


def _sign_at_registry(options: argparse.Namespace) -> int:
    done, taken = sign_at(RegistryClient(options.registry, options.token), lambda request: _chosen(options, request))
    for line in done:
        print(f"signed: {line}")
    for line in taken.waiting:
        print(f"waits: {line}")
    if done and not taken.waiting:
        print("in force: devices follow at their next update")
    return 0


def _chosen(options: argparse.Namespace, request: SigningRequest) -> Signer | None:
    """Show what a signature would let happen, ask, and return the key; None in a dry run."""
    print("\n".join(request.describe()))
    if options.dry_run:
        return None
    signer = open_signer(options.key, request.keys(), secret_of(options))
    _confirm(options)
    return signer


def _sign_at_home(options: argparse.Namespace) -> int:
    opened = [repository(options.home, name) for name in NAMES]
    waiting = [one for each in opened for one in each.waiting()]
    if not waiting:
        raise CeremonyRefusedError("nothing waits for a signature")
    changes = [
        line
        for each in opened
        if (staged := each.staged_root()) is not None
        for line in describe(each.current_root(), staged, each.name)
    ]
    print("\n".join([*changes, *map(str, waiting)]))
    if options.dry_run:
        return 0
    public = [key for each in opened for key in each.known_keys().values()]
    signer = open_signer(options.key, public, secret_of(options))
    _confirm(options)
    done = [line for each in opened for line in each.sign(signer)]
    if not done:
        raise CeremonyRefusedError(f"nothing that waits needs the key {signer.public_key.keyid[:12]}")
    print("\n".join(f"signed: {line}" for line in done))
    tell_waiting(options.home)
    return 0


def _import(options: argparse.Namespace) -> int:
    if options.dry_run:
        print("\n".join(SigningRequest(options.folder).describe()))
        return 0
    new, waiting = import_request(options.home, options.folder, time.time)
    print(f"{new} new {'signature' if new == 1 else 'signatures'}")
    if waiting:
        print("\n".join(f"waits: {line}" for line in waiting))
    else:
        print("in force: devices follow at their next update")
    tell_unused(options.home)
    return 0 if new else 1


def _discard(options: argparse.Namespace) -> int:
    opened = [repository(options.home, name) for name in NAMES]
    if options.dry_run:
        found = [f"{each.name} root version {root.version}" for each in opened if (root := each.staged_root())]
    else:
        found = [line for each in opened for line in each.discard()]
    word = "would be given up" if options.dry_run else "given up"
    print("\n".join(f"{word}: {line}" for line in found) or "no change of keys waits")
    return 0


def _confirm(options: argparse.Namespace) -> None:
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise CeremonyRefusedError("nobody is there to confirm; read what is to be signed (--dry-run), then give --yes")
    if input("Sign this? Write yes: ").strip().lower() != "yes":
        raise CeremonyRefusedError("not confirmed; nothing was signed")


def tell_waiting(home: Path) -> None:
    waiting = [one for name in NAMES for one in repository(home, name).waiting()]
    if not waiting:
        print("in force: devices follow at their next update")
    for one in waiting:
        print(f"waits: {one}; next: `genba registry keys export --home {home} --out DIR`, or `... keys sign --home`")


def tell_unused(home: Path) -> None:
    used = {key.place for role in trust_state(home).roles for key in role.keys}
    staged = [root for name in NAMES if (root := repository(home, name).staged_root()) is not None]
    if staged:
        return
    for path in sorted((home / "keys").glob("*.pem")):
        if path.name not in used:
            print(f"{path} signs nothing any more: carry it away, or delete it")


def add_home(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--home", type=Path, required=True, metavar="DIR", help="made by `genba registry init`")


def add_secret(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help=f"passphrase or PIN, on its first line; else {VARIABLE}, or it is asked for",
    )


def secret_of(options: argparse.Namespace) -> Secret:
    return read_passphrase_file(options.passphrase_file) if options.passphrase_file is not None else ask_for
