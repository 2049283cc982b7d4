"""Releases by patch: a file of a release that is here already, and what changed, in place of the whole file."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from tuf.api.exceptions import DownloadError, LengthOrHashMismatchError

from edge_agent.disk import replacing
from edge_agent.releases import ReleaseStore
from edge_agent.signed_metadata import SignedTarget
from protocols.errors import ManifestError
from protocols.manifest import decode_manifest
from protocols.names import ReleaseRef
from protocols.patches import (
    LEAST_FILE_BYTES,
    PatchError,
    apply_patch,
    memory_needed,
    patch_limit,
    patch_resource,
)

log = logging.getLogger(__name__)

_CHUNK_BYTES = 64 * 1024


class Patching:
    """Tries to make a target from what the device has. `counts`: `patched`, `none` (there is no patch), `failed`.

    Args:
        budget_bytes: most memory that a patch may take; 0: none is ever asked for.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self.counts: Counter[str] = Counter()

    def make(
        self,
        ref: ReleaseRef,
        target: SignedTarget,
        store: ReleaseStore,
        path: Path,
        download: Callable[[str, int], AbstractContextManager[IO[bytes]]],
    ) -> bool:
        """Write a target to `path` by a patch, verified; False where it must come whole."""
        base = self._base(ref, target, store)
        if base is None:
            return False
        file, sha256 = base
        try:
            resource = patch_resource(target.path, sha256, target.hashes["sha256"])
            with download(resource, patch_limit(target.length)) as patch:
                self._apply(file, patch, target, path)
        except (DownloadError, KeyError):
            self.counts["none"] += 1
            return False
        except (PatchError, LengthOrHashMismatchError, OSError, MemoryError) as error:
            self.counts["failed"] += 1
            log.warning("a patch failed, so the whole file is fetched: %s", error, extra={"target": target.path})
            return False
        self.counts["patched"] += 1
        log.info("patched", extra={"target": target.path, "base": str(file.parent.name)})
        return True

    def _apply(self, base: Path, patch: IO[bytes], target: SignedTarget, path: Path) -> None:
        with replacing(path) as file:
            for piece in apply_patch(base.read_bytes(), _chunks(patch), target.length):
                file.write(piece)
            file.flush()
            with os.fdopen(os.dup(file.fileno()), "rb") as made:
                made.seek(0)
                target.verify_length_and_hashes(made)

    def _base(self, ref: ReleaseRef, target: SignedTarget, store: ReleaseStore) -> tuple[Path, str] | None:
        """Return the same file of the newest other release of the model that is here, and its digest."""
        if target.length < LEAST_FILE_BYTES:
            return None
        name = Path(target.path).name
        for other in store.versions(ref.model):
            folder = store.path(other)
            try:
                info = decode_manifest((folder / "release.json").read_bytes()).files[name]
            except (OSError, ManifestError, KeyError):
                continue
            if other != ref and memory_needed(info.size_bytes, target.length) <= self._budget:
                return folder / name, info.sha256
        return None


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
