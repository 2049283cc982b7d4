"""Ceremonies: changes of keys, said in the operator's words and carried out on a next root."""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from securesystemslib.signer import Key
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from registry.errors import CeremonyRefusedError
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository
from registry.signing.keys import REMOTE, Role, read_key, read_remote
from registry.signing.metadata import Clock
from registry.signing.rooted import Name, RootedRepository, Waiting

#: Which repository's roles each of ours is.
PLACES: dict[Role, tuple[Name, tuple[str, ...]]] = {
    "image-root": ("image", (Root.type,)),
    "image-targets": ("image", (Targets.type,)),
    "image-online": ("image", (Snapshot.type, Timestamp.type)),
    "director-root": ("director", (Root.type,)),
    "director-online": ("director", (Targets.type, Snapshot.type, Timestamp.type)),
}
#: A field of a key beside those of TUF: what people call it.
LABEL = "x-genba-label"
#: From so many days before its end, something that only people can sign is a warning.
WARN_DAYS = 60


class KeyState(msgspec.Struct, frozen=True):
    """One key of a role. `place`: where in HOME/keys its private half is reached; None for an offline key."""

    keyid: str
    label: str
    place: str | None


class RoleState(msgspec.Struct, frozen=True):
    """One role: `threshold` of `keys` must sign. `expires_at`: seconds since the epoch, None where it renews itself."""

    role: Role
    threshold: int
    keys: tuple[KeyState, ...]
    expires_at: float | None = None

    @property
    def online(self) -> bool:
        """Whether the registry can sign for this role by itself."""
        return sum(key.place is not None for key in self.keys) >= self.threshold


class TrustState(msgspec.Struct, frozen=True):
    """The keys, what waits for signatures, and what an operator should look at.

    Attributes:
        fingerprint: SHA-256 of the image repository's first root, from which devices and scorers trust releases.
    """

    roles: tuple[RoleState, ...]
    waiting: tuple[Waiting, ...]
    warnings: tuple[str, ...]
    fingerprint: str


def repository(home: Path, name: Name, clock: Clock = time.time) -> RootedRepository:
    """Open one of the two repositories."""
    return ImageRepository(home, clock) if name == "image" else DirectorRepository(home, clock)


def trust_state(home: Path, clock: Clock = time.time) -> TrustState:
    """Return who can sign what, what waits, and what will soon be too late."""
    image, director = ImageRepository(home, clock), DirectorRepository(home, clock)
    places = _places(home)
    ends = {
        "image-root": image.current_root().expires.timestamp(),
        "director-root": director.current_root().expires.timestamp(),
        "image-targets": image.targets_expire(),
    }
    roles = []
    for role, (name, tuf_roles) in PLACES.items():
        root = (image if name == "image" else director).current_root()
        found = root.roles[tuf_roles[0]]
        keys = tuple(KeyState(keyid, label(root.keys[keyid]), places.get(keyid)) for keyid in found.keyids)
        roles.append(RoleState(role, found.threshold, keys, ends.get(role)))
    waiting = (*image.waiting(), *director.waiting())
    fingerprint = hashlib.sha256(image.root).hexdigest()
    return TrustState(tuple(roles), waiting, tuple(_warnings(roles, waiting, clock())), fingerprint)


def adding(role: Role, key: Key) -> Callable[[Root], None]:
    """Return the edit that lets one more key sign for a role."""

    def edit(root: Root) -> None:
        for name in PLACES[role][1]:
            if key.keyid in root.roles[name].keyids:
                raise CeremonyRefusedError(f"{role} has the key {key.keyid[:12]} already")
            root.add_key(key, name)

    return edit


def revoking(role: Role, keyid: str) -> Callable[[Root], None]:
    """Return the edit that takes a key from a role; its first characters suffice.

    Raises (when carried out):
        CeremonyRefusedError: no key of the role, or several, begin so.
    """

    def edit(root: Root) -> None:
        known = root.roles[PLACES[role][1][0]].keyids
        meant = [one for one in known if one.startswith(keyid)]
        if len(meant) != 1:
            shown = ", ".join(one[:12] for one in known)
            raise CeremonyRefusedError(f"{role} has {len(meant)} keys that begin with {keyid!r}; it has {shown}")
        for name in PLACES[role][1]:
            root.revoke_key(meant[0], name)

    return edit


def with_threshold(role: Role, threshold: int) -> Callable[[Root], None]:
    """Return the edit that sets how many keys of a role must sign."""

    def edit(root: Root) -> None:
        for name in PLACES[role][1]:
            root.roles[name].threshold = threshold

    return edit


def in_turn(*edits: Callable[[Root], None]) -> Callable[[Root], None]:
    """Return all of these edits as one."""

    def edit(root: Root) -> None:
        for each in edits:
            each(root)

    return edit


def describe(before: Root, after: Root, name: Name) -> list[str]:
    """Say in words what a next root changes."""
    lines = []
    for role, (place, tuf_roles) in PLACES.items():
        if place != name:
            continue
        for each in tuf_roles:
            old, new = before.roles[each], after.roles[each]
            lines += [f"{role}: + key {_named(after, keyid)}" for keyid in new.keyids if keyid not in old.keyids]
            lines += [f"{role}: - key {_named(before, keyid)}" for keyid in old.keyids if keyid not in new.keyids]
            if old.threshold != new.threshold:
                lines.append(f"{role}: {old.threshold} -> {new.threshold} signatures of {len(new.keyids)} keys")
            changed = [keyid for keyid in new.keyids if _is_another(before, after, keyid)]
            lines += [f"{role}: CHANGED key {_named(after, keyid)}: another key under the same id" for keyid in changed]
    until = after.expires.strftime("%Y-%m-%d")
    return [*dict.fromkeys(lines), f"{name} root: version {before.version} -> {after.version}, good until {until}"]


def describe_all(root: Root, name: Name) -> list[str]:
    """Say in words who may sign what under a root, whatever was so before."""
    lines = []
    for role, (place, tuf_roles) in PLACES.items():
        for each in tuf_roles if place == name else ():
            found = root.roles[each]
            keys = ", ".join(_named(root, keyid) for keyid in found.keyids)
            lines.append(f"{role}: then {in_words(found.threshold, len(found.keyids))}: {keys}")
    return list(dict.fromkeys(lines))


def in_words(threshold: int, keys: int) -> str:
    """How many keys of a role must sign; not to be taken for how many have."""
    return f"{threshold} signature{'s' if threshold != 1 else ''} of {keys} key{'s' if keys != 1 else ''}"


def label(key: Key) -> str:
    """What people call a key; empty where it has no name. Nothing in it can move a terminal's cursor."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(key.unrecognized_fields.get(LABEL, "")))


def _is_another(before: Root, after: Root, keyid: str) -> bool:
    old, new = before.keys.get(keyid), after.keys[keyid]
    return old is not None and (old.keytype, old.scheme, old.keyval) != (new.keytype, new.scheme, new.keyval)


def _named(root: Root, keyid: str) -> str:
    name = label(root.keys[keyid])
    return f"{keyid[:12]} ({name})" if name else keyid[:12]


def _places(home: Path) -> dict[str, str]:
    """Where in HOME/keys each online key is, by key id."""
    found = {}
    for path in sorted((home / "keys").glob("*.pem")):
        if b"ENCRYPTED" not in path.read_bytes():
            found[read_key(path).public_key.keyid] = path.name
    for path in sorted((home / "keys").glob(f"*{REMOTE}")):
        found[read_remote(path).keyid] = path.name
    return found


def _warnings(roles: list[RoleState], waiting: tuple[Waiting, ...], now: float) -> list[str]:
    found = [f"{one}; `genba registry keys show` says who can sign" for one in waiting]
    for role in roles:
        if role.expires_at is None or role.expires_at - now > WARN_DAYS * 86_400:
            continue
        day = datetime.fromtimestamp(role.expires_at, UTC).strftime("%Y-%m-%d")
        if role.expires_at <= now:
            found.append(f"{role.role} has expired on {day}: devices install nothing new until its keys have signed")
        else:
            found.append(f"{role.role} expires on {day}: its keys must sign before (genba registry keys export)")
    return found
