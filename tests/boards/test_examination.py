"""Proof on an emulated Raspberry Pi 4: this machine's golden vectors hold there, and what its processor lacks shows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from simulators.board import OTHER_PROCESSOR, REPOSITORY, Board
from simulators.small_kinds import pictured, recurrent_window, stateful, windowed, write_kind
from simulators.small_models import classification, regression, write_release
from simulators.trained_models import CLASSES, trained

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROVE = """
import json, sys
from pathlib import Path
import msgspec
from edge_agent.preflight import Limits, prove
from edge_agent.session_plan import SessionPlan
found = [prove(Path(folder), SessionPlan(), Limits(60, int(sys.argv[1]))) for folder in sys.argv[2:]]
print(json.dumps(msgspec.to_builtins(found)))
"""
#: `sdot v0.4s, v1.16b, v2.16b; ret`: ARMv8.2's dot product, which a Cortex-A76 has and a Cortex-A72 has not.
DOT_PRODUCT = """
import ctypes, mmap
code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("2094824e") + bytes.fromhex("c0035fd6"))
ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
"""

MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "by hand": regression,
    "by hand, classes": classification,
    "linear": lambda: trained("linear"),
    "boosted": lambda: trained("boosted"),
    "forest": lambda: trained("forest"),
    "linear, classes": lambda: trained("linear", "classification"),
    "boosted, classes": lambda: trained("boosted", "classification"),
    "forest, classes": lambda: trained("forest", "classification"),
}


def prove(board: Board, *folders: Path, memory_bytes: int = 0) -> list[dict[str, Any]]:
    """Run the preflight of each release on the board: parent and child are aarch64 both."""
    done = board.run("-c", PROVE, str(memory_bytes), *folders)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_what_each_family_gives_on_x86_it_gives_on_the_board(board: Board, tmp_path: Path) -> None:
    """Numbers within the release's tolerance and the same classes, alone and as a batch."""
    folders = [tmp_path / str(place) for place in range(len(MODELS))]
    for folder, (name, make) in zip(folders, MODELS.items(), strict=True):
        classes = {"classes": CLASSES} if name.endswith(", classes") and "hand" not in name else {}
        write_release(folder, model=make(), **classes)
    found = prove(board, *folders)
    failed = [f"{name}: {report}" for name, report in zip(MODELS, found, strict=True) if not report["passed"]]
    assert not failed
    assert {report["provider"] for report in found} == {"CPUExecutionProvider"}
    assert all(report["memory_bytes"] > 0 for report in found)
    for name, report in zip(MODELS, found, strict=True):
        print(f"{name}: largest difference {report['largest_difference']:.3g}")


def test_windows_pictures_and_state_between_calls_are_the_same_there(board: Board, tmp_path: Path) -> None:
    """A JPEG as well: it is decoded and scaled on the board by wheels of its own."""
    kinds = {"window": windowed(), "state": stateful(), "both": recurrent_window(), "picture": pictured()}
    for name, kind in kinds.items():
        write_kind(tmp_path / name, kind)
    found = prove(board, *(tmp_path / name for name in kinds))
    assert not [report for report in found if not report["passed"]]
    assert [report["rows"] for report in found] == [len(kind.golden[0]) for kind in kinds.values()]


def test_golden_vectors_that_differ_and_memory_that_is_short_fail_there_too(board: Board, tmp_path: Path) -> None:
    def spoil(outputs: list[Any]) -> None:
        outputs[0][3] += 0.1

    write_release(tmp_path / "other", model=trained("linear"), spoil=spoil)
    (other,) = prove(board, tmp_path / "other")
    assert (other["passed"], other["check"]) == (False, "golden")
    (large,) = prove(board, tmp_path / "other", memory_bytes=30 << 20)
    assert (large["passed"], large["check"]) == (False, "memory")


def test_an_instruction_that_the_board_lacks_ends_the_child_and_not_the_agent(board: Board, tmp_path: Path) -> None:
    write_release(tmp_path / "release")
    code = f"""
import sys
from pathlib import Path
from edge_agent.preflight import Limits, prove
from edge_agent.session_plan import SessionPlan
command = [sys.executable, "-c", {DOT_PRODUCT!r}]
print(prove(Path(sys.argv[1]), SessionPlan(), Limits(60, 0), command=command).reason)
"""
    newer = board.run("-c", DOT_PRODUCT, environment={OTHER_PROCESSOR: "cortex-a76"})
    assert newer.returncode == 0, newer.stderr
    done = board.run("-c", code, tmp_path / "release")
    assert "SIGILL: an instruction that this processor does not have" in done.stdout, done.stderr


def test_a_file_is_scored_there_as_here(board: Board, tmp_path: Path) -> None:
    write_release(tmp_path / "release", model=trained("boosted"), version=0)
    rows = "".join(f"{place},{place * 0.37 % 40:.3f},{20 + place * 0.91 % 70:.3f}\n" for place in range(500))
    (tmp_path / "rows.csv").write_text(f"id,AT,V\n{rows}")
    import genba

    words = ["score", str(tmp_path / "release"), str(tmp_path / "rows.csv"), "--out"]
    assert genba.main([*words, str(tmp_path / "here.csv")]) == 0
    done = board.run("-m", "genba", *words, str(tmp_path / "there.csv"), cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    here, there = ((tmp_path / name).read_text().splitlines() for name in ("here.csv", "there.csv"))
    assert len(here) == len(there) == 501
    for ours, its in zip(here[1:], there[1:], strict=True):
        assert ours.split(",")[0] == its.split(",")[0]
        assert float(ours.split(",")[-1]) == pytest.approx(float(its.split(",")[-1]), rel=1e-4, abs=1e-4)
