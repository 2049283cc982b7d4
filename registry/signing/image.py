"""The image repository: what may ever run, on any device."""

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from protocols.manifest import FileInfo
from protocols.names import ReleaseRef
from protocols.resources import target_path
from registry.errors import ReleaseExistsError
from registry.signing.keys import load_signer, online_signers
from registry.signing.metadata import Clock, Lives, MetadataFolder
from registry.signing.rooted import RootedRepository, Waiting
from registry.signing.staged import WaitingRelease

LIVES = Lives(targets=timedelta(days=365), snapshot=timedelta(days=30), timestamp=timedelta(days=7))


class ImageRepository(RootedRepository):
    """Release metadata under HOME/image/metadata, signed by the release keys; freshness by the online key."""

    name = "image"

    def __init__(self, home: Path, clock: Clock = time.time) -> None:
        self._folder = home / "image" / "metadata"
        super().__init__(home, self._folder, clock)
        self._metadata = MetadataFolder(self._folder, self._signers, LIVES, clock)

    def create(self) -> None:
        """Sign the root and an empty list of releases; nothing where they are already."""
        self._folder.mkdir(parents=True, exist_ok=True)
        targets, online = load_signer(self._home, "image-targets"), load_signer(self._home, "image-online")
        with self._lock:
            self._roots.create(load_signer(self._home, "image-root"), targets, online, self._clock)
            if self._metadata.read("timestamp.json") is None:
                self._metadata.write_targets({})

    def publish(self, ref: ReleaseRef, files: Mapping[str, FileInfo], profiles: tuple[str, ...] = ()) -> bool:
        """Sign the files of a new release, or have it wait for the signatures of its release keys.

        Args:
            files: every file of the release by name, `release.json` among them.
            profiles: the device profiles it may run on; empty for any.

        Returns:
            Whether it is signed; what waits may not be assigned.

        Raises:
            ReleaseExistsError: a release of this name is signed or waits already; releases are immutable.
        """
        release = WaitingRelease(ref.model, ref.version, dict(files), tuple(profiles))
        with self._lock:
            self._finish_commit()
            waiting = self._staged.waiting()
            if not _entries(release).keys().isdisjoint(self._metadata.targets()) or ref in [one.ref for one in waiting]:
                raise ReleaseExistsError(ref)
            self._settle([*waiting, release])
            return ref not in [one.ref for one in self._staged.waiting()]

    def holds(self, model: str, file: str, sha256: str) -> bool:
        """Whether some signed release of a model has a file of this name and digest."""
        return any(
            path.startswith(f"{model}/") and path.endswith(f"/{file}") and target.hashes.get("sha256") == sha256
            for path, target in self._metadata.targets().items()
        )

    def unsigned(self) -> frozenset[ReleaseRef]:
        """Return the releases that are published and not signed."""
        return frozenset(release.ref for release in self._staged.waiting())

    def waits(self, ref: ReleaseRef) -> Waiting | None:
        """Return what a release waits for: the signatures on the targets that are to hold it; None if it is signed."""
        if ref not in self.unsigned():
            return None
        targets = next((one for one in self.waiting() if one.role == "targets"), None)
        if targets is not None and str(ref) in targets.releases:
            return targets
        role = self.current_root().roles[Targets.type]
        return Waiting("image", "targets", 0, 0, role.threshold, tuple(role.keyids), (str(ref),))

    def metadata(self, name: str) -> bytes | None:
        """Return one metadata file, freshly signed where its time had come; None if there is none of that name."""
        self._await_commit()
        if name == "timestamp.json" and self._metadata.needs_refresh():
            with self._lock:
                self._finish_commit()
                self._settle()
                self._metadata.refresh()
        return self._metadata.read(name)

    def carry(self, life: timedelta) -> dict[str, bytes]:
        """Return what a stick carries, by name: the chain of roots, and the newest metadata, good for `life`.

        The targets' own signature lasts as long as it does: the release keys may be far away.
        """
        with self._lock:
            lives = Lives(LIVES.targets, life, life)
            folder = MetadataFolder(self._folder, self._signers, lives, self._clock)
            folder.prolong(datetime.fromtimestamp(int(self._clock()), UTC) + life, targets=False)
            return {**self._roots.all(), **folder.newest()}

    def targets_expire(self) -> float | None:
        """When the release keys must have signed again, in seconds since the epoch; None before the first release."""
        expires = self._metadata.expires()
        return expires.timestamp() if expires else None

    # What a rooted repository leaves to each

    def _online_roles(self) -> tuple[str, ...]:
        return (Snapshot.type, Timestamp.type)

    def _newest_targets(self) -> Metadata[Targets] | None:
        return self._metadata.newest_targets()

    def _stage_targets(self, root: Metadata[Root] | None, releases: Iterable[WaitingRelease]) -> None:
        signed = self._metadata.targets()
        left = tuple(release for release in releases if not _entries(release).keys() <= signed.keys())
        if left != self._staged.waiting():
            self._staged.wait(left)
        binding = self._binding(root)
        if not left and not self._must_sign_again(binding):
            self._staged.drop("targets")
            return
        staged = self._staged.targets()
        if staged is None or not self._frozen(staged):
            wanted = dict(signed)
            for release in left:
                wanted.update(_entries(release))
            if staged is None or staged.signed.targets != wanted or not self._is_next(staged):
                staged = self._metadata.prepare(wanted)
        self._sign_online(staged, binding.roles[Targets.type].keyids)
        self._staged.put("targets", staged)

    def _commit_targets(self, targets: Metadata[Targets]) -> None:
        newest = self._metadata.newest_targets()
        if newest is None or newest.signed.version < targets.signed.version:
            self._metadata.commit(targets)

    def _follow_keys(self, before: Root, now: Root) -> None:
        self._metadata.follow_keys(before, now)

    def _must_sign_again(self, root: Root) -> bool:
        """Whether what is signed has lived half its life, or the root that counts would not accept it."""
        newest = self._metadata.newest_targets()
        if newest is None or self._metadata.targets_aged():
            return True
        return not root.get_verification_result(Targets.type, newest.signed_bytes, newest.signatures).verified

    def _frozen(self, staged: Metadata[Targets]) -> bool:
        """Once it is on its way to people, or one has signed, nothing is added: what comes waits for the next round."""
        signed = not set(staged.signatures) <= set(online_signers(self._home))
        return self._is_next(staged) and (signed or self._staged.is_carried())

    def _is_next(self, staged: Metadata[Targets]) -> bool:
        newest = self._metadata.newest_targets()
        return newest is not None and staged.signed.version == newest.signed.version + 1


def _entries(release: WaitingRelease) -> dict[str, TargetFile]:
    """The targets of one release, by path."""
    custom = {"custom": {"profiles": list(release.profiles)}} if release.profiles else {}
    made = {}
    for name, info in release.files.items():
        path = target_path(release.ref, name)
        made[path] = TargetFile(info.size_bytes, {"sha256": info.sha256}, path, dict(custom) or None)
    return made
