"""What every adapter of `Workers` promises."""

import os
import pickle
import time

import pytest
from simulators import trial_calls
from simulators.call_watch import alive, begun, end, ends, gone

from trainer.errors import WorkersLostError
from trainer.workers import Workers


@pytest.fixture(params=["local", "dask"])
def workers(request) -> Workers:
    return request.getfixturevalue(request.param)


def test_calls_get_the_material_and_their_arguments(workers):
    tickets = [workers.start(trial_calls.add, number) for number in range(6)]
    found = ends(workers, 6)
    assert [found[ticket].value for ticket in tickets] == [10, 11, 12, 13, 14, 15]
    assert all(ended.failure is None for ended in found.values())


def test_the_material_is_loaded_once_a_worker(workers):
    for _ in range(8):
        workers.start(trial_calls.loader)
    assert len({ended.value for ended in ends(workers, 8).values()}) <= workers.size


def test_as_many_calls_run_at_once_as_there_are_workers_and_the_others_queue(workers, tmp_path):
    for number in range(workers.size + 1):
        workers.start(trial_calls.wait, 60, str(tmp_path / str(number)))
    for number in range(workers.size):
        begun(workers, tmp_path / str(number))
    workers.wait(0.3)
    assert not (tmp_path / str(workers.size)).exists()


def test_a_wait_ends_when_a_call_does_and_when_its_time_is_over(workers):
    workers.start(trial_calls.process)
    end(workers)
    began = time.monotonic()
    assert workers.wait(0.2) == []
    assert time.monotonic() - began >= 0.19
    workers.start(trial_calls.wait, 0.2)
    began = time.monotonic()
    assert [ended.value for ended in workers.wait(20)] == [0.2]
    assert time.monotonic() - began < 10


def test_a_call_over_its_limit_is_killed_and_the_next_one_runs(workers):
    workers.start(trial_calls.process)
    end(workers)
    ticket = workers.start(trial_calls.compute_without_a_pause, limit_s=0.5)
    began = time.monotonic()
    ended = end(workers)
    assert time.monotonic() - began < 5
    assert (ended.ticket, ended.value, ended.failure.kind) == (ticket, None, "time")
    assert "limit of 0.5 s" in ended.failure.text
    assert 0.4 < ended.seconds < 5
    workers.start(trial_calls.add, 1)
    assert end(workers).value == 11


def test_the_limit_of_a_queued_call_begins_when_it_runs(workers):
    for _ in range(workers.size):
        workers.start(trial_calls.wait, 1.2)
    ticket = workers.start(trial_calls.wait, 0.2, limit_s=1)
    found = ends(workers, workers.size + 1)
    assert found[ticket].failure is None


def test_an_exception_is_a_failure_in_words(workers):
    workers.start(trial_calls.divide)
    ended = end(workers)
    assert (ended.failure.kind, ended.failure.exception) == ("error", "ZeroDivisionError")
    assert ended.failure.text == "ZeroDivisionError: division by zero"
    assert "in divide" in ended.failure.trace


def test_a_call_that_asks_for_too_much_memory_is_a_failure(workers):
    workers.start(trial_calls.allocate, 2000)
    ended = end(workers)
    assert ended.failure.kind == "memory"
    assert "memory" in ended.failure.text
    workers.start(trial_calls.add, 2)
    assert end(workers).value == 12


def test_a_crash_is_a_failure_and_not_the_end(workers):
    workers.start(trial_calls.crash)
    ended = end(workers, within_s=60)
    assert ended.failure.kind == "died"
    workers.start(trial_calls.add, 3)
    assert end(workers).value == 13


def test_a_result_that_cannot_travel_is_a_failure_that_names_it(workers):
    workers.start(trial_calls.give_lambda)
    ended = end(workers)
    assert ended.failure.kind == "error"
    assert "result" in ended.failure.text


def test_a_result_that_cannot_be_read_back_is_a_failure(workers):
    workers.start(trial_calls.give_unreadable)
    ended = end(workers)
    assert ended.failure.kind == "error"
    assert "result" in ended.failure.text


def test_a_call_that_cannot_travel_is_refused_at_once(workers):
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        workers.start(lambda material: 1)
    workers.start(trial_calls.add, 0)
    assert end(workers).value == 10


def test_a_large_result_arrives(workers):
    workers.start(trial_calls.give_bytes, 30_000_000)
    assert len(end(workers).value) == 30_000_000


def test_a_call_that_is_taken_back_is_killed_and_never_ends(workers, tmp_path):
    ticket = workers.start(trial_calls.wait, 60, str(tmp_path / "pid"))
    pid = int(begun(workers, tmp_path / "pid"))
    workers.stop(ticket)
    assert gone(pid, within_s=10)
    other = workers.start(trial_calls.add, 4)
    assert ends(workers)[other].value == 14
    workers.stop(ticket)
    workers.stop(other)


def test_a_queued_call_that_is_taken_back_never_runs(workers, tmp_path):
    for _ in range(workers.size):
        workers.start(trial_calls.wait, 0.5)
    workers.stop(workers.start(trial_calls.wait, 0, str(tmp_path / "ran")))
    last = workers.start(trial_calls.process)
    assert last in ends(workers, workers.size + 1)
    assert not (tmp_path / "ran").exists()


def test_closing_kills_what_runs_at_once(workers, tmp_path):
    workers.start(trial_calls.wait, 60, str(tmp_path / "pid"))
    pid = int(begun(workers, tmp_path / "pid"))
    began = time.monotonic()
    workers.close()
    assert time.monotonic() - began < 1
    assert gone(pid, within_s=10)
    workers.close()
    with pytest.raises(WorkersLostError):
        workers.start(trial_calls.process)
    with pytest.raises(WorkersLostError):
        workers.wait(0)


def test_calls_run_in_other_processes(workers):
    workers.start(trial_calls.process)
    pid = end(workers).value
    assert pid != os.getpid()
    assert alive(pid)


def test_each_worker_computes_with_one_thread(workers):
    workers.start(trial_calls.threads)
    found = end(workers).value
    assert found
    assert set(found) == {1}
