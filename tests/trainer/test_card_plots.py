"""Plots of a Markdown card: drawn with characters beside the numbers, for each picture that the page has."""

import re

import numpy as np
import pytest
from simulators.candidates import manifest_of

from protocols.card import Baseline, Bin, Card, Curve, Effect, Front, Histogram, Operating
from trainer.card.canvas import Plot
from trainer.card.content import sections
from trainer.card.markdown import markdown
from trainer.card.strips import DIAMOND, DOT, RING, WIDTH, bar_strip, mark_strip

NAME = "Torque [Nm] | *line* 1"
CARD = Card(
    held_out=100,
    baseline=Baseline("mean", {"rmse": 17.0}),
    calibrated="PE",
    calibration=(Bin(440.0, 445.0, 50), Bin(480.0, 475.0, 50)),
    curves=(
        Curve(NAME, "prediction", (0.0, 1.0, 2.0), (10.0, 20.0, 12.5)),
        Curve("grade", "prediction", ("a", "b"), (1.0, 3.0)),
    ),
    effects=(Effect(NAME, "prediction", 0.0, 2.0, 10.0, 12.5),),
    residuals=Histogram((-1.0, 0.0, 1.0, 2.0), (5, 10, 0)),
    operating=(Operating(0.9, 0.2, 0.0, 1.0), Operating(0.1, 1.0, 0.5, 0.6)),
    shapes=(Curve("grade", "prediction", ("a", "b"), (5.0, 5.0)),),
    front=(Front("blend", 0.2, 0.4, 1000, 1000, True), Front("linear", 0.4, 0.01, 10, 10)),
)
TOLD = sections(manifest_of({"model.onnx": b""}), (), CARD)
TEXT = markdown("card", TOLD).decode()


def drawn() -> dict[str, list[list[str]]]:
    """Return what the cells of the table below each plot's title hold."""
    blocks, found = TEXT.split("\n\n"), {}
    for place, block in enumerate(blocks):
        if block.startswith("**"):
            table = next(one for one in blocks[place:] if one.startswith("|"))
            rows = [re.split(r" ?(?<!\\)\| ?", line)[1:-1] for line in table.splitlines()]
            found[block.strip("*").replace("\\", "")] = [rows[0], *rows[2:]]
    return found


def places(cells: list[str], mark: str) -> list[int]:
    return [cell.strip("`").index(mark) for cell in cells]


def test_each_picture_of_the_page_has_its_title_and_a_drawing() -> None:
    titles = [block.title for section in TOLD for block in section.blocks if isinstance(block, Plot)]
    assert len(titles) == 9
    assert len(re.findall(r"^\*\*.*\*\*$", TEXT, re.M)) == len(titles)
    for title, (_, *rows) in drawn().items():
        assert title in titles
        assert any(cell.startswith("`") for row in rows for cell in row), title


def test_a_curve_goes_where_its_means_go() -> None:
    head, *rows = drawn()[f"Mean prediction as {NAME} changes"]
    assert head[-1] == f"{DOT}, 10 to 20"
    assert places([row[-1] for row in rows], DOT) == [0, WIDTH - 1, round((WIDTH - 1) / 4)]
    assert {len(row[-1]) for row in rows} == {WIDTH + 2}


def test_bars_are_as_long_as_their_numbers_and_nothing_has_none() -> None:
    rows = drawn()["Prediction less true PE: held-out rows"][1:]
    assert [len(row[-1].strip("`")) for row in rows] == [WIDTH // 2, WIDTH, 0]
    lengths = [
        len(row[-1].strip("`")) for row in drawn()["Mean contribution of each input, with its 95 % interval"][1:]
    ]
    assert lengths == [WIDTH, 10, 2, 1]  # of 9.84, 3.91, 0.62 and 0.05


def test_several_marks_stand_in_one_line_and_the_head_says_which_they_are() -> None:
    head, *rows = drawn()["Observed over predicted: PE"]
    assert head[-1] == f"{RING} predicted, {DOT} observed, 440 to 480"
    cells = [row[-1] for row in rows]
    assert (places(cells, RING), places(cells, DOT)) == ([0, WIDTH - 1], [3, 20])
    cells = [row[-1] for row in drawn()["Precision over hits: PE"][1:]]
    assert places(cells[1:], DOT) == [WIDTH - 1]
    assert places(cells, DIAMOND) == [WIDTH - 1, 14]


def test_the_chosen_model_of_the_front_is_filled_and_each_scale_is_its_own() -> None:
    head, blend, linear = drawn()["RMSE over latency of the models that nothing beats"]
    assert head[-2:] == [f"RMSE ({DOT} chosen), 0.2 to 0.4", "milliseconds, 0.01 to 0.4"]
    assert (places(blend[-2:], DOT), places(linear[-2:], RING)) == ([0, WIDTH - 1], [WIDTH - 1, 0])


def test_no_name_breaks_a_table_and_nothing_is_loaded() -> None:
    for table in (block for block in TEXT.split("\n\n") if block.startswith("|")):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert "](" not in TEXT
    assert "data:" not in TEXT


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [np.nan, 1.0], [-1.0, -2.0], [np.inf]])
def test_numbers_that_make_no_plot_break_none(values: list[float]) -> None:
    assert len(bar_strip("Drawn", values).cells) == len(values)
    strip = mark_strip(DOT, [[(DOT, value)] for value in values])
    assert {len(cell) for cell in strip.cells} <= {WIDTH}
