"""The tuner on this machine: real sessions in real processes; what was found is kept, and found again."""

import errno
import mmap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from simulators.small_kinds import Kind, stateful, windowed, write_kind
from simulators.small_models import (
    add_variant,
    crashing_regression,
    hungry_regression,
    regression,
    slow_regression,
    write_release,
)
from simulators.wide_model import wide_regression

import genba
from edge_agent.inference import Model
from edge_agent.measurement import held_bytes
from edge_agent.preflight import Limits, prove
from edge_agent.session_plan import SessionPlan
from edge_agent.sessions import save_graph
from edge_agent.tuned import Tuned, TunedStore
from edge_agent.tuner import Tuner, TuningOrder, measure_plans
from edge_agent.tuning import Bounds, Measured, Space
from protocols.manifest import Manifest, Tolerance

BASE = SessionPlan(threads=2)
MACHINE: dict[str, object] = {"cpu": "this one", "onnxruntime": "1"}
#: With what a plan asks for.
KEY: dict[str, object] = {**MACHINE, "providers": ["CPUExecutionProvider"], "variants": {}}
LIMIT = 600 * 1024 * 1024


def tuner(folder: Path, seconds: float = 8.0, machine: dict[str, object] = MACHINE) -> Tuner:
    return Tuner(TunedStore(folder / "tuned"), seconds, lambda: machine)


def test_plans_are_measured_and_the_best_is_found_again(tmp_path: Path) -> None:
    manifest = write_release(tmp_path / "release")
    found = tuner(tmp_path).tune(tmp_path / "release", manifest, BASE, LIMIT)
    assert found is not None
    assert found.measured[0].plan == BASE
    assert {1, 2} <= {each.plan.threads for each in found.measured}
    for each in found.measured:
        assert each.reason is None
        assert 0 < each.latency_p50_ms <= each.latency_p99_ms
        assert set(each.rows_per_s) == {4, 16, 64, 256}
    plan = tuner(tmp_path).plan(manifest, BASE)
    assert plan == found.applied(BASE, Path())
    assert prove(tmp_path / "release", plan, Limits(30.0, LIMIT)).passed


def test_another_machine_runtime_or_model_finds_nothing(tmp_path: Path) -> None:
    manifest = write_release(tmp_path / "release")
    kept = keep(tmp_path, manifest)
    assert tuner(tmp_path).find(manifest, BASE) == kept
    assert tuner(tmp_path, machine={**MACHINE, "onnxruntime": "2"}).find(manifest, BASE) is None
    on_another = SessionPlan(providers=("CUDAExecutionProvider", "CPUExecutionProvider"), threads=2)
    assert tuner(tmp_path).find(manifest, on_another) is None
    assert tuner(tmp_path).plan(manifest, on_another) == on_another
    other = write_release(tmp_path / "other", model=regression(bias=3.0))
    assert tuner(tmp_path).find(other, BASE) is None
    path = next((tmp_path / "tuned").glob("*.json"))
    path.write_bytes(path.read_bytes()[:-20])
    assert tuner(tmp_path).find(manifest, BASE) is None


def keep(folder: Path, manifest: Manifest, plan: SessionPlan = BASE, graph: Path | None = None) -> Tuned:
    made = Tuned.of(manifest, KEY, plan, "by hand", (Measured(plan=plan),))
    (folder / "tuned").mkdir(exist_ok=True)
    return TunedStore(folder / "tuned").keep(made, graph)


def test_no_more_threads_than_the_device_gives_now(tmp_path: Path) -> None:
    manifest = write_release(tmp_path / "release")
    keep(tmp_path, manifest, SessionPlan(threads=4, optimization="basic"))
    plan = tuner(tmp_path).plan(manifest, SessionPlan(threads=1, allow_fallback=True))
    assert plan == SessionPlan(threads=1, allow_fallback=True, optimization="basic")


def test_a_model_that_kills_its_process_is_measured_as_that_and_nothing_is_kept(tmp_path: Path) -> None:
    manifest = write_release(tmp_path / "release", model=crashing_regression(), golden_by=regression())
    assert tuner(tmp_path).tune(tmp_path / "release", manifest, BASE, LIMIT) is None
    assert list((tmp_path / "tuned").iterdir()) == []


def test_a_model_that_takes_too_much_memory_is_not_chosen(tmp_path: Path) -> None:
    inputs = [np.full((2, 1), value, np.float32) for value in (1, 4e9)]
    manifest = write_release(tmp_path / "release", model=hungry_regression(), golden_by=regression(), columns=inputs)
    assert tuner(tmp_path).tune(tmp_path / "release", manifest, BASE, LIMIT) is None


def test_a_plan_that_takes_more_memory_than_allowed_is_killed(tmp_path: Path) -> None:
    """800 MB in an instant, where 400 are allowed: within the limit on address space, over the limit on memory."""
    inputs = [np.full((2, 1), value, np.float32) for value in (1, 200e6)]
    manifest = write_release(tmp_path / "release", model=hungry_regression(), golden_by=regression(), columns=inputs)
    order = TuningOrder(tmp_path / "release", BASE, Space(), Bounds(), 5.0, 400 * 1024 * 1024, tmp_path / "unused.ort")
    (found,) = measure_plans(order)
    assert found.reason == "it killed its process (SIGKILL)"
    assert tuner(tmp_path).tune(tmp_path / "release", manifest, BASE, 400 * 1024 * 1024) is None


@pytest.mark.parametrize("make", [windowed, stateful])
def test_models_that_take_more_than_one_row_are_tuned_and_state_is_not_batched(
    tmp_path: Path, make: Callable[[], Kind]
) -> None:
    manifest = write_kind(tmp_path / "release", make())
    found = tuner(tmp_path).tune(tmp_path / "release", manifest, BASE, LIMIT)
    assert found is not None
    assert found.measured[0].latency_p50_ms > 0
    assert bool(found.measured[0].rows_per_s) is not bool(manifest.state)
    assert prove(tmp_path / "release", tuner(tmp_path).plan(manifest, BASE), Limits(30.0, LIMIT)).passed


def test_the_time_is_kept_to(tmp_path: Path) -> None:
    """A dozen measurements of half a second a run and more would take a minute."""
    inputs = [np.full((2, 1), value, np.float32) for value in (1, 600_000)]
    write_release(tmp_path / "release", model=slow_regression(), columns=inputs)
    order = TuningOrder(
        tmp_path / "release", BASE, Space(threads=(2, 1)), Bounds(), 4.0, LIMIT, tmp_path / "unused.ort"
    )
    start = time.monotonic()
    measured = measure_plans(order)
    assert time.monotonic() - start < 12.0
    assert len(measured) < 6


def test_what_is_not_wanted_any_more_ends_at_once(tmp_path: Path) -> None:
    inputs = [np.full((2, 1), value, np.float32) for value in (1, 1e12)]
    manifest = write_release(tmp_path / "release", model=slow_regression(), golden_by=regression(), columns=inputs)
    start = time.monotonic()
    wanted = tuner(tmp_path, seconds=60.0).tune(
        tmp_path / "release", manifest, BASE, LIMIT, cancelled=lambda: time.monotonic() - start > 1.0
    )
    assert wanted is None
    assert time.monotonic() - start < 5.0


def test_a_graph_is_mapped_proves_itself_and_is_not_used_when_it_is_damaged(tmp_path: Path) -> None:
    manifest = write_release(tmp_path / "release", model=wide_regression(700))
    save_graph(tmp_path / "release", manifest, BASE, tmp_path / "made.ort")
    keep(tmp_path, manifest, msgspec.structs.replace(BASE, prepacked=False), tmp_path / "made.ort")
    plan = tuner(tmp_path).plan(manifest, BASE)
    assert plan.mapped is not None
    assert plan.mapped.exists()
    assert prove(tmp_path / "release", plan, Limits(30.0, LIMIT)).passed
    model = Model(tmp_path / "release", manifest, plan)
    assert str(plan.mapped) in Path("/proc/self/maps").read_text()
    assert len(model.run([np.ones((3, 1), np.float32)] * 2)[0]) == 3
    data = plan.mapped.read_bytes()
    plan.mapped.unlink()
    plan.mapped.write_bytes(data[:-100] + bytes(100))
    assert tuner(tmp_path).plan(manifest, BASE) == BASE


def test_mapping_is_measured_where_the_model_is_large_and_leaves_no_file_behind(tmp_path: Path) -> None:
    manifest = write_release(tmp_path / "release", model=wide_regression(700))
    found = tuner(tmp_path, seconds=20.0).tune(tmp_path / "release", manifest, BASE, LIMIT)
    assert found is not None
    mapped = [each for each in found.measured if each.plan.mapped is not None]
    assert [(each.reason, each.plan.prepacked) for each in mapped] == [(None, True), (None, False)]
    wanted = {".json", ".ort"} if found.graph is not None else {".json"}
    assert {path.suffix for path in (tmp_path / "tuned").iterdir()} == wanted
    assert len(list((tmp_path / "tuned").iterdir())) == len(wanted)


def int8_of(model: Any, folder: Path) -> bytes:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    (folder / "whole.onnx").write_bytes(model.SerializeToString())
    quantize_dynamic(folder / "whole.onnx", folder / "int8.onnx", weight_type=QuantType.QInt8)
    return (folder / "int8.onnx").read_bytes()


def test_int8_is_measured_and_serves_only_where_it_is_smaller_and_no_slower(tmp_path: Path) -> None:
    model = wide_regression(1200)
    manifest = write_release(tmp_path / "release", model=model)
    manifest = add_variant(tmp_path / "release", manifest, int8_of(model, tmp_path), Tolerance(0.5, 0.0))
    found = tuner(tmp_path, seconds=15.0).tune(tmp_path / "release", manifest, BASE, LIMIT)
    assert found is not None
    whole = [each for each in found.measured if each.plan.precision == "float32"]
    small = [each for each in found.measured if each.plan.precision == "int8"]
    assert small
    assert all(each.reason is None for each in small)
    assert small[0].difference > 0
    assert small[0].memory_bytes < 0.9 * whole[0].memory_bytes
    chosen = next(each for each in found.measured if each.plan.precision == found.plan.precision)
    if chosen.plan.precision == "int8":
        assert min(each.cost for each in small) <= min(each.cost for each in whole)
    plan = tuner(tmp_path).plan(manifest, BASE)
    assert plan.precision == found.plan.precision
    assert prove(tmp_path / "release", plan, Limits(30.0, LIMIT)).passed


def test_a_variant_outside_its_tolerance_here_is_refused_and_the_rest_is_tuned(tmp_path: Path) -> None:
    manifest = write_release(tmp_path / "release")
    away = regression(bias=11.0).SerializeToString()
    manifest = add_variant(tmp_path / "release", manifest, away, Tolerance(0.1, 0.0))
    found = tuner(tmp_path).tune(tmp_path / "release", manifest, BASE, LIMIT)
    assert found is not None
    assert found.plan.precision == "float32"
    (refused,) = [each for each in found.measured if each.reason is not None]
    assert refused.plan.precision == "int8"
    assert "golden vectors: prediction of row" in str(refused.reason)
    changed = add_variant(tmp_path / "release", manifest, regression().SerializeToString(), Tolerance(0.1, 0.0))
    assert tuner(tmp_path).find(changed, BASE) is None, "another variant is tuned anew"


def test_findings_for_other_releases_are_deleted(tmp_path: Path) -> None:
    manifest = write_release(tmp_path / "release")
    other = write_release(tmp_path / "other", model=regression(bias=3.0))
    keep(tmp_path, manifest)
    keep(tmp_path, other)
    tuner(tmp_path).keep_only({other.digest})
    assert tuner(tmp_path).find(manifest, BASE) is None
    assert tuner(tmp_path).find(other, BASE) is not None


def test_memory_held_grows_with_what_is_held() -> None:
    before = held_bytes()
    block = mmap.mmap(-1, 20_000_000)
    block.write(b"\1" * 20_000_000)
    assert held_bytes() - before > 15_000_000
    assert held_bytes(Path("/nowhere")) == 0
    block.close()


@pytest.mark.parametrize("wrong", [["--seconds", "0"], ["--seconds", "soon"], ["--threads", "0"], ["--threads", "a,b"]])
def test_wrong_usage_is_status_2(tmp_path: Path, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        genba.main(["devices", "tune", str(tmp_path), *wrong])
    assert caught.value.code == 2


def test_the_command_prints_what_was_measured_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_release(tmp_path / "release", version=0)
    arguments: list[Any] = ["devices", "tune", tmp_path / "release", "--seconds", "8", "--threads", "2,1"]
    assert genba.main([str(argument) for argument in arguments]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["plan", "ms", "alone", "p99", "rows/s", "in", "MiB", "load", "s"]
    assert sum(line.endswith("chosen") for line in out) == 1
    assert "plans" in out[-1]
    assert genba.main([*map(str, arguments), "--json", "--home", str(tmp_path / "home")]) == 0
    tuned = msgspec.json.decode(capsys.readouterr().out)
    assert tuned["model"] == "ccpp"
    assert len(list((tmp_path / "home" / "tuned").glob("*.json"))) == 1


def test_a_release_that_cannot_serve_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_release(tmp_path / "release", version=0, model=crashing_regression(), golden_by=regression())
    assert genba.main(["devices", "tune", str(tmp_path / "release"), "--seconds", "10"]) == 1
    assert "no plan that was measured may serve here" in capsys.readouterr().err


def test_a_finding_that_a_read_only_disk_keeps_is_not_served_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_release(tmp_path / "release")
    keep(tmp_path, manifest)
    tuned = tuner(tmp_path)

    def read_only(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", read_only)
    tuned.forget(manifest, BASE)
    assert tuned.find(manifest, BASE) is None
    assert tuned.plan(manifest, BASE) == BASE
