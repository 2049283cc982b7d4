"""Progress is told by one thread while another reads, and closes, the file."""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.scoring.csv_table import CsvSource
from edge_agent.scoring.jsonl_table import JsonlSource


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns a thousand times as often."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.parametrize(
    ("make", "text"), [(CsvSource, "id,AT\n" + "1,2\n" * 50), (JsonlSource, '{"id": 1, "AT": 2}\n' * 50)]
)
def test_how_far_a_file_was_read_can_be_asked_while_it_is_closed(
    hasty_threads: None, tmp_path: Path, make: Callable[[Path], Any], text: str
) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    source = make(path)
    for _ in range(300):
        reader = threading.Thread(target=lambda: list(source.batches(["AT"], done=0, most=1000)))
        reader.start()
        while reader.is_alive():
            assert 0 <= source.share_read() <= 1
        reader.join()
    assert source.share_read() == 1
