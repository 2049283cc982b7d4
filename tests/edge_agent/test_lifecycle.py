"""The lifecycle's rules: what holds at each moment, whatever happens in whatever order."""

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_agent.lifecycle import DEATHS_ALLOWED, State, step
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
    Started,
    Steady,
    Verified,
    Verify,
)
from protocols.assignment import AssignedRelease, Assignment
from protocols.names import ReleaseRef

ONE, TWO, THREE = (ReleaseRef("ccpp", version) for version in (1, 2, 3))


def assignment(*refs: ReleaseRef, revision: int = 1, attempt: int = 1) -> Assignment:
    releases = tuple(AssignedRelease(ref.model, ref.version, attempt) for ref in refs)
    return Assignment("press-1", revision, releases, confirm_s=5.0)


def play(state: State, *events: Event) -> tuple[State, list[Action]]:
    actions: list[Action] = []
    for event in events:
        state, actions = step(state, event)
    return state, actions


def served(ref: ReleaseRef, attempt: int = 1) -> list[Event]:
    """The events from a fetch that ends well to the trial's end."""
    return [
        Fetched(ref, attempt),
        Verified(ref, attempt),
        Proving(ref, attempt),
        Proven(ref, attempt),
        Activated(ref, attempt),
        ConfirmDue(ref, attempt),
    ]


def state_of(state: State, ref: ReleaseRef) -> str:
    held = state.find(ref)
    assert held is not None
    return held.state


def test_a_release_goes_step_by_step() -> None:
    state, actions = play(State(), Assigned(assignment(ONE)))
    assert actions[0] == Fetch(ONE, 1)
    seen = [state_of(state, ONE)]
    for event in served(ONE):
        state, actions = step(state, event)
        if seen[-1] != state_of(state, ONE):
            seen.append(state_of(state, ONE))
    assert seen == ["assigned", "fetched", "verified", "preflight", "active", "confirmed"]
    assert state.active == {"ccpp": 1}


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ({}, "ccpp@1 passed its preflight"),
        (
            {"provider": "CPUExecutionProvider", "placement": {"CPUExecutionProvider": 6}},
            "ccpp@1 passed its preflight: CPU: all 6 nodes",
        ),
        (
            {"asked": "CUDAExecutionProvider", "provider": "CPUExecutionProvider", "build_s": 75.2, "reused": False},
            "ccpp@1 passed its preflight: asked CUDA, ran CPU; its engine was compiled in 75 s; its provider compiles "
            "at each load again",
        ),
    ],
)
def test_a_passed_preflight_says_what_was_asked_and_what_ran(report: dict[str, object], text: str) -> None:
    _, actions = play(State(), Assigned(assignment(ONE)), *served(ONE)[:3], Proven(ONE, 1, report))
    assert actions[0] == Report("preflight-passed", "info", text, ONE, report)


def test_a_failing_release_gives_way_to_the_one_before_it() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE), Assigned(assignment(TWO, revision=2)))
    state, _ = play(state, *served(TWO)[:-1])
    assert state.active == {"ccpp": 2}
    state, actions = play(state, Failing(TWO, "it fails"))
    assert state.active == {"ccpp": 1}
    assert actions[0] == Activate(ONE, 1, False)
    assert (state_of(state, TWO), state_of(state, ONE)) == ("rolled-back", "confirmed")


def test_a_confirmed_release_is_not_rolled_back_by_bad_messages() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE))
    assert play(state, Failing(ONE, "five in a row")) == (state, [])


def test_a_first_release_that_fails_leaves_nothing_serving() -> None:
    state, actions = play(State(), Assigned(assignment(ONE)), *served(ONE)[:-1], Failing(ONE, "it fails"))
    assert state.active == {}
    assert actions[0] == Deactivate("ccpp")


@pytest.mark.parametrize("verdict", [Refused(ONE, 1, "disagrees"), Refused(ONE, 1, "preflight: NaN")])
def test_a_refused_release_is_fetched_again_only_when_an_operator_raises_the_attempt(verdict: Event) -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), verdict)
    state, actions = play(state, Assigned(assignment(ONE, revision=2)))
    assert not any(isinstance(action, Fetch) for action in actions)
    assert any(isinstance(action, Report) and action.kind == "release-skipped" for action in actions)
    state, actions = play(state, Assigned(assignment(ONE, revision=3, attempt=2)))
    assert actions[0] == Fetch(ONE, 2)


def test_a_verdict_outlives_other_assignments() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), Refused(ONE, 1, "disagrees"), Assigned(assignment(revision=2)))
    _, actions = play(state, Assigned(assignment(ONE, revision=3)))
    assert not any(isinstance(action, Fetch) for action in actions)


def test_a_restart_goes_on_where_it_was() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE), Assigned(assignment(TWO, revision=2)))
    for event, resumed in (
        (None, Fetch(TWO, 1)),
        (Fetched(TWO, 1), Verify(TWO, 1)),
        (Verified(TWO, 1), Prove(TWO, 1, False)),
        (Proving(TWO, 1), Prove(TWO, 1, False)),
    ):
        if event:
            state, _ = step(state, event)
        _, actions = step(state, Started(clean=True))
        assert resumed in actions
        assert Activate(ONE, 1, False) in actions


def test_a_preflight_that_was_cut_off_is_run_again() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE)[:3], Started(clean=True))
    state, _ = play(state, Proving(ONE, 1), Proven(ONE, 1), Activated(ONE, 1))
    assert state.active == {"ccpp": 1}


def test_a_release_that_takes_the_daemon_with_it_is_given_up() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE), Assigned(assignment(TWO, revision=2)))
    state, _ = play(state, *served(TWO)[:-1])
    for _ in range(DEATHS_ALLOWED):
        state, actions = step(state, Started(clean=False))
        assert Activate(TWO, 1, False) in actions
    state, actions = step(state, Started(clean=False))
    assert state.active == {"ccpp": 1}
    assert state_of(state, TWO) == "rolled-back"


def two_confirmed() -> State:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE), Assigned(assignment(TWO, revision=2)))
    return play(state, *served(TWO))[0]


def test_three_starts_that_die_early_fall_back_from_a_confirmed_release_too() -> None:
    state = two_confirmed()
    for _ in range(DEATHS_ALLOWED):
        state, actions = step(state, Started(clean=False))
        assert Activate(TWO, 1, False) in actions
    state, actions = step(state, Started(clean=False))
    assert (state.active, state_of(state, TWO)) == ({"ccpp": 1}, "rolled-back")
    assert [action for action in actions if isinstance(action, Activate)] == [Activate(ONE, 1, False)]
    assert any(isinstance(action, Report) and "died 3 times" in action.text for action in actions)


def test_a_death_after_a_steady_run_is_not_held_against_a_confirmed_release() -> None:
    state = two_confirmed()
    for _ in range(5):
        state, _ = play(state, Started(clean=False), Steady())
    assert state.active == {"ccpp": 2}


def test_early_deaths_take_no_release_away_that_has_none_before_it() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE), *[Started(clean=False)] * 9)
    assert state.active == {"ccpp": 1}


def test_a_confirmed_release_is_not_suspected_while_another_is_on_trial() -> None:
    pump = ReleaseRef("pump", 1)
    state = two_confirmed()
    state, _ = play(state, Assigned(assignment(TWO, pump, revision=3)), *served(pump)[:3])
    state, _ = play(state, *[Started(clean=False)] * 3)
    assert state_of(state, pump) == "refused"
    assert (state.active, state_of(state, TWO)) == ({"ccpp": 2}, "confirmed")


def test_a_damaged_release_gives_way_to_the_one_before_it_and_is_fetched_again() -> None:
    state, actions = play(two_confirmed(), ActivationFailed(TWO, 1, "model.onnx was changed", damaged=True))
    assert state.active == {"ccpp": 1}
    assert (actions[0], actions[-1]) == (Activate(ONE, 1, False), Fetch(TWO, 1))
    held = state.find(TWO)
    assert held is not None
    assert (held.state, held.damage) == ("assigned", "model.onnx was changed")


UNBUILT = ActivationFailed(ONE, 1, "there is no engine of it for this driver", unbuilt=True)


def test_a_release_whose_engine_is_for_another_driver_is_proven_anew_and_serves_then() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE))
    state, actions = play(state, Started(clean=True), UNBUILT)
    assert [type(action) for action in actions] == [Deactivate, Report, Prove]
    assert (state_of(state, ONE), state.active) == ("verified", {"ccpp": 1})
    held = state.find(ONE)
    assert held is not None
    assert held.why == "there is no engine of it for this driver"
    state, actions = play(state, Proving(ONE, 1), Proven(ONE, 1))
    assert actions[-1] == Activate(ONE, 1, False)
    state, actions = play(state, Activated(ONE, 1))
    assert actions[0] == Report("release-active", "info", "ccpp@1 is active", ONE)
    assert state_of(state, ONE) == "active"


@pytest.mark.parametrize("cut", [[], [Proving(ONE, 1)]], ids=["before", "while"])
def test_a_restart_in_the_middle_of_a_rebuild_goes_on_with_it(cut: list[Event]) -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE))
    state, actions = play(state, Started(clean=True), UNBUILT, *cut, Started(clean=True))
    assert Prove(ONE, 1, False) in actions
    assert not any(isinstance(action, Activate) for action in actions)


def test_a_release_that_no_longer_passes_on_a_changed_device_gives_way_to_the_one_before_it() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE), Assigned(assignment(TWO, revision=2)))
    state, _ = play(state, *served(TWO), ActivationFailed(TWO, 1, "no engine", unbuilt=True), Proving(TWO, 1))
    state, actions = play(state, Refused(TWO, 1, "preflight: its outputs differ"))
    assert actions[0] == Activate(ONE, 1, False)
    assert (state_of(state, TWO), state.active) == ("rolled-back", {"ccpp": 1})


def test_an_engine_that_is_gone_as_soon_as_it_was_proven_is_not_built_for_ever() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE)[:4])
    state, actions = play(state, UNBUILT)
    assert state_of(state, ONE) == "refused"
    assert not any(isinstance(action, Prove) for action in actions)


def test_every_start_deletes_what_nobody_keeps() -> None:
    _, actions = step(two_confirmed(), Started(clean=True))
    assert actions[-1] == Collect(frozenset({ONE, TWO}))


def test_a_release_whose_files_went_bad_on_disk_is_fetched_again() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE), Started(clean=True))
    state, actions = play(state, ActivationFailed(ONE, 1, "model.onnx was changed", damaged=True))
    assert Fetch(ONE, 1) in actions
    assert state.active == {}


def test_what_is_no_longer_assigned_stops_serving() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE))
    state, actions = play(state, Assigned(assignment(revision=2)))
    assert Deactivate("ccpp") in actions
    assert state.kept() == frozenset()


def test_a_network_fault_is_told_once() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)))
    state, first = step(state, Postponed(ONE, 1, "no link"))
    state, second = step(state, Postponed(ONE, 1, "no link"))
    assert [type(action) for action in first] == [Fetch, Report]
    assert second == [Fetch(ONE, 1, tries=2)]


def test_a_proof_that_is_put_off_is_tried_again_later_and_told_once() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE)[:3])
    state, first = step(state, Postponed(ONE, 1, "the disk is full"))
    assert (state_of(state, ONE), first[0]) == ("verified", Prove(ONE, 1, False, tries=1))
    assert [type(action) for action in first] == [Prove, Report]
    state, second = play(state, Proving(ONE, 1), Postponed(ONE, 1, "the disk is full"))
    assert second[-1] == Prove(ONE, 1, False, tries=2)
    assert not any(isinstance(action, Report) for action in second)
    state, _ = play(state, *served(ONE)[2:])
    assert state_of(state, ONE) == "confirmed"


def test_a_check_that_is_put_off_is_tried_again_later() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE)[:1])
    state, actions = step(state, Postponed(ONE, 1, "the disk fails"))
    assert (state_of(state, ONE), actions[0]) == ("fetched", Verify(ONE, 1, tries=1))


REFS = st.builds(ReleaseRef, st.sampled_from(["ccpp", "pump"]), st.integers(1, 2))


class Device(RuleBasedStateMachine):
    """A device to which anything may happen: it carries out actions late, loses them by dying, hears old news."""

    @initialize()
    def begin(self) -> None:
        self.state = State()
        self.todo: list[Action] = []
        self.proven: set[tuple[ReleaseRef, int]] = set()
        self.verified: set[tuple[ReleaseRef, int]] = set()
        self.engine: dict[str, ReleaseRef] = {}
        self.disk: set[ReleaseRef] = set()
        self.revision = 0

    def feed(self, event: Event) -> None:
        verdicts = {(h.ref, h.attempt) for h in self.state.held if h.state in ("refused", "rolled-back")}
        state, actions = step(self.state, event)
        for action in actions:
            if isinstance(action, Fetch) and not isinstance(event, ActivationFailed):
                assert (action.ref, action.attempt) not in verdicts, "a refused attempt is fetched again"
            if isinstance(action, Activate):
                self.activate(action, state)
            elif isinstance(action, Deactivate):
                self.engine.pop(action.model, None)
            elif isinstance(action, Collect):
                self.disk &= action.kept
            elif not isinstance(action, Bind | Report):
                self.todo.append(action)
        self.state = msgspec.json.decode(msgspec.json.encode(state), type=State)
        assert self.state == state, "the state does not survive a restart"

    def activate(self, action: Activate, state: State) -> None:
        assert action.ref in {ref for ref, _ in self.verified & self.proven}, "an unproven release is activated"
        assert action.ref in self.disk, "an activated release is not on disk"
        self.engine[action.ref.model] = action.ref
        self.todo.append(action)

    @rule(refs=st.lists(REFS, max_size=2, unique_by=lambda ref: ref.model), attempt=st.integers(1, 2))
    def assign(self, refs: list[ReleaseRef], attempt: int) -> None:
        self.revision += 1
        self.feed(Assigned(assignment(*refs, revision=self.revision, attempt=attempt)))

    @precondition(lambda self: self.todo)
    @rule(data=st.data(), good=st.sampled_from([True, True, True, False]))
    def carry_out(self, data: st.DataObject, good: bool) -> None:
        action = self.todo.pop(data.draw(st.integers(0, len(self.todo) - 1)))
        match action:
            case Fetch(ref, attempt):
                if good:
                    self.disk.add(ref)
                self.feed(Fetched(ref, attempt) if good else Postponed(ref, attempt, "no link"))
            case Verify(ref, attempt):
                if good:
                    self.verified.add((ref, attempt))
                failure = data.draw(st.sampled_from([Refused, Postponed]))
                self.feed(Verified(ref, attempt) if good else failure(ref, attempt, "damaged"))
            case Prove(ref, attempt):
                self.feed(Proving(ref, attempt))
                if good:
                    self.proven.add((ref, attempt))
                failure = data.draw(st.sampled_from([Refused, Postponed]))
                self.feed(Proven(ref, attempt) if good else failure(ref, attempt, "preflight"))
            case Activate(ref, attempt):
                unbuilt = data.draw(st.booleans())
                failed = ActivationFailed(ref, attempt, "it does not load", unbuilt=unbuilt)
                if unbuilt and not good:
                    self.engine.pop(ref.model, None)
                self.feed(Activated(ref, attempt) if good else failed)
            case ConfirmAfter(ref, attempt):
                self.feed(ConfirmDue(ref, attempt) if good else Failing(ref, "five in a row"))

    @rule(clean=st.booleans())
    def restart(self, clean: bool) -> None:
        self.todo, self.engine = [], {}
        self.feed(Started(clean))

    @rule()
    def steady(self) -> None:
        self.feed(Steady())

    @rule(ref=REFS)
    def fail(self, ref: ReleaseRef) -> None:
        self.feed(Failing(ref, "five in a row"))

    @invariant()
    def active_releases_are_verified_proven_and_on_disk(self) -> None:
        for model, version in self.state.active.items():
            ref = ReleaseRef(model, version)
            held = self.state.find(ref)
            assert held is not None
            assert ref in {known for known, _ in self.verified & self.proven}
            assert ref in self.state.kept()
            assert ref in self.disk

    @invariant()
    def the_release_before_it_is_kept_for_a_roll_back(self) -> None:
        for model, version in self.state.previous.items():
            ref = ReleaseRef(model, version)
            assert self.state.active.get(model) != version
            assert self.state.find(ref) is not None
            assert ref in self.state.kept()
            assert ref in self.disk


Device.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestDevice = Device.TestCase


def test_damage_is_told_until_the_files_are_whole_again() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), *served(ONE))
    state, _ = play(state, ActivationFailed(ONE, 1, "model.onnx: sha256 ab...", damaged=True))
    state, _ = play(state, Postponed(ONE, 1, "the broker is away"))
    assert state.find(ONE).why == "model.onnx: sha256 ab...; the broker is away"  # type: ignore[union-attr]
    state, _ = play(state, Fetched(ONE, 1), Verified(ONE, 1))
    assert state.find(ONE).why is None  # type: ignore[union-attr]


def test_a_fetch_that_came_to_its_end_has_no_excuse_any_more() -> None:
    state, _ = play(State(), Assigned(assignment(ONE)), Postponed(ONE, 1, "the broker is away"))
    assert state.find(ONE).reason == "the broker is away"  # type: ignore[union-attr]
    state, _ = play(state, Fetched(ONE, 1))
    assert state.find(ONE).reason is None  # type: ignore[union-attr]
