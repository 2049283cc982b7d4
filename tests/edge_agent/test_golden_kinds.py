"""The preflight of models that take windows, images or state: served as on the line, pictures decoded here again."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from simulators.small_kinds import IMAGE, Kind, picture, pictured, recurrent_window, stateful, windowed, write_kind

from edge_agent.errors import ReleaseRefusedError
from edge_agent.examination import examine
from edge_agent.preflight import Limits, prove
from edge_agent.session_plan import SessionPlan
from protocols.feeding import StatePair, Window

LIMITS = Limits(seconds=30.0, memory_bytes=600 * 1024 * 1024)
KINDS = {
    "window": windowed(),
    "window, one at a time": windowed(batch=1),
    "state": stateful(),
    "window and state": recurrent_window(),
    "image": pictured(),
    "image, one at a time": pictured(batch=1),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_passes_in_a_child_and_is_measured(tmp_path: Path, name: str) -> None:
    write_kind(tmp_path, KINDS[name])
    report = prove(tmp_path, SessionPlan(threads=1), LIMITS)
    assert report.passed, report.reason
    assert report.rows == len(KINDS[name].golden[0])
    assert report.largest_difference < 1e-3
    assert 0 < report.latency_p50_ms <= report.latency_p99_ms


@pytest.mark.parametrize("name", ["window", "state", "window and state"])
def test_a_wrong_answer_is_refused_by_its_row(tmp_path: Path, name: str) -> None:
    def spoil(arrays: dict[str, Any]) -> None:
        arrays["output_0"][2] += 1

    write_kind(tmp_path, KINDS[name], spoil=spoil)
    with pytest.raises(ReleaseRefusedError, match="golden vectors: prediction of row 2"):
        examine(tmp_path, SessionPlan())


def test_state_that_is_not_carried_here_would_be_seen(tmp_path: Path) -> None:
    """Each golden row was made in the state that the row before it left: without it every row but the first differs."""
    kind = stateful()

    def forget(arrays: dict[str, Any]) -> None:
        arrays["output_0"] = np.log(kind.golden[0]) + kind.golden[1]

    write_kind(tmp_path, kind, spoil=forget)
    with pytest.raises(ReleaseRefusedError, match="prediction of row"):
        examine(tmp_path, SessionPlan())


def test_a_decoder_that_makes_other_pixels_is_refused(tmp_path: Path) -> None:
    def brighter(arrays: dict[str, Any]) -> None:
        arrays["picture_0"] = np.frombuffer(picture((240, 20, 20)), np.uint8)

    write_kind(tmp_path, pictured(), spoil=brighter)
    with pytest.raises(ReleaseRefusedError, match="picture 0 comes out 18 grey levels away in the mean, 20 at most"):
        examine(tmp_path, SessionPlan())


def test_a_picture_that_cannot_be_decoded_here_is_refused(tmp_path: Path) -> None:
    def cut(arrays: dict[str, Any]) -> None:
        arrays["picture_1"] = arrays["picture_1"][:200]

    write_kind(tmp_path, pictured(), spoil=cut)
    with pytest.raises(ReleaseRefusedError, match="picture 1 cannot be decoded here: a JPEG that cannot be decoded"):
        examine(tmp_path, SessionPlan())


def test_an_image_model_is_timed_with_its_decoding(tmp_path: Path) -> None:
    small, large = pictured(), pictured()
    large = Kind(large.model, large.inputs, large.outputs, [large.golden[0][:1]], IMAGE, (), (
        picture((255, 0, 0), size=(3000, 2000)),
    ))  # fmt: skip
    write_kind(tmp_path / "small", small)
    write_kind(tmp_path / "large", large)
    times = [examine(tmp_path / name, SessionPlan()).latency_p50_ms for name in ("small", "large")]
    assert times[1] > 5 * times[0]


@pytest.mark.parametrize(
    ("name", "changes", "text"),
    [
        ("window", {"feeding": Window("rows", 5)}, r"input_0 is float32 \(4, 2\) a row, and release.json says"),
        ("image", {"feeding": msgspec.structs.replace(IMAGE, layout="NHWC")}, r"says float32 \(8, 8, 3\)"),
        ("window", {"feeding": Window("other", 4)}, "its inputs are"),
        ("state", {"state": (StatePair("before", "gone", (1, 1)),)}, "its outputs are"),
    ],
)
def test_a_graph_that_is_not_what_its_manifest_says_is_refused(tmp_path: Path, name, changes, text) -> None:
    write_kind(tmp_path, KINDS[name], **changes)
    with pytest.raises(ReleaseRefusedError, match=text):
        examine(tmp_path, SessionPlan())
