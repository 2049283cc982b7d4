"""A repository under its root: who may sign what, what the registry signs by itself, and what waits for people.

Both repositories are one of these. A change of keys is a next root, *staged* until enough of the keys of both the
old and the new root have signed it; new releases are next targets, staged until enough release keys have. Where all
the keys needed are online, nothing ever waits.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from filelock import FileLock
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import Key, Signature, Signer
from tuf.api.metadata import Metadata, Root, Targets, Timestamp

from registry.errors import CeremonyRefusedError, KeyRefusedError, NotInitialisedError
from registry.signing.keys import add_signature, online_signers
from registry.signing.metadata import Clock, Signers
from registry.signing.roots import ROOT_LIFE, Roots
from registry.signing.staged import Kind, Staged, WaitingRelease

Name = Literal["image", "director"]


class Waiting(msgspec.Struct, frozen=True):
    """Metadata that lacks signatures. `have` of `need` are there; any of `keyids` can give those that are missing."""

    repository: Name
    role: Kind
    version: int
    have: int
    need: int
    keyids: tuple[str, ...]
    releases: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return self.have >= self.need

    def __str__(self) -> str:
        what = f" ({', '.join(self.releases)})" if self.releases else ""
        return f"{self.repository} {self.role} version {self.version}{what}: {self.have} of {self.need} signatures"


class RootedRepository:
    """One repository's roots and what is staged beside them.

    Args:
        roots: the folder of its roots.

    Raises:
        NotInitialisedError: the home has no keys.
    """

    name: Name

    def __init__(self, home: Path, roots: Path, clock: Clock) -> None:
        if not (home / "keys").is_dir():
            raise NotInitialisedError(home)
        self._home = home
        self._clock = clock
        self._roots = Roots(roots, home)
        self._staged = Staged(home / self.name / "staged")
        self._lock = FileLock(home / self.name / ".lock", timeout=30)

    @property
    def root(self) -> bytes:
        """Version 1 of the root: what a device pins at enrolment."""
        return self._roots.first

    def current_root(self) -> Root:
        """Return the newest root."""
        return self._roots.current().signed

    def staged_root(self) -> Root | None:
        """Return the root that is to come, or None."""
        staged = self._next_root()
        return staged.signed if staged else None

    def waiting(self) -> tuple[Waiting, ...]:
        """Return what waits for signatures."""
        return tuple(waiting for _, _, waiting in self._unsigned() if not waiting.complete)

    def change_keys(self, edit: Callable[[Root], None], *, dry_run: bool = False) -> Root:
        """Stage a next root, or change the one that is staged, and put it in force if the keys at hand suffice.

        Signatures on an earlier form of it are void. Returns the root as it would be, or now is.

        Raises:
            CeremonyRefusedError: the root would be one that nobody could ever follow.
        """
        with self._lock:
            self._finish_commit()
            current = self._roots.current().signed
            staged = self._next_root()
            root = deepcopy(staged.signed if staged else current)
            edit(root)
            root.version, root.expires = current.version + 1, self._now() + ROOT_LIFE
            self._check_root(root)
            if not dry_run:
                self._staged.put("root", Metadata(root))
                self._settle()
            return root

    def sign(self, signer: Signer) -> list[str]:
        """Sign with this key all that waits for it; return what was signed, in words."""
        with self._lock:
            self._finish_commit()
            self._settle()
            keyid = signer.public_key.keyid
            done = []
            for kind, metadata, waiting in self._unsigned():
                if keyid in waiting.keyids:
                    add_signature(metadata, signer)
                    self._staged.put(kind, metadata)
                    done.append(f"{self.name} {kind} version {metadata.signed.version}")
            self._settle()
            return done

    def merge(self, kind: Kind, signed: Metadata[Any]) -> int:
        """Take over the signatures of what was carried away and signed; return how many were new and valid.

        Raises:
            CeremonyRefusedError: it is not what is staged here.
        """
        with self._lock:
            self._finish_commit()
            here, wanted = next(
                ((one, waits.keyids) for role, one, waits in self._unsigned() if role == kind), (None, ())
            )
            what = f"{self.name} {kind} version {signed.signed.version}"
            if signed.signed_bytes in self._in_force():
                return 0
            if here is None:
                raise CeremonyRefusedError(f"{what}: nothing of that kind waits for a signature here")
            if here.signed_bytes != signed.signed_bytes:
                raise CeremonyRefusedError(
                    f"{what} is not what waits here now (it was changed after the request was written): export it anew"
                )
            known = self.known_keys()
            allowed = {keyid: known[keyid] for keyid in wanted}
            new = {
                keyid: signature
                for keyid, signature in signed.signatures.items()
                if keyid in allowed and keyid not in here.signatures and _valid(allowed[keyid], signature, here)
            }
            here.signatures.update(new)
            self._staged.put(kind, here)
            self._settle()
            return len(new)

    def discard(self) -> list[str]:
        """Give up the staged change of keys; return what was given up, in words. Releases keep waiting."""
        with self._lock:
            self._finish_commit()
            root = self._next_root()
            if root is None:
                return []
            self._staged.drop("root")
            self._staged.drop("targets")  # they may have been made for the root that now never comes
            self._settle()
            return [f"{self.name} root version {root.signed.version}"]

    def request_files(self, *, carried: bool = False) -> dict[str, bytes]:
        """Return the files that a person needs to sign elsewhere: what is in force, and what is to come.

        Args:
            carried: they leave for a while. What is to come is made anew, for its whole life, where nobody has signed
                it yet, and stays as it is from now on, so that what comes back still fits.
        """
        with self._lock:
            self._finish_commit()
            if carried:
                self._renew_staged()
            files = {"root.json": self._roots.current().to_bytes()}
            newest = self._newest_targets()
            if newest is not None:
                files["targets.json"] = newest.to_bytes()
            return files | {f"staged.{kind}.json": metadata.to_bytes() for kind, metadata, _ in self._unsigned()}

    def _renew_staged(self) -> None:
        online = set(online_signers(self._home))
        root, targets = self._next_root(), self._staged.targets()
        if root is not None and set(root.signatures) <= online:
            root.signed.expires = self._now() + ROOT_LIFE
            self._staged.put("root", Metadata(root.signed))
        if targets is not None and set(targets.signatures) <= online:
            self._staged.drop("targets")
        self._settle()
        self._staged.carry()

    def known_keys(self) -> Mapping[str, Key]:
        """Return every public key that the roots in force and to come know, by key id."""
        current, staged = self._roots.current().signed, self.staged_root()
        return {**current.keys, **(staged.keys if staged else {})}

    # What the two repositories do each in their own way

    def _check_root(self, root: Root) -> None:
        """Refuse a root that nobody could follow."""
        online = online_signers(self._home)
        for name, role in root.roles.items():
            if not 1 <= role.threshold <= len(role.keyids):
                raise CeremonyRefusedError(
                    f"{self.name} {name}: {role.threshold} signatures of {len(role.keyids)} keys can never be; "
                    "add keys first, or lower the threshold in the same ceremony"
                )
            if len({str(root.keys[keyid].keyval) for keyid in role.keyids}) < len(role.keyids):
                raise CeremonyRefusedError(f"{self.name} {name}: one key is in it twice, and would count as two")
            if name in self._online_roles() and len(set(role.keyids) & set(online)) < role.threshold:
                raise CeremonyRefusedError(
                    f"{self.name} {name} is signed by the registry itself, all the time: its key must lie in "
                    f"{self._home / 'keys'}; `genba registry keys rotate {self.name}-online` makes one there"
                )

    def _online_roles(self) -> tuple[str, ...]:
        raise NotImplementedError

    def _newest_targets(self) -> Metadata[Targets] | None:
        return None

    def _stage_targets(self, root: Metadata[Root] | None, releases: Iterable[WaitingRelease]) -> None:
        """Bring the staged targets up to date with the releases that wait and the root that is to come."""

    def _commit_targets(self, targets: Metadata[Targets]) -> None:
        """Put signed targets in force; again, if that was cut short."""

    def _follow_keys(self, before: Root, now: Root) -> None:
        """Sign again what the registry signs by itself, where the keys for that have changed."""
        raise NotImplementedError

    # The rules of staging

    def _settle(self, releases: Iterable[WaitingRelease] | None = None) -> None:
        """Sign what can be signed at once, and put in force what has all its signatures."""
        root = self._next_root() or self._renewed_root()
        if root is not None:
            self._sign_online(root, {*self._roots.current().signed.roles[Root.type].keyids, *_root_keys(root.signed)})
            self._staged.put("root", root)
        self._stage_targets(root, self._staged.waiting() if releases is None else releases)
        targets = self._staged.targets()
        bound = targets is not None and root is not None and self._binding(root) is root.signed
        root_ready = root is not None and _root_waits(self.name, self._roots.current().signed, root).complete
        targets_ready = targets is not None and self._targets_wait(targets, self._binding(root)).complete
        ready: list[Kind] = []
        if root_ready and (targets_ready or not bound):
            ready.append("root")
        if targets_ready and (root_ready or not bound):
            ready.append("targets")
        if ready:
            self._staged.begin_commit(ready)
            self._finish_commit()
            self._settle()

    def _next_root(self) -> Metadata[Root] | None:
        """The root that is to come. While it is put in force, or after a death there, it is here and in force both."""
        root = self._staged.root()
        return root if root and root.signed.version == self._roots.current().signed.version + 1 else None

    def _renewed_root(self) -> Metadata[Root] | None:
        """A root that has lived half its life is followed by one that differs in nothing but its end."""
        current = self._roots.current().signed
        if current.expires - self._now() > ROOT_LIFE / 2:
            return None
        root = deepcopy(current)
        root.version, root.expires = current.version + 1, self._now() + ROOT_LIFE
        return Metadata(root)

    def _await_commit(self) -> None:
        """Let nobody read between a new root and what belongs to it, nor after a death there; cheap otherwise."""
        if self._staged.is_committing():
            with self._lock:
                self._finish_commit()

    def _finish_commit(self) -> None:
        found = self._staged.committing()
        if found is None:
            return
        root, targets = found
        if root is not None:
            self._roots.add(root)
        if targets is not None:
            self._commit_targets(targets)
        if root is not None:
            self._follow_keys(self._roots.version(root.signed.version - 1).signed, root.signed)
        self._staged.end_commit()

    def _binding(self, root: Metadata[Root] | None) -> Root:
        """Return the root whose release keys staged targets need: the one to come, if it changes them."""
        current = self._roots.current().signed
        if root is None or _role(root.signed, Targets.type) == _role(current, Targets.type):
            return current
        return root.signed

    def _in_force(self) -> list[bytes]:
        newest = self._newest_targets()
        return [self._roots.current().signed_bytes, *([newest.signed_bytes] if newest else [])]

    def _unsigned(self) -> list[tuple[Kind, Metadata[Any], Waiting]]:
        root, targets = self._next_root(), self._staged.targets()
        found: list[tuple[Kind, Metadata[Any], Waiting]] = []
        if root is not None:
            found.append(("root", root, _root_waits(self.name, self._roots.current().signed, root)))
        if targets is not None:
            found.append(("targets", targets, self._targets_wait(targets, self._binding(root))))
        return found

    def _targets_wait(self, targets: Metadata[Targets], root: Root) -> Waiting:
        result = root.get_verification_result(Targets.type, targets.signed_bytes, targets.signatures)
        releases = sorted({path.rpartition("/")[0] for path in targets.signed.targets} - self._signed_paths())
        names = tuple(_release_name(path) for path in releases)
        return Waiting(
            self.name,
            "targets",
            targets.signed.version,
            len(result.signed),
            result.threshold,
            tuple(result.unsigned),
            names,
        )

    def _signed_paths(self) -> set[str]:
        newest = self._newest_targets()
        return {path.rpartition("/")[0] for path in newest.signed.targets} if newest else set()

    def _sign_online(self, metadata: Metadata[Any], keyids: Iterable[str]) -> None:
        for keyid, signer in online_signers(self._home).items():
            if keyid in keyids and keyid not in metadata.signatures:
                add_signature(metadata, signer)

    def _signers(self) -> Signers:
        """Who signs without being asked, by the root in force.

        Raises:
            KeyRefusedError: a key that the registry signs with all the time is gone.
        """
        roles = self._roots.current().signed.roles
        online = online_signers(self._home)

        def chosen(name: str) -> list[Signer]:
            role = roles[name]
            found = [online[keyid] for keyid in role.keyids if keyid in online]
            if name in self._online_roles() and len(found) < role.threshold:
                lost = ", ".join(keyid[:12] for keyid in role.keyids if keyid not in online)
                raise KeyRefusedError(lost, f"signs the {self.name} {name} and is not in {self._home / 'keys'}")
            return found

        return Signers(chosen(Targets.type), chosen(Timestamp.type))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(int(self._clock()), UTC)


def _root_waits(name: Name, current: Root, staged: Metadata[Root]) -> Waiting:
    """A root needs enough keys of the one before it, so that devices follow, and enough of its own."""
    result = staged.signed.get_root_verification_result(current, staged.signed_bytes, staged.signatures)
    halves = (result.first, result.second)
    worst = max(halves, key=lambda half: half.threshold - len(half.signed))
    keyids = dict.fromkeys(keyid for half in halves if not half.verified for keyid in half.unsigned)
    return Waiting(name, "root", staged.signed.version, len(worst.signed), worst.threshold, tuple(keyids))


def _role(root: Root, role: str) -> tuple[int, frozenset[str]]:
    return root.roles[role].threshold, frozenset(root.roles[role].keyids)


def _root_keys(root: Root) -> list[str]:
    return list(root.roles[Root.type].keyids)


def _release_name(path: str) -> str:
    model, _, version = path.rpartition("/")
    return f"{model}@{version}"


def _valid(key: Key, signature: Signature, metadata: Metadata[Any]) -> bool:
    try:
        key.verify_signature(signature, metadata.signed_bytes)
    except (UnverifiedSignatureError, VerificationError):
        return False
    return True
