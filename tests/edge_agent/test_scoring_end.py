"""How `genba score` ends: Python does not end while Arrow holds what Python made."""

import subprocess
import sys
import threading
from pathlib import Path

from edge_agent.scoring.row_handlers import lent_to_arrow, wait_for_arrow

ONE_REFUSED = "from pathlib import Path; from edge_agent.scoring.csv_table import CsvSource; CsvSource(Path({!r}))"


def test_the_end_waits_until_arrow_has_let_go_of_a_handler() -> None:
    held = [lent_to_arrow(lambda row: "skip")]
    end = threading.Thread(target=wait_for_arrow)
    end.start()
    end.join(0.1)
    assert end.is_alive()
    held.clear()
    end.join(2.0)
    assert not end.is_alive()


def test_a_refused_file_ends_with_an_error_and_not_by_an_abort(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("AT,AT\n1,2\n")
    command = [sys.executable, "-c", ONE_REFUSED.format(str(tmp_path / "in.csv"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the column 'AT' is there twice" in done.stderr
    assert "terminate" not in done.stderr
