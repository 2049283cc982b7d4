"""The line that says how far a run is, and the wish to end it."""

import io
import signal

import pytest

from trainer.sdk.interruption import Interruption
from trainer.sdk.progress_line import ProgressLine


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_line_writes_over_itself_and_is_wiped_away() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressLine(stream, always=True, timer=clock) as line:
        line("reading the table", 0.0)
        clock.now = 12.0
        line("done", 1.0)
    first, second, wiped, end = stream.getvalue().split("\r")[1:]
    assert first.split() == ["0%", "0", "s", "reading", "the", "table"]
    assert second.split() == ["#" * 20, "100%", "12", "s", "done"]
    assert len(first) <= len(second)
    assert len(wiped) >= len(second.rstrip())
    assert (wiped.strip(), end) == ("", "")


def test_a_notebook_sees_it_without_a_terminal_and_keeps_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trainer.sdk.progress_line.in_notebook", lambda: True)
    with ProgressLine() as line:
        line("searching", 0.5)
    assert capsys.readouterr().out.endswith("searching\n")


def test_updates_wait_for_one_another_but_the_last_is_shown() -> None:
    stream = io.StringIO()
    with ProgressLine(stream, always=True, timer=Clock()) as line:
        for share in (0.0, 0.1, 0.2, 1.0):
            line("searching", share)
    assert stream.getvalue().count("searching") == 2


def test_a_pipe_gets_nothing() -> None:
    stream = io.StringIO()
    with ProgressLine(stream) as line:
        line("searching", 0.5)
    assert stream.getvalue() == ""


def test_the_first_interruption_is_a_wish_and_the_second_ends_everything(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        assert not interruption.asked()
        signal.raise_signal(signal.SIGINT)
        assert interruption.asked()
        assert "finishing the best so far" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before
