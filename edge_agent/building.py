"""A release whose provider compiles: its engine is built in a child process, proven, and sealed for its key.

All of it happens beside the model that serves. A build that fails, hangs or is no longer wanted leaves nothing behind.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from edge_agent.engines import Engine, EngineStore, Seal, engine_key, take_stock
from edge_agent.errors import ReleaseRefusedError
from edge_agent.preflight import Limits, PreflightReport
from edge_agent.session_plan import SessionPlan
from protocols.manifest import Manifest
from protocols.messages import Building
from protocols.names import ReleaseRef

#: A status says a build's age in steps of this, since each change of a status is written and sent.
_STEP_S = 10.0
#: A share beyond this says no more than that it takes longer than the last time.
_LARGEST_SHARE = 0.99
#: Longest that a session may take to make where its provider compiles each time: the agent's loop stands still for it,
#: and the service manager takes an agent that is silent for twice as long for dead.
_LONGEST_LOAD_S = 30.0


class Prove(Protocol):
    """`edge_agent.preflight.prove`."""

    def __call__(
        self,
        folder: Path,
        plan: SessionPlan,
        limits: Limits,
        *,
        build: bool = False,
        cancelled: Callable[[], bool] = ...,
    ) -> PreflightReport: ...


@dataclass(frozen=True, slots=True)
class Task:
    """A release in its folder, the plan of its session without a cache, and what its engine depends on."""

    folder: Path
    manifest: Manifest
    plan: SessionPlan
    parts: Mapping[str, Any]

    @property
    def key(self) -> str:
        return engine_key(self.parts)


class Builder:
    """Builds one engine at a time, in the calling thread; any thread may ask what is being built.

    Args:
        build: limits of a build, which takes longer than a proof and more memory.
    """

    def __init__(
        self,
        store: EngineStore,
        prove: Prove,
        build: Callable[[], Limits],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._prove, self._limits, self._ticks = store, prove, build, ticks
        self._begun: tuple[ReleaseRef, float, float, float | None] | None = None

    def building(self) -> dict[ReleaseRef, Building]:
        """Return the release whose engine is being compiled, and how far that is."""
        begun = self._begun
        if begun is None:
            return {}
        ref, start, limit_s, last_s = begun
        seconds = self._ticks() - start
        share = min(_LARGEST_SHARE, round(seconds / last_s, 2)) if last_s else None
        return {ref: Building(seconds // _STEP_S * _STEP_S, limit_s, share)}

    def prove(self, task: Task, limits: Limits, cancelled: Callable[[], bool]) -> PreflightReport:
        """Prove a release with its engine, which is built first unless it is there.

        Raises:
            ReleaseRefusedError: the disk has no room for an engine.
        """
        engine = self._store.find(task.key)
        if engine is not None:
            plan = msgspec.structs.replace(task.plan, cache=engine.cache)
            report = self._prove(task.folder, plan, limits, cancelled=cancelled)
            return _in_time(msgspec.structs.replace(report, engine=task.key, reused=engine.seal.reused))
        try:
            return self._build(task, limits, cancelled)
        except OSError as error:
            reason = f"{task.manifest.release}: its engine cannot be kept: {error.strerror or error}; free some space"
            raise ReleaseRefusedError(reason) from error
        finally:
            self._begun = None
            self._store.abandon(task.key)

    def _build(self, task: Task, limits: Limits, cancelled: Callable[[], bool]) -> PreflightReport:
        allowed = self._limits()
        last_s = self._store.last_build_s(task.manifest.model)
        self._begun = task.manifest.release, self._ticks(), allowed.seconds, last_s
        staged = self._store.stage(task.key)
        plan = msgspec.structs.replace(task.plan, cache=staged)
        built = self._prove(task.folder, plan, allowed, build=True, cancelled=cancelled)
        if not built.passed:
            return _refused(built)
        before = _stamps(staged)
        proof = self._prove(task.folder, plan, limits, cancelled=cancelled)
        reused = bool(before) and proof.passed and _stamps(staged) == before
        if not proof.passed and proof.check == "load":  # what it compiled, it cannot read
            proof = self._prove(task.folder, task.plan, limits, cancelled=cancelled)
        proof = _in_time(msgspec.structs.replace(proof, engine=task.key, build_s=built.build_s, reused=reused))
        if proof.passed:
            self._seal(task, staged, reused=reused, build_s=built.build_s or 0.0)
        return proof

    def _seal(self, task: Task, staged: Path, *, reused: bool, build_s: float) -> Engine:
        """Keep what was built; files that no session reuses are not kept, and that is remembered."""
        files = take_stock(staged) if reused else {}
        if not reused:
            staged = self._store.stage(task.key)
        manifest = task.manifest
        seal = Seal(manifest.model, manifest.digest, dict(task.parts), files, reused, build_s)
        return self._store.seal(task.key, seal)


def _in_time(proof: PreflightReport) -> PreflightReport:
    if not proof.passed or proof.reused or proof.load_s <= _LONGEST_LOAD_S:
        return proof
    reason = (
        f"its provider compiles at each load again, which takes {proof.load_s:.0f} s here, and {_LONGEST_LOAD_S:.0f} s "
        "are allowed; choose another with providers in agent.toml"
    )
    return msgspec.structs.replace(
        proof, passed=False, reason=reason, check="load", figure=proof.load_s, limit=_LONGEST_LOAD_S
    )


def _refused(built: PreflightReport) -> PreflightReport:
    if built.check != "time":
        return msgspec.structs.replace(built, reason=f"no engine: {built.reason}")
    reason = f"no engine within {built.limit:g} s; give it longer with build_s in agent.toml"
    return msgspec.structs.replace(built, reason=reason)


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return when each file of an engine was written last: a provider that compiles again writes it again."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    facts = ((path, path.stat()) for path in found)
    return {str(path): (fact.st_mtime_ns, fact.st_size) for path, fact in facts}
