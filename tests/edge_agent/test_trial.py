"""A trial: failures in a row, a share of failures, a share of slow rows; and what is no reason to go."""

from edge_agent.trial import FAILURES_ALLOWED, ROWS_NEEDED, Trial


def test_a_release_that_answers_stays() -> None:
    trial = Trial(latency_limit_ms=1.0)
    for _ in range(500):
        trial.served(10, 0.005)
    assert trial.verdict() is None


def test_failures_in_a_row_end_a_trial_and_single_ones_do_not() -> None:
    trial = Trial()
    for _ in range(FAILURES_ALLOWED - 1):
        trial.failed("it breaks")
    assert trial.verdict() is None
    trial.served(1, 0.0)
    trial.failed("it breaks")
    assert trial.verdict() is None
    trial = Trial()
    trial.failed("it breaks", FAILURES_ALLOWED)
    assert trial.verdict() == f"{FAILURES_ALLOWED} messages in a row failed: it breaks"


def test_a_share_of_failures_ends_a_trial_when_there_are_rows_enough() -> None:
    trial = Trial()
    for _ in range(ROWS_NEEDED // 5):
        assert trial.verdict() is None
        trial.served(4, 0.0)
        trial.failed("it breaks")
    assert trial.verdict() == "20% of its messages failed, the last so: it breaks"


def test_rows_slower_than_promised_end_a_trial() -> None:
    trial = Trial(latency_limit_ms=2.0)
    trial.served(ROWS_NEEDED, ROWS_NEEDED * 0.0019)
    assert trial.verdict() is None
    trial.served(10, 10 * 0.0021)
    assert trial.verdict() == "17% of its rows took longer than the 2 ms that the release promises"


def test_a_release_that_promises_no_latency_may_take_its_time() -> None:
    trial = Trial()
    trial.served(ROWS_NEEDED, 1000.0)
    assert trial.verdict() is None


def test_a_long_good_trial_does_not_forgive_a_late_fault() -> None:
    trial = Trial(latency_limit_ms=1.0)
    for _ in range(100_000):
        trial.served(10, 0.0)
    for _ in range(20):
        trial.served(10, 1.0)
    assert trial.verdict() is not None
