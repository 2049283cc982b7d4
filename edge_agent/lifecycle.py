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
    Steady,
    Verified,
    Verify,
)
from protocols.assignment import AssignedRelease, Assignment
from protocols.messages import ReleaseState
from protocols.names import ReleaseRef
from protocols.placement import describe_run

#: A release during whose trial, or early in whose service, the daemon died more often than this is taken for the
#: cause: the third death is one too many.
DEATHS_ALLOWED = 2
#: Verdicts remembered beyond what is assigned now.
VERDICTS_KEPT = 64

_FINAL: tuple[ReleaseState, ...] = ("refused", "rolled-back")


class Held(msgspec.Struct, frozen=True, omit_defaults=True):
    """One release on this device and how far it has come.

    `deaths`: times that the daemon died while it was on trial or, after that, soon after a start with it. `damage`:
    what was wrong with its files, until they are whole again.
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
        case Steady():
            return _steady(state)
        case Assigned():
            return _assigned(state, event.assignment)
        case Postponed() | Fetched() | Verified() | Proving() | Proven():
            return _progressed(state, event)
        case ConfirmDue():
            return _confirmed(state, event)
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
    """Go on where the daemon was. What it died over too often gives way first.

    A release on trial is the first to be suspected; a confirmed one only while none is on trial, and only if there
    is another to fall back to.
    """
    actions: list[Action] = []
    on_trial = [held for held in state.held if _on_trial(state, held)]
    suspects = on_trial or [held for held in state.held if _serves(state, held) and held.model in state.previous]
    for held in [] if clean else suspects:
        state = _put(state, msgspec.structs.replace(held, deaths=held.deaths + 1))
    for held in state.held:
        if held.deaths > DEATHS_ALLOWED and held.ref in {suspect.ref for suspect in suspects}:
            state, more = _give_up(state, held)
            actions += more
    for held in state.held:
        if _serves(state, held) and held.state not in ("verified", "preflight"):
            if not any(isinstance(action, Activate) and action.ref == held.ref for action in actions):
                actions.append(Activate(held.ref, held.attempt, held.allow_fallback))
        elif held.state not in _FINAL:
            if held.state == "preflight":
                state = _put(state, msgspec.structs.replace(held, state="verified"))
            actions += _resume(held)
    if state.assignment is not None:
        actions.append(Bind(state.assignment))
    return state, [*actions, Collect(state.kept())]


def _serves(state: State, held: Held) -> bool:
    return state.active.get(held.model) == held.version


def _on_trial(state: State, held: Held) -> bool:
    return held.state in ("verified", "preflight") or (held.state == "active" and _serves(state, held))


def _give_up(state: State, held: Held) -> tuple[State, list[Action]]:
    reason = f"the agent died {held.deaths} times while this release was {_phase(held)}"
    if _serves(state, held):
        return _roll_back(state, held, reason)
    return _refused(state, held.ref, held.attempt, reason, {})


def _phase(held: Held) -> str:
    return "new in service" if held.state == "confirmed" else "on trial"


def _steady(state: State) -> tuple[State, list[Action]]:
    """Forget deaths that a confirmed release has outlived."""
    for held in state.held:
        if held.state == "confirmed" and held.deaths:
            state = _put(state, msgspec.structs.replace(held, deaths=0))
    return state, []


def _confirmed(state: State, event: ConfirmDue) -> tuple[State, list[Action]]:
    held = _current(state, event.ref, event.attempt, "active")
    if held is None:
        return state, []
    state = _put(state, msgspec.structs.replace(held, state="confirmed", deaths=0))
    return state, [Settle(event.ref), _said("release-confirmed", event.ref)]


def _fetch(held: Held) -> Fetch:
    return Fetch(held.ref, held.attempt, held.tries, held.allow_fallback)


def _resume(held: Held) -> list[Action]:
    if held.state == "assigned":
        return [_fetch(held)]
    if held.state == "fetched":
        return [Verify(held.ref, held.attempt, held.tries)]
    if held.state in ("verified", "preflight"):
        return [Prove(held.ref, held.attempt, held.allow_fallback, held.tries)]
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
        return _put(state, anew), [_fetch(anew)]
    if held.state in _FINAL:
        if release.attempt > held.attempt:
            return _put(state, anew), [_fetch(anew)]
        text = f"{held.ref} was {held.state} before ({held.reason}); raise its attempt to try it again"
        return state, [Report("release-skipped", "warning", text, held.ref)]
    if held.state in ("active", "confirmed") and state.active.get(held.model) != held.version:
        return _put(state, anew), [_fetch(anew)]
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
    held = state.find(event.ref)
    if held is None or held.attempt != event.attempt or held.state not in ("assigned", "fetched", "preflight"):
        return state, []
    told = held.reason == event.reason or (held.state == "preflight" and held.tries > 0)  # `Proving` forgets the reason
    later = msgspec.structs.replace(held, tries=held.tries + 1, reason=event.reason)
    if held.state == "preflight":
        later = msgspec.structs.replace(later, state="verified")
    return _put(state, later), [*_resume(later), *([] if told else [_waits(held.ref, event.reason)])]


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
    text = f"{held.ref} passed its preflight{_what_ran(event.report)}"
    said = Report("preflight-passed", "info", text, held.ref, event.report)
    return state, [said, Activate(held.ref, held.attempt, held.allow_fallback)]


def _what_ran(report: Mapping[str, Any]) -> str:
    """Return where a proof ran, what became of the engine, and what tuning chose, from its report."""
    ran = describe_run(report.get("asked") or "", report.get("provider") or "", report.get("placement") or {})
    built = f"; its engine was compiled in {report['build_s']:.0f} s" if report.get("build_s") is not None else ""
    again = "; its provider compiles at each load again" if report.get("reused") is False else ""
    tuned = f"; tuned to {report['tuned']}" if report.get("tuned") else ""
    return (f": {ran}" if ran else "") + built + again + tuned


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
    state = _put(state, msgspec.structs.replace(held, state="active", reason=None, deaths=0, tries=0))
    previous = dict(state.previous)
    if before is not None and before != held.version:
        replaced = state.find(ReleaseRef(held.model, before))
        if (replaced is not None and replaced.state == "confirmed") or held.model not in previous:
            previous[held.model] = before
    if previous.get(held.model) == held.version:
        del previous[held.model]
    state = msgspec.structs.replace(state, active={**state.active, held.model: held.version}, previous=previous)
    state = msgspec.structs.replace(state, held=tuple(_without_replaced(state, held.model)))
    text = f"{held.ref} is active" + (f" in place of version {before}" if before not in (None, held.version) else "")
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
    if _serves(state, held):  # it was proven before, and is not fit for what this device has become
        return _roll_back(state, held, reason)
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
    if event.damaged:
        return _damaged(state, held, event.reason)
    if event.unbuilt:
        return _unbuilt(state, held, event.reason)
    return _roll_back(state, held, event.reason)


def _damaged(state: State, held: Held, reason: str) -> tuple[State, list[Action]]:
    """Its bytes went bad on this disk: the release before it serves, and it is fetched again where it is assigned."""
    state, actions = _roll_back(state, held, reason, "release-damaged", "is damaged on this device")
    if not _is_assigned(state, held.ref):
        return state, actions
    again = Held(held.model, held.version, held.attempt, held.allow_fallback, damage=reason)
    return _put(state, again), [*actions, _fetch(again)]


def _unbuilt(state: State, held: Held, reason: str) -> tuple[State, list[Action]]:
    """It is proven anew, with an engine for the device as it is now, and serves when that has passed."""
    state = _put(state, msgspec.structs.replace(held, state="verified", reason=reason, tries=0))
    said = Report("release-rebuilds", "warning", f"{held.ref} does not serve now: {reason}", held.ref)
    return state, [Deactivate(held.model), said, Prove(held.ref, held.attempt, held.allow_fallback)]


def _is_assigned(state: State, ref: ReleaseRef) -> bool:
    return state.assignment is not None and any(release.ref == ref for release in state.assignment.releases)


def _roll_back(
    state: State, held: Held, reason: str, kind: str = "release-rolled-back", text: str = "is rolled back"
) -> tuple[State, list[Action]]:
    """Give a serving release up for the one before it, or for none."""
    state = _put(state, msgspec.structs.replace(held, state="rolled-back", reason=reason))
    active, previous = dict(state.active), dict(state.previous)
    active.pop(held.model, None)
    version = previous.pop(held.model, None)
    back = state.find(ReleaseRef(held.model, version)) if version is not None else None
    text = f"{held.ref} {text}: {reason}"
    if back is None or back.state in _FINAL:
        state = msgspec.structs.replace(state, active=active, previous=previous)
        said = Report(kind, "error", f"{text}; there is none before it to serve", held.ref)
        return state, [Deactivate(held.model), said, Collect(state.kept())]
    active[held.model] = back.version
    state = msgspec.structs.replace(state, active=active, previous=previous)
    state = _put(state, msgspec.structs.replace(back, state="confirmed"))
    said = Report(kind, "error", f"{text}; version {back.version} serves again", held.ref)
    return state, [Activate(back.ref, back.attempt, back.allow_fallback), said, Collect(state.kept())]


def _advance(
    state: State,
    event: Fetched | Proving,
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
