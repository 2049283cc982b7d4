"""Releases: the signed, immutable versions of each model."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from protocols.manifest import FileInfo, Manifest, decode_manifest, encode_manifest
from protocols.names import ReleaseRef, check_name
from registry.catalogue._sqlite import Connections
from registry.errors import ReleaseExistsError, UnknownReleaseError


class Release(msgspec.Struct, frozen=True):
    """One release. `published_by` is the label of the API token, or what else published it.

    `report` is the trainer's own account (guardrails, trials), JSON; it is not part of what is signed.
    """

    model: str
    version: int
    digest: str
    published_at: float
    published_by: str
    manifest: Manifest
    manifest_file: FileInfo
    report: bytes | None = None

    @property
    def ref(self) -> ReleaseRef:
        return ReleaseRef(self.model, self.version)

    @property
    def files(self) -> dict[str, FileInfo]:
        """Every file by name, `release.json` among them."""
        return {"release.json": self.manifest_file, **self.manifest.files}


class Releases:
    """The releases."""

    def __init__(self, connections: Connections, clock: Callable[[], float]) -> None:
        self._connections = connections
        self._clock = clock

    def next_version(self, model: str) -> int:
        """Give out the next version of a model; no version is given twice, whatever becomes of it."""
        check_name("model", model)
        with self._connections.transaction() as db:
            db.execute(
                "INSERT INTO models (name, last_version, created_at) VALUES (?, 1, ?)"
                " ON CONFLICT (name) DO UPDATE SET last_version = last_version + 1",
                (model, self._clock()),
            )
            row = self._connections.row("SELECT last_version FROM models WHERE name = ?", (model,))
        assert row is not None  # noqa: S101 - the statement above made it
        return int(row["last_version"])

    def add(self, manifest: Manifest, published_by: str = "registry", report: bytes | None = None) -> None:
        """Catalogue a release under the version that its manifest carries.

        Raises:
            ReleaseExistsError: there is one already.
        """
        body = encode_manifest(manifest)
        with self._connections.transaction() as db:
            if self._row(manifest.release) is not None:
                raise ReleaseExistsError(manifest.release)
            db.execute(
                "INSERT INTO models (name, last_version, created_at) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET last_version = MAX(last_version, excluded.last_version)",
                (manifest.model, manifest.version, self._clock()),
            )
            db["releases"].insert(
                {
                    "model": manifest.model,
                    "version": manifest.version,
                    "digest": manifest.digest,
                    "manifest": body,
                    "manifest_sha256": hashlib.sha256(body).hexdigest(),
                    "published_at": self._clock(),
                    "published_by": published_by,
                    "report": report,
                }
            )

    def get(self, ref: ReleaseRef) -> Release:
        """Return one release.

        Raises:
            UnknownReleaseError: there is none; the text lists the model's versions.
        """
        row = self._row(ref)
        if row is None:
            raise UnknownReleaseError(ref, [release.version for release in self.list(ref.model)])
        return _release(row)

    def latest(self, model: str) -> Release | None:
        """Return the release with the highest version, or None."""
        row = self._connections.row("SELECT * FROM releases WHERE model = ? ORDER BY version DESC LIMIT 1", (model,))
        return None if row is None else _release(row)

    def list(self, model: str) -> list[Release]:
        """Return a model's releases, newest first."""
        rows = self._connections.rows("SELECT * FROM releases WHERE model = ? ORDER BY version DESC", (model,))
        return [_release(row) for row in rows]

    def _row(self, ref: ReleaseRef) -> dict[str, Any] | None:
        return self._connections.row(
            "SELECT * FROM releases WHERE model = ? AND version = ?", (ref.model, min(ref.version, 2**62))
        )


def _release(row: Mapping[str, Any]) -> Release:
    return Release(
        row["model"],
        row["version"],
        row["digest"],
        row["published_at"],
        row["published_by"],
        decode_manifest(row["manifest"]),
        FileInfo(row["manifest_sha256"], len(row["manifest"])),
        row["report"],
    )
