"""`genba registry keys`: who may sign what, and the ceremonies that change it (see docs/ceremony.md)."""

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from securesystemslib.signer import Key
from tuf.api.metadata import Root

from registry.errors import CeremonyRefusedError, KeyRefusedError
from registry.signature_verbs import add_home, add_secret, add_signing_verbs, secret_of, tell_unused, tell_waiting
from registry.signing.ceremony import (
    LABEL,
    PLACES,
    RoleState,
    TrustState,
    adding,
    describe,
    in_turn,
    in_words,
    repository,
    revoking,
    trust_state,
    with_threshold,
)
from registry.signing.keys import (
    ROLES,
    Role,
    read_public,
    write_key,
    write_public,
)
from registry.signing.tokens import take_or_make

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
    add_home(verb)
    verb.add_argument("--json", action="store_true", help="for programs")
    verb.set_defaults(run=_show)

    verb = keys.add_parser("create", help="make a key in a file with a passphrase, or in a PKCS#11 token")
    verb.add_argument("key", metavar="FILE|URI", help="a new file, or hsm:ID?label=TOKEN for a key in a token")
    verb.add_argument("--label", default="", metavar="TEXT", help="what people call it; it is public")
    verb.add_argument("--out", type=Path, metavar="FILE", help="the public half (default: FILE.pub)")
    verb.add_argument("--no-passphrase", action="store_true", help="leave the file in the clear, for a key service")
    add_secret(verb)
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
    add_signing_verbs(keys)


def _add_change(verb: argparse.ArgumentParser) -> None:
    add_home(verb)
    verb.add_argument("role", choices=ROLES, metavar="ROLE", help=", ".join(ROLES))
    verb.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")


def _show(options: argparse.Namespace) -> int:
    state = trust_state(options.home)
    if options.json:
        print(json.dumps(msgspec.to_builtins(state), indent=2))
        return 0
    print(f"root of the releases: sha256:{state.fingerprint}")
    for role in state.roles:
        print("\n".join(_role_lines(role)))
    for one in state.waiting:
        print(f"\nwaits: {one}; can be given by {', '.join(keyid[:12] for keyid in one.keyids)}")
    shown = tuple(map(str, state.waiting))
    for line in [*(line for line in state.warnings if not line.startswith(shown)), *_advice(state)]:
        print(f"\n! {line}")
    return 0


def _role_lines(role: RoleState) -> list[str]:
    until = f", good until {_day(role.expires_at)}" if role.expires_at else ""
    lines = [f"{role.role}: {in_words(role.threshold, len(role.keys))}{until}"]
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
    secret = secret_of(options)
    out = options.out or Path(f"{options.key}.pub")
    if options.key.startswith("hsm:"):
        if options.out is None:
            options.usage("give --out FILE for the public half of a key in a token")
        key: Key
        key, made = take_or_make(options.key, secret)
        print("made in the token, which it never leaves" if made else "taken from the token: it was there")
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
    tell_waiting(options.home)
    tell_unused(options.home)
    return 0


def _role(options: argparse.Namespace) -> Role:
    role: Role = options.role
    return role


def _new_passphrase(options: argparse.Namespace, path: Path) -> str:
    if path.exists():
        raise KeyRefusedError(str(path), "is there already; a key is only ever written to a new file")
    secret = secret_of(options)
    found = secret(f"Passphrase for {path.name}")
    if found != secret("Again"):
        raise KeyRefusedError(str(path), "the two passphrases differ; nothing was written")
    if len(found) < FEWEST_CHARACTERS:
        raise KeyRefusedError(str(path), f"its passphrase is shorter than {FEWEST_CHARACTERS}; nothing was written")
    return found


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
