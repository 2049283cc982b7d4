"""What tuning found: HOME/tuned/<release>-<machine>.json, and beside it a graph that can be mapped, where one won.

The name holds the model's digest and that of the machine as it is, ONNX Runtime included: where one changed, nothing is
found, and the release is tuned again.
"""

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.disk import sync_folder, write_atomic
from edge_agent.errors import ReleaseDamagedError
from edge_agent.releases import check_file
from edge_agent.session_plan import SessionPlan
from edge_agent.tuning import Measured
from protocols.manifest import FileInfo, Manifest

#: Of what is measured and how; another is measured anew.
_TUNING_VERSION = 1


class Tuned(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found for one release on one machine.

    Attributes:
        plan: to serve by; its providers and what else the assignment decides are not kept to.
        text: why it won, in one line.
        graph: of the file that is mapped, where one is.
    """

    model: str
    version: int
    digest: str
    machine: dict[str, Any]
    plan: SessionPlan
    text: str
    measured: tuple[Measured, ...] = ()
    graph: FileInfo | None = None
    tuning: int = _TUNING_VERSION

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        machine: dict[str, object],
        plan: SessionPlan,
        text: str,
        measured: tuple[Measured, ...],
    ) -> "Tuned":
        """Return a finding whose graph, if there is one, is not in its place yet."""
        return cls(
            model=manifest.model,
            version=manifest.version,
            digest=manifest.digest,
            machine=machine,
            plan=msgspec.structs.replace(plan, mapped=None),
            text=text,
            measured=measured,
        )

    def applied(self, base: SessionPlan, graph: Path) -> SessionPlan:
        """Return the base plan with what was found; no more threads than the base has now."""
        found = self.plan
        return msgspec.structs.replace(
            base,
            threads=min(found.threads, base.threads) if base.threads else found.threads,
            optimization=found.optimization,
            mapped=graph if self.graph is not None else None,
            prepacked=found.prepacked,
            precision=found.precision,
            max_batch=found.max_batch,
        )


class TunedStore:
    """The findings on disk. One thread keeps and deletes; any may find."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def graph(self, digest: str, machine: dict[str, object]) -> Path:
        """Return where the graph that is mapped lies, or would."""
        return self._folder / f"{_name(digest, machine)}.ort"

    def find(self, digest: str, machine: dict[str, object]) -> Tuned | None:
        """Return what was found, if it is there and whole, and its graph is what was made then."""
        try:
            data = (self._folder / f"{_name(digest, machine)}.json").read_bytes()
            tuned = msgspec.json.decode(data, type=Tuned, dec_hook=lambda kind, text: kind(text))
            if tuned.tuning != _TUNING_VERSION or (tuned.digest, tuned.machine) != (digest, machine):
                return None
            if tuned.graph is not None:
                check_file(self.graph(digest, machine), tuned.graph, signed=False)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, ReleaseDamagedError):
            return None
        return tuned

    def keep(self, tuned: Tuned, graph: Path | None = None) -> Tuned:
        """Store a finding, with the graph that it maps, which is moved to its place.

        Raises:
            OSError: the disk is full, read-only or broken.
        """
        place = self.graph(tuned.digest, tuned.machine)
        self.forget(tuned.digest, tuned.machine)
        if graph is not None:
            with graph.open("rb+") as file:
                os.fsync(file.fileno())
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            tuned = msgspec.structs.replace(tuned, graph=FileInfo(digest, graph.stat().st_size))
            graph.replace(place)
            sync_folder(self._folder)
        write_atomic(place.with_suffix(".json"), msgspec.json.encode(tuned, enc_hook=str))
        return tuned

    def forget(self, digest: str, machine: dict[str, object]) -> None:
        """Delete a finding; the graph last, so that none is ever looked for in vain."""
        place = self.graph(digest, machine)
        place.with_suffix(".json").unlink(missing_ok=True)
        place.unlink(missing_ok=True)

    def keep_only(self, digests: Collection[str]) -> None:
        """Delete the findings for all other releases."""
        kept = {digest[:32] for digest in digests}
        for path in self._folder.glob("*"):
            if path.name.partition("-")[0] not in kept:
                path.unlink(missing_ok=True)


def _name(digest: str, machine: dict[str, object]) -> str:
    key = hashlib.sha256(msgspec.json.encode(machine, order="deterministic")).hexdigest()
    return f"{digest[:32]}-{key[:16]}"
