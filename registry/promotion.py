"""Promotion: a challenger that won becomes a release, the champion, and what the devices run."""

import logging
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from protocols.errors import GenbaError
from protocols.manifest import Manifest
from protocols.names import ReleaseRef
from registry.assigning import swap
from registry.catalogue import Catalogue
from registry.errors import NothingWaitsError
from registry.publication import check_candidate, publish
from registry.signing.image import ImageRepository
from registry.signing.metadata import Clock

log = logging.getLogger(__name__)


def waiting_folder(home: Path, job: int) -> Path:
    """Where the candidate of a retraining waits for a person."""
    return home / "candidates" / f"job-{job}"


def crown(home: Path, catalogue: Catalogue, candidate: Path, champion: ReleaseRef, clock: Clock, by: str) -> Manifest:
    """Publish a challenger and make it the champion in the place of `champion`; raises as `publish`."""
    released = publish(home, catalogue, candidate, clock, published_by=by)
    catalogue.models.set_champion(released.release)
    return released


def spread(home: Path, catalogue: Catalogue, release: ReleaseRef, clock: Clock, by: str) -> list[str]:
    """Put a release in the place of its predecessor on every device; one that cannot have it keeps the old.

    A release that waits for its release keys goes nowhere yet. A device that is assigned it already, by a job that was
    cut off, is left as it is.
    """
    if release in ImageRepository(home, clock).unsigned():
        return []
    done = []
    for assignment in catalogue.assignments.running(release.model):
        try:
            if all(held.ref != release for held in assignment.releases):
                swap(home, catalogue, release, [assignment.device], clock, assigned_by=by)
            done.append(assignment.device)
        except GenbaError as error:
            log.warning("device keeps its release: %s", error, extra={"device": assignment.device})
    return done


def release_waiting(home: Path, catalogue: Catalogue, job: int, clock: Clock, by: str) -> Manifest:
    """Release the candidate that a retraining left for a person to decide on, as the policy would have done itself.

    Raises:
        UnknownJobError: there is no such job.
        NothingWaitsError: it left no candidate, which was not released yet, or another champion has come since.
        CandidateRefusedError: the candidate was edited or damaged while it waited.
    """
    (home / "run").mkdir(exist_ok=True)
    with FileLock(home / "run" / "promotion.lock", timeout=120):
        found, folder = catalogue.jobs.get(job), waiting_folder(home, job)
        if not folder.is_dir():
            released = (found.result or {}).get("release")
            raise NothingWaitsError(job, f"its candidate is {released} already" if released else "it left no candidate")
        candidate = check_candidate(folder)
        champion = catalogue.models.champion(candidate.model)
        if champion is None or str(champion) != candidate.lineage.parent:
            raise NothingWaitsError(
                job, f"its candidate beat {candidate.lineage.parent}, and the champion is {champion}"
            )
        manifest = crown(home, catalogue, folder, champion, clock, by)
        assign_it = catalogue.policies.get(candidate.model).auto_assign
        devices = spread(home, catalogue, manifest.release, clock, by) if assign_it else []
        note(catalogue, manifest, champion, "a person released it", {"job": job, "devices": devices, "by": by})
        changes = {"release": str(manifest.release), "digest": manifest.digest, "devices": devices}
        catalogue.jobs.amend(job, {**(found.result or {}), **changes})
        shutil.rmtree(folder)
    return manifest


def note(catalogue: Catalogue, released: Manifest, champion: ReleaseRef, reason: str, detail: dict[str, Any]) -> None:
    """Record that a champion follows another."""
    catalogue.events.record(
        "champion-changed",
        f"{released.release} follows {champion}: {reason}",
        model=released.model,
        version=released.version,
        detail=detail,
    )
