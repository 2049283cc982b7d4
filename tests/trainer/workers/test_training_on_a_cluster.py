"""Whole trainings on a real Dask cluster: to the end, and with its scheduler killed in the middle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from simulators.dask_cluster import DaskCluster

import genba
from trainer.candidate import read_candidate
from trainer.guardrails.rail import Guardrail
from trainer.report import decode_report

pytest.importorskip("distributed", reason="Dask is not installed (pip install 'genba[dask]')")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

TRIALS = 6


def trained(plant: pd.DataFrame, out: Path, progress: Callable[[str, float], None] | bool = False, **how: Any) -> str:
    """Train and return the digest of the model, which the number of trials settles wherever they run."""
    genba.train(plant, "yield", out=out, drop="fault", trials=TRIALS, jobs=1, seed=7, progress=progress, **how)
    manifest = read_candidate(out)
    assert manifest.parity.passed
    assert manifest.lineage.trials == len(decode_report((out / "report.json").read_bytes()).trials)
    return manifest.digest


def cluster_rail(out: Path) -> Guardrail | None:
    rails = decode_report((out / "report.json").read_bytes()).guardrails
    return next((rail for rail in rails if rail.check == "cluster"), None)


@pytest.fixture
def here(plant: pd.DataFrame, tmp_path: Path) -> str:
    """The digest of what comes out on this machine alone."""
    return trained(plant, tmp_path / "here")


def test_a_cluster_trains_the_model_that_this_machine_would(
    cluster: DaskCluster, plant: pd.DataFrame, here: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_here(*_: Any) -> None:
        raise AssertionError("a trial would have run on this machine")

    monkeypatch.setattr("trainer.workers.opening.LocalWorkers", none_here)
    assert trained(plant, tmp_path / "there", dask=cluster.address) == here
    assert cluster_rail(tmp_path / "there") is None
    assert not list(cluster.folder.rglob("genba-*")), "the table's copies are taken away"


def test_a_scheduler_that_is_killed_in_the_middle_costs_no_trial_and_is_told(
    own_cluster: Callable[..., DaskCluster], plant: pd.DataFrame, here: str, tmp_path: Path
) -> None:
    cluster = own_cluster()
    address, told = cluster.address, list[str]()

    def kill_at_the_last_batch(text: str, share: float) -> None:
        told.append(text)
        if text.startswith(f"trial {TRIALS}:") and cluster.scheduler.poll() is None:
            cluster.scheduler.kill()
            cluster.scheduler.wait()

    assert trained(plant, tmp_path / "there", kill_at_the_last_batch, dask=address) == here
    assert cluster.scheduler.poll() is not None, told
    rail = cluster_rail(tmp_path / "there")
    assert rail is not None
    assert (rail.state, rail.done) == ("alerted", "the run went on with the cores of this machine")
    assert rail.seen[0].startswith(f"the Dask scheduler at {address} ")
    assert "cluster" in (tmp_path / "there" / "card.md").read_text()
