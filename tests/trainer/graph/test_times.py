"""Points in time as inputs: what is learned of them, and that the graph reads the same texts as the training did."""

import datetime
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trainer.cases import make_cases
from trainer.columns import type_column
from trainer.cycles import Cycles, find_cycles
from trainer.graph.builder import FLOAT, STRING, GraphBuilder
from trainer.graph.cycle_graph import write_cycles
from trainer.graph.encoded import Encoded, encode, encode_case, load_encoded, save_encoded
from trainer.graphs import open_graph
from trainer.guardrails.check import check_table
from trainer.request import TrainRequest
from trainer.timestamp_forms import BETWEEN, MARKS, ORDERS, ZONES, Form, recognise
from trainer.train import train

FORMS = [Form(*each) for each in product(ORDERS, MARKS, BETWEEN, ZONES) if each[2] or not each[3]]
#: Days and hours of trials at a plant: the hour tells which trial it was.
CAMPAIGNS = [(1, 9), (2, 13), (5, 10), (9, 15), (16, 8), (20, 11), (25, 14), (28, 16)]
ENDS = {"": "", "Z": "Z", "offset": "+09:00"}
BROKEN = ["", "tomorrow", "2024", "2024-13-01 10:00", "2024-01-31 25:00", "１２:00", "2024-01-31 10:00 ", "--", "\n"]


def written(form: Form, moments: list[datetime.datetime]) -> list[str]:
    date = form.mark.join({"y": "%Y", "m": "%m", "d": "%d"}[part] for part in form.order)
    clock = f"{form.between}%H:%M:%S{ENDS[form.zone]}" if form.between else ""
    return [moment.strftime(date + clock) for moment in moments]


def moments(count: int = 120, years: int = 60) -> list[datetime.datetime]:
    minutes = np.random.default_rng(5).integers(0, years * 365 * 24 * 60, count)
    return [
        datetime.datetime(1995, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(minutes=int(each)) for each in minutes
    ]


def in_graph(cycles: Cycles, texts: np.ndarray) -> np.ndarray:
    builder = GraphBuilder([("at", STRING)])
    builder.output(write_cycles(builder, "at", cycles), "numbers", FLOAT, ["rows", cycles.width])
    (found,) = open_graph(builder.finish()).run(None, {"at": texts.reshape(-1, 1)})
    return np.asarray(found)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.example)
def test_the_graph_reads_each_form_as_the_calendar_does_and_another_form_as_missing(form: Form) -> None:
    at = moments()
    texts = np.array([*written(form, at), *BROKEN], dtype=object)
    cycles = Cycles(form, ("hour", "weekday", "day of year") if form.between else ("weekday", "day of year"))
    found = in_graph(cycles, texts)
    np.testing.assert_array_equal(found, cycles.numbers(texts))
    assert np.isnan(found[len(at) :]).all()
    assert found[: len(at), -6].tolist() == [each.isoweekday() for each in at]
    assert np.abs(found[: len(at), -3] - [each.timetuple().tm_yday for each in at]).max() <= 1
    if form.between:
        assert found[: len(at), 0].tolist() == [each.hour + each.minute // 15 / 4 for each in at]


def test_one_broken_text_is_no_error_of_its_batch() -> None:
    cycles = Cycles(Form("ymd", "-", " "), ("hour",))
    for broken in BROKEN:
        found = in_graph(cycles, np.array([broken, "2024-02-29 6:30"], dtype=object))
        assert np.isnan(found[0]).all()
        assert found[1, 0] == 6.5


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.example)
def test_a_form_is_recognised_by_its_texts(form: Form) -> None:
    assert recognise(written(form, moments())) == form


def test_day_and_month_that_cannot_be_told_apart_are_no_form() -> None:
    texts = [f"{day:02}/{month:02}/2024 10:00" for day in range(1, 13) for month in range(1, 13)]
    assert recognise(texts) is None


@pytest.mark.parametrize(
    ("days", "used"),
    [
        (2, None),
        (10, ("hour",)),
        (60, ("hour", "weekday")),
        (800, ("hour", "weekday", "day of year")),
    ],
)
def test_a_cycle_is_used_where_the_table_went_round_it(days: int, used: tuple[str, ...] | None) -> None:
    texts = pd.date_range("2021-03-01", periods=24 * days, freq="h").astype(str).to_numpy(dtype=object)
    found = find_cycles(texts)
    assert (found.parts if found else None) == used


def test_hours_of_a_few_scattered_days_are_no_cycle() -> None:
    days = [pd.date_range(f"2024-03-{day:02} {hour:02}:00", periods=200, freq="s") for day, hour in CAMPAIGNS]
    texts = np.concatenate([each.astype(str).to_numpy(dtype=object) for each in days])
    assert find_cycles(texts) is None


def test_a_few_wrong_years_make_no_span_and_one_hour_is_no_cycle() -> None:
    texts = pd.date_range("2024-03-01 06:00", periods=300, freq="h").astype(str).to_numpy(dtype=object)
    texts[:2] = "1970-01-01 00:00:00"
    assert find_cycles(texts).parts == ("hour",)  # type: ignore[union-attr]
    daily = pd.date_range("2024-03-01 06:00", periods=60, freq="D").astype(str).to_numpy(dtype=object)
    assert find_cycles(daily).parts == ("weekday",)  # type: ignore[union-attr]


def test_rows_of_a_proof_are_encoded_as_the_table_is_and_read_back(tmp_path: Path) -> None:
    table = shifts(200)
    features = check_table(table, "y", None).features
    rows = encode(features)
    held_out = make_cases(features, np.arange(len(rows)))[0]
    np.testing.assert_array_equal(encode_case(held_out, rows).numbers, rows.numbers)
    assert (rows.plain, rows.timed, rows.text_places) == ((1,), (0,), (2,))
    save_encoded(tmp_path, rows)
    again: Encoded = load_encoded(tmp_path)
    assert (again.cycles, again.number_places, again.texts) == (rows.cycles, rows.number_places, rows.texts)


def shifts(rows: int) -> pd.DataFrame:
    """A line whose output depends on the night shift, the weekend and a torque."""
    random = np.random.default_rng(3)
    at = pd.date_range("2024-03-01", periods=rows, freq="7h")
    night = (at.hour >= 22) | (at.hour < 6)
    torque = random.normal(40, 8, rows)
    output = 0.4 * torque + 6 * night + 4 * (at.day_of_week >= 5) + random.normal(0, 0.5, rows)
    return pd.DataFrame({"at": at.astype(str), "torque": torque, "side": random.choice(["L", "R"], rows), "y": output})


def test_a_line_that_depends_on_the_shift_is_learned_and_proven(tmp_path: Path) -> None:
    manifest = train(TrainRequest(shifts(900), "y", "line", budget_s=30, trials=3, validate="random"), tmp_path / "out")
    assert manifest.metrics["r2"] > 0.9  # 0.5 without the time
    assert manifest.importance[0].feature == "at" or manifest.importance[1].feature == "at"
    assert manifest.parity.passed
    assert {case.name for case in manifest.parity.cases} >= {"missing", "unseen", "edges"}
    assert manifest.opset["ai.onnx"] == 20
    at = next(spec for spec in manifest.inputs if spec.name == "at")
    assert (at.dtype, at.categories) == ("string", None)


def test_a_table_without_times_asks_for_no_newer_runtime(tmp_path: Path) -> None:
    request = TrainRequest(shifts(300), "y", "line", budget_s=20, trials=1, drop=("at",))
    assert train(request, tmp_path / "out").opset["ai.onnx"] == 17


def test_a_column_of_times_is_typed_without_being_used_yet() -> None:
    assert type_column("at", shifts(50)["at"]).cycles is None
