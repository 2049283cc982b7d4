"""The life of a release on a device, as a rule: (state, event) -> (state, actions). No I/O, no clock.

    assigned -> fetched -> verified -> preflight -> active -> confirmed
        \\__________\\__________\\___________\\-> refused   \\-> rolled-back

At each moment an active model runs a release that was verified and proven here; the release before it is kept
until its successor is confirmed and replaced in turn. What was refused or rolled back is not fetched again until
an operator raises the attempt. The state is stored before the actions are carried out, and every action may be
carried out twice, so a restart goes on where it was.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from edge_agent.lifecycle_events import (
    Action,
    Activate,
    Activated,
    ActivationFailed,
    Assigned,
    Bind,
    Collect,
    ConfirmAfter,
    ConfirmDue,
    Deactivate,
    Event,
    Failing,
    Fetch,
    Fetched,
    Postponed,
    Prove,
    Proven,
    Proving,
    Refused,
    Report,
    Settle,
    Started,
    Verified,
    Verify,
)
from protocols.assignment import AssignedRelease, Assignment
from protocols.messages import ReleaseState
from protocols.names import ReleaseRef

#: A release during whose start or trial the daemon died this often is taken for the cause.
DEATHS_ALLOWED = 2
#: Verdicts remembered beyond what is assigned now.
VERDICTS_KEPT = 64

_FINAL: tuple[ReleaseState, ...] = ("refused", "rolled-back")


class Held(msgspec.Struct, frozen=True, omit_defaults=True):
    """One release on this device and how far it has come.

    `deaths`: times that the daemon died over it. `damage`: what was wrong with its files, until they are whole again.
    """

    model: str
    version: int
    attempt: int = 1
    allow_fallback: bool = False
    state: ReleaseState = "assigned"
    reason: str | None = None
    tries: int = 0
    deaths: int = 0
    damage: str | None = None

    @property
    def why(self) -> str | None:
        """Everything that a person should know of why it is no further."""
        return "; ".join(filter(None, (self.damage, self.reason))) or None

    @property
    def ref(self) -> ReleaseRef:
        return ReleaseRef(self.model, self.version)


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that a restart must know. `active` and `previous`: model -> version."""

    assignment: Assignment | None = None
    held: tuple[Held, ...] = ()
    active: dict[str, int] = {}
    previous: dict[str, int] = {}

    def find(self, ref: ReleaseRef) -> Held | None:
        return next((held for held in self.held if held.ref == ref), None)

    def kept(self) -> frozenset[ReleaseRef]:
        """The releases whose files must stay on disk."""
        wanted = {held.ref for held in self.held if held.state not in _FINAL}
        running = {ReleaseRef(*item) for side in (self.active, self.previous) for item in side.items()}
        return frozenset(wanted | running)


def step(state: State, event: Event) -> tuple[State, list[Action]]:
    """Apply one event. An event about a release or attempt that is no longer held changes nothing."""
    match event:
        case Started():
            return _started(state, clean=event.clean)
        case Assigned():
            return _assigned(state, event.assignment)
        case Postponed() | Fetched() | Verified() | Proving() | Proven():
            return _progressed(state, event)
        case ConfirmDue():
            done: list[Action] = [Settle(event.ref), _said("release-confirmed", event.ref)]
            return _advance(state, event, "active", "confirmed", done)
        case Activated():
            return _activated(state, event)
        case Refused():
            return _refused(state, event.ref, event.attempt, event.reason, event.detail)
        case ActivationFailed():
            return _activation_failed(state, event)
        case Failing():
            held = state.find(event.ref)
            if held is None or held.state != "active" or state.active.get(held.model) != held.version:
                return state, []
            return _roll_back(state, held, event.reason)


def _progressed(state: State, event: Postponed | Fetched | Verified | Proving | Proven) -> tuple[State, list[Action]]:
    match event:
        case Postponed():
            return _postponed(state, event)
        case Fetched():
            return _advance(state, event, "assigned", "fetched", [Verify(event.ref, event.attempt)])
        case Verified():
            return _verified(state, event)
        case Proving():
            return _advance(state, event, "verified", "preflight", [])
        case Proven():
            return _proven(state, event)


def _started(state: State, *, clean: bool) -> tuple[State, list[Action]]:
    actions: list[Action] = []
    for held in state.held:
        serving = state.active.get(held.model) == held.version
        on_trial = held.state in ("verified", "preflight") or (held.state == "active" and serving)
        if on_trial and not clean:
            held = msgspec.structs.replace(held, deaths=held.deaths + 1)
            state = _put(state, held)
        if on_trial and held.deaths > DEATHS_ALLOWED:
            reason = f"the agent died {held.deaths} times while this release was on trial"
            if serving:
                state, more = _roll_back(state, held, reason)
            else:
                state, more = _refused(state, held.ref, held.attempt, reason, {})
            actions += more
        elif serving:
            actions.append(Activate(held.ref, held.attempt, held.allow_fallback))
        else:
            if held.state == "preflight":
                state = _put(state, msgspec.structs.replace(held, state="verified"))
            actions += _resume(held)
    if state.assignment is not None:
        actions.append(Bind(state.assignment))
    return state, actions


def _resume(held: Held) -> list[Action]:
    if held.state == "assigned":
        return [Fetch(held.ref, held.attempt, held.tries)]
    if held.state == "fetched":
        return [Verify(held.ref, held.attempt)]
    if held.state in ("verified", "preflight"):
        return [Prove(held.ref, held.attempt, held.allow_fallback)]
    return []


def _assigned(state: State, assignment: Assignment) -> tuple[State, list[Action]]:
    if state.assignment == assignment:
        return state, []
    actions: list[Action] = []
    state = msgspec.structs.replace(state, assignment=assignment)
    for release in assignment.releases:
        state, more = _want(state, release)
        actions += more
    models = {release.model for release in assignment.releases}
    for model in sorted(state.active.keys() - models):
        actions.append(Deactivate(model))
    state = msgspec.structs.replace(
        state,
        active={model: version for model, version in state.active.items() if model in models},
        previous={model: version for model, version in state.previous.items() if model in models},
        held=tuple(_still_held(state, assignment)),
    )
    return state, [*actions, Bind(assignment), Collect(state.kept())]


def _want(state: State, release: AssignedRelease) -> tuple[State, list[Action]]:
    held = state.find(release.ref)
    anew = Held(release.model, release.version, release.attempt, release.allow_fallback)
    if held is None:
        return _put(state, anew), [Fetch(anew.ref, anew.attempt)]
    if held.state in _FINAL:
        if release.attempt > held.attempt:
            return _put(state, anew), [Fetch(anew.ref, anew.attempt)]
        text = f"{held.ref} was {held.state} before ({held.reason}); raise its attempt to try it again"
        return state, [Report("release-skipped", "warning", text, held.ref)]
    if held.state in ("active", "confirmed") and state.active.get(held.model) != held.version:
        return _put(state, anew), [Fetch(anew.ref, anew.attempt)]
    return _put(state, msgspec.structs.replace(held, allow_fallback=release.allow_fallback)), []


def _still_held(state: State, assignment: Assignment) -> Iterable[Held]:
    wanted = {release.ref for release in assignment.releases}
    running = {
        ReleaseRef(model, version)
        for side in (state.active, state.previous)
        for model, version in side.items()
        if any(release.model == model for release in assignment.releases)
    }
    verdicts = [held for held in state.held if held.state in _FINAL][-VERDICTS_KEPT:]
    return [held for held in state.held if held.ref in wanted | running or held in verdicts]


def _postponed(state: State, event: Postponed) -> tuple[State, list[Action]]:
    held = _current(state, event.ref, event.attempt, "assigned")
    if held is None:
        return state, []
    later = msgspec.structs.replace(held, tries=held.tries + 1, reason=event.reason)
    actions: list[Action] = [Fetch(held.ref, held.attempt, later.tries)]
    if held.reason != event.reason:
        actions.append(_waits(held.ref, event.reason))
    return _put(state, later), actions


def _verified(state: State, event: Verified) -> tuple[State, list[Action]]:
    held = _current(state, event.ref, event.attempt, "fetched")
    if held is None:
        return state, []
    state = _put(state, msgspec.structs.replace(held, state="verified", reason=None, tries=0, damage=None))
    return state, [Prove(held.ref, held.attempt, held.allow_fallback)]


def _proven(state: State, event: Proven) -> tuple[State, list[Action]]:
    held = _current(state, event.ref, event.attempt, "preflight")
    if held is None:
        return state, []
    said = Report("preflight-passed", "info", f"{held.ref} passed its preflight", held.ref, event.report)
    return state, [said, Activate(held.ref, held.attempt, held.allow_fallback)]


def _activated(state: State, event: Activated) -> tuple[State, list[Action]]:
    held = state.find(event.ref)
    if held is None or held.attempt != event.attempt:
        return state, []
    confirm_s = state.assignment.confirm_s if state.assignment else 0.0
    if held.state == "active":  # a restart in the middle of its trial: the trial begins anew
        return state, [ConfirmAfter(held.ref, held.attempt, confirm_s)]
    if held.state != "preflight":
        return state, []
    before = state.active.get(held.model)
    state = _put(state, msgspec.structs.replace(held, state="active", reason=None, deaths=0))
    previous = dict(state.previous)
    if before is not None and before != held.version:
        replaced = state.find(ReleaseRef(held.model, before))
        if (replaced is not None and replaced.state == "confirmed") or held.model not in previous:
            previous[held.model] = before
    if previous.get(held.model) == held.version:
        del previous[held.model]
    state = msgspec.structs.replace(state, active={**state.active, held.model: held.version}, previous=previous)
    state = msgspec.structs.replace(state, held=tuple(_without_replaced(state, held.model)))
    text = f"{held.ref} is active" + (f" in place of version {before}" if before is not None else "")
    said = Report("release-active", "info", text, held.ref)
    return state, [said, ConfirmAfter(held.ref, held.attempt, confirm_s), Collect(state.kept())]


def _without_replaced(state: State, model: str) -> Iterable[Held]:
    running = (state.active.get(model), state.previous.get(model))
    for held in state.held:
        stale = held.model == model and held.state in ("active", "confirmed") and held.version not in running
        if not stale:
            yield held


def _refused(
    state: State, ref: ReleaseRef, attempt: int, reason: str, detail: Mapping[str, Any]
) -> tuple[State, list[Action]]:
    held = state.find(ref)
    if held is None or held.attempt != attempt or held.state not in ("assigned", "fetched", "verified", "preflight"):
        return state, []
    state = _put(state, msgspec.structs.replace(held, state="refused", reason=reason))
    text = f"{ref} is refused in state {held.state}: {reason}"
    return state, [Report("release-refused", "error", text, ref, detail), Collect(state.kept())]


def _activation_failed(state: State, event: ActivationFailed) -> tuple[State, list[Action]]:
    held = state.find(event.ref)
    if held is None or held.attempt != event.attempt:
        return state, []
    if held.state == "preflight":
        return _refused(state, event.ref, event.attempt, event.reason, {})
    if held.state not in ("active", "confirmed") or state.active.get(held.model) != held.version:
        return state, []
    state, actions = _roll_back(state, held, event.reason)
    if event.damaged and _is_assigned(state, held.ref):
        # Its bytes went bad on this disk; the release itself is good, so it is fetched again.
        anew = Held(held.model, held.version, held.attempt, held.allow_fallback, damage=event.reason)
        state = _put(state, anew)
        actions = [*actions, Fetch(held.ref, held.attempt)]
    return state, actions


def _is_assigned(state: State, ref: ReleaseRef) -> bool:
    return state.assignment is not None and any(release.ref == ref for release in state.assignment.releases)


def _roll_back(state: State, held: Held, reason: str) -> tuple[State, list[Action]]:
    """Give a serving release up for the one before it, or for none."""
    state = _put(state, msgspec.structs.replace(held, state="rolled-back", reason=reason))
    active, previous = dict(state.active), dict(state.previous)
    active.pop(held.model, None)
    version = previous.pop(held.model, None)
    back = state.find(ReleaseRef(held.model, version)) if version is not None else None
    text = f"{held.ref} is rolled back: {reason}"
    if back is None or back.state in _FINAL:
        state = msgspec.structs.replace(state, active=active, previous=previous)
        said = Report("release-rolled-back", "error", f"{text}; there is none before it", held.ref)
        return state, [Deactivate(held.model), said, Collect(state.kept())]
    active[held.model] = back.version
    state = msgspec.structs.replace(state, active=active, previous=previous)
    state = _put(state, msgspec.structs.replace(back, state="confirmed"))
    said = Report("release-rolled-back", "error", f"{text}; version {back.version} serves again", held.ref)
    return state, [Activate(back.ref, back.attempt, back.allow_fallback), said, Collect(state.kept())]


def _advance(
    state: State,
    event: Fetched | Proving | ConfirmDue,
    before: ReleaseState,
    after: ReleaseState,
    actions: list[Action],
) -> tuple[State, list[Action]]:
    held = _current(state, event.ref, event.attempt, before)
    if held is None:
        return state, []
    return _put(state, msgspec.structs.replace(held, state=after, reason=None)), actions


def _current(state: State, ref: ReleaseRef, attempt: int, wanted: ReleaseState) -> Held | None:
    held = state.find(ref)
    return held if held is not None and held.attempt == attempt and held.state == wanted else None


def _put(state: State, held: Held) -> State:
    others = tuple(other for other in state.held if other.ref != held.ref)
    return msgspec.structs.replace(state, held=(*others, held))


def _waits(ref: ReleaseRef, reason: str) -> Report:
    return Report("release-waits", "warning", f"{ref} cannot be fetched now: {reason}", ref)


def _said(kind: str, ref: ReleaseRef) -> Report:
    return Report(kind, "info", f"{ref} is {kind.removeprefix('release-')}", ref)
