"""The search's notebook, opened again after its owner was killed at a bad moment."""

from pathlib import Path

import numpy as np
import pytest
from simulators.first_settings import starts
from simulators.tried import tried

from trainer.families import FAMILIES, Shape
from trainer.limits import Limits
from trainer.search.journal import Journal, Proposal
from trainer.search.trial import Tried

SHAPE = Shape("regression", 200, 3, 0)
TRUTH = np.arange(20.0)


class KilledError(Exception):
    """Stands for the process's end."""


def found(proposal: Proposal, wrong_by: float = 1.0) -> Tried:
    return tried(proposal.family, TRUTH + wrong_by, TRUTH, proposal.parameters)


def next_of(journal: Journal) -> Proposal:
    return journal.propose(starts(SHAPE), SHAPE)


def test_what_was_finished_is_there_again_and_what_was_not_is_tried_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0)
    first, second = next_of(journal), next_of(journal)
    journal.finish(first, found(first))
    again = Journal(tmp_path, 0)
    assert [(one.family, one.parameters, one.loss) for one in again.finished] == [
        (first.family, first.parameters, pytest.approx(1.0))
    ]
    np.testing.assert_array_equal(again.finished[0].seen, found(first).seen)
    proposal = next_of(again)
    assert (proposal.family, proposal.parameters) == (second.family, second.parameters)


def test_a_trial_whose_result_lies_on_disk_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, 0)
    first = next_of(journal)

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    monkeypatch.setattr(journal._study, "tell", killed)
    with pytest.raises(KilledError):
        journal.finish(first, found(first))
    for _ in range(2):  # the second opening finds what the first one noted
        again = Journal(tmp_path, 0)
        assert [one.family for one in again.finished] == [first.family]
    proposal = next_of(again)
    assert (proposal.family, proposal.parameters) != (first.family, first.parameters)


def test_a_proposal_that_was_only_enqueued_gives_nobody_else_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, 0)

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    monkeypatch.setattr(journal._study, "ask", killed)
    with pytest.raises(KilledError):
        next_of(journal)
    again = Journal(tmp_path, 0)
    proposed = [next_of(again) for _ in starts(SHAPE)]
    assert [(one.family, one.parameters) for one in proposed] == list(starts(SHAPE))


@pytest.mark.timeout(20)
def test_a_lock_whose_owner_was_killed_is_not_waited_for(tmp_path: Path) -> None:
    next_of(Journal(tmp_path, 0))
    (tmp_path / "journal.log.lock").symlink_to(tmp_path / "journal.log")
    next_of(Journal(tmp_path, 0))


def test_a_last_line_that_was_cut_off_is_taken_away(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0)
    first = next_of(journal)
    journal.finish(first, found(first))
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"a')
    for _ in range(2):
        journal = Journal(tmp_path, 0)
        assert len(journal.finished) == 1
        journal.fail(next_of(journal))


def test_a_result_that_is_cut_off_is_found_out_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0)
    first = next_of(journal)
    journal.finish(first, found(first))
    (result,) = tmp_path.glob("*.npz")
    result.write_bytes(result.read_bytes()[:100])
    again = Journal(tmp_path, 0)
    assert again.finished == []
    proposal = next_of(again)
    assert (proposal.family, proposal.parameters) == (first.family, first.parameters)


def test_settings_that_were_tried_are_drawn_anew(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0)
    one_kind = [("process", parameters) for parameters in FAMILIES["process"].starts(SHAPE)]
    one_kind += [("linear", {"strength": 1.0})]
    keys = []
    for _ in range(12):
        proposal = journal.propose(one_kind, SHAPE)
        journal.finish(proposal, found(proposal, 1.0 if proposal.family == "process" else 2.0))
        keys.append((proposal.family, *proposal.parameters.values()))
    assert len(set(keys)) >= 11


def test_tpe_hears_that_what_is_beyond_the_limits_is_worse_the_further_it_is(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0, Limits(size_bytes=500))
    for _ in range(2):
        proposal = next_of(journal)
        journal.finish(proposal, found(proposal))  # 1,000 bytes, so twice what is allowed
    assert [one.loss for one in journal.finished] == [pytest.approx(1.0)] * 2
    assert [one.value for one in journal._study.get_trials()] == [pytest.approx(2.0)] * 2
