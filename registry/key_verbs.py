"""`genba registry keys`: who may sign what, and the ceremonies that change it (see docs/ceremony.md)."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from securesystemslib.signer import Key
from tuf.api.metadata import Root

from registry.errors import CeremonyRefusedError, KeyRefusedError
from registry.passphrases import VARIABLE, ask_for, read_passphrase_file
from registry.signing.ceremony import (
    LABEL,
    PLACES,
    RoleState,
    TrustState,
    adding,
    describe,
    in_turn,
    repository,
    revoking,
    trust_state,
    with_threshold,
)
from registry.signing.keys import (
    ROLES,
    Role,
    Secret,
    import_remote,
    open_signer,
    read_public,
    write_key,
    write_public,
)
from registry.signing.request import NAMES, SigningRequest, export_request, import_request

#: Of a passphrase.
FEWEST_CHARACTERS = 8


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `keys` to `genba registry`."""
    keys = verbs.add_parser(
        "keys",
        help="who may sign what; make, add and revoke keys, sign offline",
        description="Who may sign what, and the ceremonies that change it. docs/ceremony.md walks through one.",
    ).add_subparsers(metavar="VERB", required=True)

    verb = keys.add_parser("show", help="the roles, their keys, what waits for signatures")
    _add_home(verb)
    verb.add_argument("--json", action="store_true", help="for programs")
    verb.set_defaults(run=_show)

    verb = keys.add_parser("create", help="make a key in a file with a passphrase, or take one from a PKCS#11 token")
    verb.add_argument("key", metavar="FILE|URI", help="a new file, or hsm:ID?label=TOKEN for a key in a token")
    verb.add_argument("--label", default="", metavar="TEXT", help="what people call it; it is public")
    verb.add_argument("--out", type=Path, metavar="FILE", help="the public half (default: FILE.pub)")
    verb.add_argument("--no-passphrase", action="store_true", help="leave the file in the clear, for a key service")
    _add_secret(verb)
    verb.set_defaults(run=_create, usage=verb.error)

    verb = keys.add_parser("add", help="let one more key sign for a role")
    _add_change(verb)
    verb.add_argument("public", type=Path, metavar="PUBLIC", help="the .pub file that `create` wrote")
    verb.set_defaults(run=_add)

    verb = keys.add_parser("revoke", help="take a key from a role; what it alone had signed is signed again")
    _add_change(verb)
    verb.add_argument("keyid", metavar="KEYID", help="its first characters suffice")
    verb.set_defaults(run=_revoke)

    verb = keys.add_parser("threshold", help="say how many keys of a role must sign")
    _add_change(verb)
    verb.add_argument("threshold", type=int, metavar="N", help="at most as many as the role has keys")
    verb.set_defaults(run=_threshold)

    verb = keys.add_parser("rotate", help="put a new key of the registry's own in the place of a role's online keys")
    _add_change(verb)
    verb.set_defaults(run=_rotate)

    verb = keys.add_parser("export", help="write what waits for signatures to a folder, to be carried to the keys")
    _add_home(verb)
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    verb.set_defaults(run=_export)

    verb = keys.add_parser("sign", help="sign what waits: in a folder that was carried here, or in a registry's home")
    verb.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="what `export` wrote")
    verb.add_argument("--home", type=Path, metavar="DIR", help="or a registry's home, where the key is at hand there")
    verb.add_argument("--key", required=True, metavar="FILE|URI", help="a key file, or hsm:ID?label=TOKEN")
    verb.add_argument("--yes", action="store_true", help="do not ask")
    verb.add_argument("--dry-run", action="store_true", help="say what would be signed, and sign nothing")
    _add_secret(verb)
    verb.set_defaults(run=_sign, usage=verb.error)

    verb = keys.add_parser("import", help="take the signatures of a folder that came back")
    _add_home(verb)
    verb.add_argument("folder", type=Path, metavar="DIR", help="what `export` wrote and `sign` signed")
    verb.add_argument("--dry-run", action="store_true", help="say what is in it, and take nothing")
    verb.set_defaults(run=_import)

    verb = keys.add_parser("discard", help="give up a change of keys that waits for signatures")
    _add_home(verb)
    verb.add_argument("--dry-run", action="store_true", help="say what would be given up")
    verb.set_defaults(run=_discard)


def _add_home(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--home", type=Path, required=True, metavar="DIR", help="made by `genba registry init`")


def _add_change(verb: argparse.ArgumentParser) -> None:
    _add_home(verb)
    verb.add_argument("role", choices=ROLES, metavar="ROLE", help=", ".join(ROLES))
    verb.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")


def _add_secret(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help=f"passphrase or PIN, on its first line; else {VARIABLE}, or it is asked for",
    )


def _show(options: argparse.Namespace) -> int:
    state = trust_state(options.home)
    if options.json:
        print(json.dumps(msgspec.to_builtins(state), indent=2))
        return 0
    for role in state.roles:
        print("\n".join(_role_lines(role)))
    for one in state.waiting:
        print(f"\nwaits: {one}; can be given by {', '.join(keyid[:12] for keyid in one.keyids)}")
    for line in [*state.warnings, *_advice(state)]:
        print(f"\n! {line}")
    return 0


def _role_lines(role: RoleState) -> list[str]:
    until = f", good until {_day(role.expires_at)}" if role.expires_at else ""
    lines = [f"{role.role}: {role.threshold} of {len(role.keys)}{until}"]
    for key in role.keys:
        where = f"online, HOME/keys/{key.place}" if key.place else "offline"
        lines.append(f"  {key.keyid[:12]}  {where}" + (f"  {key.label}" if key.label else ""))
    return lines


def _advice(state: TrustState) -> list[str]:
    exposed = [role.role for role in state.roles if role.online and role.role in ("image-root", "image-targets")]
    if not exposed:
        return []
    return [
        f"{' and '.join(exposed)} can be signed on this machine: whoever breaks into it can have devices run anything. "
        "That is fine for a trial; docs/ceremony.md takes these keys offline."
    ]


def _create(options: argparse.Namespace) -> int:
    secret = _secret(options)
    out = options.out or Path(f"{options.key}.pub")
    if options.key.startswith("hsm:"):
        if options.out is None:
            options.usage("give --out FILE for the public half of a key in a token")
        key: Key = import_remote(options.key, secret)
    else:
        passphrase = None if options.no_passphrase else _new_passphrase(options, Path(options.key))
        key = write_key(Path(options.key), passphrase)
    if options.label:
        key.unrecognized_fields[LABEL] = options.label
    write_public(out, key)
    print(f"key {key.keyid[:12]}; its public half is {out}: `genba registry keys add ROLE {out} --home DIR`")
    return 0


def _add(options: argparse.Namespace) -> int:
    return _change(options, adding(options.role, read_public(options.public)))


def _revoke(options: argparse.Namespace) -> int:
    return _change(options, revoking(options.role, options.keyid))


def _threshold(options: argparse.Namespace) -> int:
    return _change(options, with_threshold(options.role, options.threshold))


def _rotate(options: argparse.Namespace) -> int:
    state = next(role for role in trust_state(options.home).roles if role.role == options.role)
    old = [key for key in state.keys if key.place is not None]
    if not old:
        raise CeremonyRefusedError(f"{options.role} has no online key to replace; use `create`, `add` and `revoke`")
    edits = [revoking(options.role, key.keyid) for key in old]
    if options.dry_run:
        print(f"{options.role}: + a new key in {options.home / 'keys'}")
        print("\n".join(f"{options.role}: - key {key.keyid[:12]} ({key.place})" for key in old))
        return 0
    path = options.home / "keys" / f"{options.role}-{int(time.time())}.pem"
    key = write_key(path)
    try:
        return _change(options, in_turn(adding(options.role, key), *edits))
    except CeremonyRefusedError:
        path.unlink()
        raise


def _change(options: argparse.Namespace, edit: Callable[[Root], None]) -> int:
    name = PLACES[_role(options)][0]
    opened = repository(options.home, name)
    before = opened.current_root()
    after = opened.change_keys(edit, dry_run=options.dry_run)
    print("\n".join(describe(before, after, name)))
    if options.dry_run:
        print("nothing was changed (--dry-run)")
        return 0
    _tell_waiting(options.home)
    _tell_unused(options.home)
    return 0


def _role(options: argparse.Namespace) -> Role:
    role: Role = options.role
    return role


def _tell_waiting(home: Path) -> None:
    waiting = [one for name in NAMES for one in repository(home, name).waiting()]
    if not waiting:
        print("in force: devices follow at their next update")
    for one in waiting:
        print(f"waits: {one}; next: `genba registry keys export --home {home} --out DIR`, or `... keys sign --home`")


def _tell_unused(home: Path) -> None:
    used = {key.place for role in trust_state(home).roles for key in role.keys}
    staged = [root for name in NAMES if (root := repository(home, name).staged_root()) is not None]
    if staged:
        return
    for path in sorted((home / "keys").glob("*.pem")):
        if path.name not in used:
            print(f"{path} signs nothing any more: carry it away, or delete it")


def _export(options: argparse.Namespace) -> int:
    for line in export_request(options.home, options.out, time.time):
        print(line)
    print(f"carry {options.out} to the keys, `genba registry keys sign DIR --key FILE`, and back to `... keys import`")
    return 0


def _sign(options: argparse.Namespace) -> int:
    if (options.folder is None) == (options.home is None):
        options.usage("give either the folder that `export` wrote, or --home DIR")
    if options.home is not None:
        return _sign_at_home(options)
    request = SigningRequest(options.folder)
    print("\n".join(request.describe()))
    if options.dry_run:
        return 0
    signer = open_signer(options.key, request.keys(), _secret(options))
    _confirm(options)
    done = request.sign(signer)
    print("\n".join(f"signed: {line}" for line in done))
    return 0


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
    signer = open_signer(options.key, public, _secret(options))
    _confirm(options)
    done = [line for each in opened for line in each.sign(signer)]
    if not done:
        raise CeremonyRefusedError(f"nothing that waits needs the key {signer.public_key.keyid[:12]}")
    print("\n".join(f"signed: {line}" for line in done))
    _tell_waiting(options.home)
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
    _tell_unused(options.home)
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


def _secret(options: argparse.Namespace) -> Secret:
    return read_passphrase_file(options.passphrase_file) if options.passphrase_file is not None else ask_for


def _new_passphrase(options: argparse.Namespace, path: Path) -> str:
    if path.exists():
        raise KeyRefusedError(str(path), "is there already; a key is only ever written to a new file")
    secret = _secret(options)
    found = secret(f"Passphrase for {path.name}")
    if found != secret("Again"):
        raise KeyRefusedError(str(path), "the two passphrases differ; nothing was written")
    if len(found) < FEWEST_CHARACTERS:
        raise KeyRefusedError(str(path), f"its passphrase is shorter than {FEWEST_CHARACTERS}; nothing was written")
    return found


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
