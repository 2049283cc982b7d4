"""A small TUF repository in memory, with any keys and thresholds, and delegations: what a ceremony would leave."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Key,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

ROLES = ("root", "targets", "snapshot", "timestamp")


class TufRepository:
    """Signs with every key in `signers`; `publish` puts the next version of all roles into `files`.

    Attributes:
        signers: role -> keys that sign it; a role's first `thresholds[role]` of them would do.
        files: what the repository serves, by name under `prefix`.
        edit: changes each metadata object before it is signed.
    """

    def __init__(self, prefix: str = "", clock: Callable[[], float] | None = None, **keys: int) -> None:
        self.prefix, self.clock = prefix, clock or (lambda: datetime.now(UTC).timestamp())
        self.signers = {role: make_signers(keys.get(role, 1)) for role in ROLES}
        self.thresholds = dict.fromkeys(ROLES, 1)
        self.files: dict[str, bytes] = {}
        self.targets: dict[str, TargetFile] = {}
        self.edit: Callable[[str, Any], None] = lambda role, signed: None
        self.root_version = self.version = 0
        self.delegated: dict[str, Targets] = {}
        self.delegations: dict[str, Delegations] = {}

    @property
    def root(self) -> bytes:
        """Version 1: what a device pins."""
        return self.files[f"{self.prefix}1.root.json"]

    def publish_root(self, also: tuple[CryptoSigner, ...] = (), signers: list[CryptoSigner] | None = None) -> None:
        """Sign the next root by today's keys and `also` by the ones that are going."""
        self.root_version += 1
        root = Root(version=self.root_version, expires=self._expiry(), consistent_snapshot=True)
        for role in ROLES:
            for signer in self.signers[role]:
                root.add_key(signer.public_key, role)
            root.roles[role].threshold = self.thresholds[role]
        self._write(f"{self.root_version}.root.json", "root", root, [*(signers or self.signers["root"]), *also])

    def rotate(self, *roles: str, sign_with_old: bool = True) -> None:
        """Replace the keys of roles and sign the root that says so."""
        old = tuple(self.signers["root"]) if sign_with_old and "root" in roles else ()
        for role in roles:
            self.signers[role] = make_signers(len(self.signers[role]))
        self.publish_root(also=old)

    def publish(self) -> None:
        """Sign the next version of targets, snapshot and timestamp."""
        self.version += 1
        version = self.version
        targets = Targets(version, expires=self._expiry(), targets=dict(self.targets))
        targets.delegations = self.delegations.get("targets")
        meta = {"targets.json": MetaFile(version)} | {f"{name}.json": MetaFile(version) for name in self.delegated}
        for name, delegated in self.delegated.items():
            delegated.version, delegated.delegations = version, self.delegations.get(name)
            self._write(f"{version}.{name}.json", name, delegated, self.signers[name])
        self._write(f"{version}.targets.json", "targets", targets, self.signers["targets"])
        snapshot = Snapshot(version, expires=self._expiry(), meta=meta)
        self._write(f"{version}.snapshot.json", "snapshot", snapshot, self.signers["snapshot"])
        timestamp = Timestamp(version, expires=self._expiry(), snapshot_meta=MetaFile(version))
        self._write("timestamp.json", "timestamp", timestamp, self.signers["timestamp"])

    def delegate(self, parent: str, name: str, paths: list[str], signer: CryptoSigner) -> None:
        """Let `parent` trust `name` for paths, when signed by this key."""
        key: Key = signer.public_key
        delegations = self.delegations.setdefault(parent, Delegations({}, {}))
        assert delegations.roles is not None
        delegations.keys[key.keyid] = key
        delegations.roles[name] = DelegatedRole(name, [key.keyid], 1, False, paths)
        self.delegated.setdefault(name, Targets(expires=self._expiry()))
        self.signers.setdefault(name, [signer])

    def _write(self, name: str, role: str, signed: Any, signers: list[CryptoSigner]) -> None:
        self.edit(role, signed)
        metadata: Metadata[Any] = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        self.files[self.prefix + name] = metadata.to_bytes()

    def _expiry(self) -> datetime:
        return datetime.fromtimestamp(int(self.clock()), UTC) + timedelta(days=7)


def make_signers(count: int) -> list[CryptoSigner]:
    return [CryptoSigner.generate_ed25519() for _ in range(count)]
