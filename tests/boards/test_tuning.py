"""Tuning on an emulated Raspberry Pi 4: forks, measurements, and what is kept, on another architecture."""

import json
from pathlib import Path

import pytest
from simulators.board import Board
from simulators.small_models import write_release

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TUNE = """
import json, sys
from pathlib import Path
from edge_agent.releases import read_release
from edge_agent.session_plan import SessionPlan
from edge_agent.tuned import TunedStore
from edge_agent.tuner import Tuner
folder = Path(sys.argv[1])
tuner = Tuner(TunedStore(folder / "tuned"), 60.0, lambda: {"board": "emulated"})
found = tuner.tune(folder, read_release(folder), SessionPlan(threads=2), 0)
print(json.dumps([[each.plan.threads, each.reason, each.latency_p50_ms] for each in found.measured]))
"""


def test_a_release_is_tuned_on_the_board(board: Board, tmp_path: Path) -> None:
    write_release(tmp_path)
    done = board.run("-c", TUNE, tmp_path)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert {threads for threads, _, _ in measured} == {1, 2}
    assert all(reason is None and milliseconds > 0 for _, reason, milliseconds in measured)
    assert len(list((tmp_path / "tuned").glob("*.json"))) == 1
