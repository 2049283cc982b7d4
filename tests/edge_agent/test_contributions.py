"""Contributions on a device: proven with the release, in answers that ask for them, in scored files, nowhere else."""

import contextlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from simulators.broker_process import wait_until
from simulators.small_models import TOLERANCE, classification, regression, telling_regression, write_release

from edge_agent.errors import ReleaseRefusedError, ScoreError
from edge_agent.golden import compare, read_golden
from edge_agent.inference import Model
from edge_agent.reasons import largest
from edge_agent.scoring import Options, score_file
from edge_agent.session_plan import SessionPlan
from edge_agent.streams import StreamEngine
from protocols.assignment import StreamBinding, check_assignment
from protocols.errors import ManifestError, MessageRefusedError
from protocols.manifest import Contributions, Manifest, TensorSpec, decode_manifest, encode_manifest
from protocols.payloads import Prediction

ROW = b'{"AT": 5.0, "V": 3.5}'


def answers(folder: Path, model: Any, most: int) -> list[Prediction]:
    out: list[bytes] = []
    engine = StreamEngine(
        lambda topic, payload: out.append(payload), lambda ref, reason: None, settle=lambda kept: None
    )
    engine.bind([StreamBinding("line", "ccpp", "in", "out", contributions=most)])
    engine.serve("ccpp", Model(folder, write_release(folder, model=model), SessionPlan(threads=1)))
    engine.start()
    try:
        engine.offer("in", ROW)
        wait_until(lambda: bool(out))
    finally:
        engine.stop(5)
    return [msgspec.json.decode(payload, type=Prediction) for payload in out]


@pytest.mark.parametrize(("most", "told"), [(1, {"AT": 4.0}), (9, {"AT": 4.0, "V": 0.5}), (0, None)])
def test_a_stream_that_asks_is_told_the_inputs_that_did_most(
    most: int, told: dict[str, float] | None, tmp_path: Path
) -> None:
    (answer,) = answers(tmp_path, telling_regression(), most)
    assert (answer.prediction, answer.contributions) == (16.5, told)


def test_a_model_that_does_not_tell_is_answered_without(tmp_path: Path) -> None:
    (answer,) = answers(tmp_path, regression(), 5)
    assert (answer.prediction, answer.contributions) == (16.5, None)


def test_what_added_nothing_is_not_named_and_numbers_are_short() -> None:
    found = list(largest(["a", "b", "c"], np.array([[0.0, 0.1, -0.3]], dtype=np.float32), 3))
    assert found == [{"c": -0.3, "b": 0.1}]
    assert msgspec.json.encode(found[0]) == b'{"c":-0.3,"b":0.1}'


def test_the_assignment_bounds_them() -> None:
    from protocols.assignment import AssignedRelease, Assignment

    stream = StreamBinding("line", "ccpp", "in", "out", contributions=65)
    with pytest.raises(MessageRefusedError, match="contributions is 65; it must be from 0 to 64"):
        check_assignment(Assignment("oven", 1, (AssignedRelease("ccpp", 1),), (stream,)))


def table(path: Path) -> Path:
    pa.csv.write_csv(pa.table({"id": [7], "AT": [5.0], "V": [3.5]}), path)
    return path


def test_a_scored_file_has_a_column_for_each_input(tmp_path: Path) -> None:
    write_release(tmp_path / "release", model=telling_regression(), version=0)
    out = tmp_path / "out.csv"
    options = Options(keep=["id"], contributions=True)
    score_file(tmp_path / "release", table(tmp_path / "in.csv"), out, options)
    assert out.read_text().splitlines() == ["id,prediction,contribution_AT,contribution_V", "7,16.5,4,0.5"]
    score_file(tmp_path / "release", tmp_path / "in.csv", out, Options(keep=["id"]))
    assert out.read_text().splitlines()[0] == "id,prediction"


def test_a_file_is_not_scored_with_contributions_that_there_are_not(tmp_path: Path) -> None:
    write_release(tmp_path / "release", version=0)
    with pytest.raises(ScoreError, match="no sum over its inputs"):
        score_file(tmp_path / "release", table(tmp_path / "in.csv"), tmp_path / "o.csv", Options(contributions=True))
    assert not (tmp_path / "o.csv").exists()


def test_they_are_proven_like_any_output(tmp_path: Path) -> None:
    manifest = write_release(
        tmp_path, model=telling_regression(), spoil=lambda outputs: outputs[1].__setitem__((0, 0), 99.0)
    )
    golden = read_golden(tmp_path / "golden.npz", manifest)
    found = Model(tmp_path, manifest).run(golden.inputs)
    with pytest.raises(ReleaseRefusedError, match="contributions of row 0"):
        compare(manifest, golden.outputs, found, TOLERANCE)


def test_reasons_of_an_answer_that_may_be_another_are_not_compared(tmp_path: Path) -> None:
    manifest = write_release(tmp_path, model=classification())
    outputs = (*manifest.outputs, TensorSpec("contributions", "float32", (None, 2)))
    manifest = msgspec.structs.replace(manifest, outputs=outputs)
    tied, clear = [[0.5, 0.5, 0.0]], [[0.7, 0.3, 0.0]]
    for shares, refused in ((tied, False), (clear, True)):
        probabilities = np.array(shares, dtype=np.float32)
        want = [np.array(["low"]), probabilities, np.array([[1.0, 2.0]], dtype=np.float32)]
        got = [np.array(["low"]), probabilities, np.array([[-4.0, 2.0]], dtype=np.float32)]
        with pytest.raises(ReleaseRefusedError) if refused else contextlib.nullcontext():
            compare(manifest, want, got, TOLERANCE)


def changed(manifest: Manifest, **changes: Any) -> bytes:
    return encode_manifest(msgspec.structs.replace(manifest, **changes))


def test_a_manifest_says_what_they_are_or_is_refused(tmp_path: Path) -> None:
    manifest = write_release(tmp_path, model=telling_regression())
    assert decode_manifest(encode_manifest(manifest)) == manifest
    assert manifest.v == 1
    short = (manifest.outputs[0], TensorSpec("contributions", "float32", (None, 3)))
    for changes in (
        {"contributions": None},
        {"outputs": manifest.outputs[:1]},
        {"outputs": short},
        {"contributions": Contributions("target", (1.0, 2.0))},
    ):
        with pytest.raises(ManifestError, match="contributions"):
            decode_manifest(changed(manifest, **changes))
