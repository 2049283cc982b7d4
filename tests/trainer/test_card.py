"""The model card: what it says is true of the model, and what a table's names hold stays text."""

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

import genba
from protocols.card import Bin, Card
from protocols.manifest import Manifest
from protocols.recipe import Member, Recipe
from trainer.card.content import sections
from trainer.card.figures import Material, make_card
from trainer.card.markdown import markdown
from trainer.card.page import html
from trainer.card.segments import worst_segments
from trainer.columns import Column
from trainer.explain.explanation import explain
from trainer.families import FAMILIES, Shape
from trainer.guardrails.check import check_table
from trainer.limits import Costs
from trainer.report import decode_report
from trainer.request import TrainRequest
from trainer.sdk.trained import TrainedModel
from trainer.train import train

Candidate = tuple[Path, Manifest]


def card_of(candidate: Candidate) -> Card:
    card = decode_report((candidate[0] / "report.json").read_bytes()).card
    assert card is not None
    return card


class Line:
    """A graph in miniature: prediction = 2 x - z, with no look at anything else."""

    def run(self, names: object, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [(2 * feed["x"] - feed["z"]).astype(np.float32)]


def material(table: pd.DataFrame) -> Material:
    checked = check_table(table, "y", None)
    rows = np.arange(len(table))
    explained = explain(Line(), checked.features, rows[300:], rows[:300], lambda: False)
    return Material(Line(), checked.features, checked.target, rows[:300], rows[300:], explained)


def straight(**columns: object) -> pd.DataFrame:
    random = np.random.default_rng(0)
    x, z = random.uniform(0, 10, 500), random.uniform(0, 1, 500)
    return pd.DataFrame({"x": x, "z": z, "y": 2 * x - z}).assign(**columns)


def test_effects_and_curves_are_those_of_the_graph() -> None:
    card = make_card(material(straight()), lambda: False)
    x, z = card.effects
    assert (x.feature, x.of) == ("x", "prediction")
    assert x.change == pytest.approx(2 * (x.end - x.start), rel=1e-4)  # type: ignore[operator]
    assert z.change == pytest.approx(-(z.end - z.start), rel=1e-4)  # type: ignore[operator]
    assert (x.start, x.end) == (pytest.approx(1, abs=0.4), pytest.approx(9, abs=0.4))
    curve = card.curves[0]
    assert np.diff(curve.means) == pytest.approx(2 * np.diff(np.array(curve.at, dtype=float)), rel=1e-3)
    assert card.baseline.metrics["r2"] == pytest.approx(0, abs=0.02)
    assert all(one.predicted == pytest.approx(one.observed, abs=1e-4) for one in card.calibration)
    assert not card.cut_short


def test_the_card_is_the_same_each_time_and_ends_with_the_time() -> None:
    given = material(straight())
    assert make_card(given, lambda: False) == make_card(given, lambda: False)
    short = make_card(given, lambda: True)
    assert short.cut_short
    assert short.curves == ()


def test_sensors_that_move_together_are_named() -> None:
    table = straight(w=lambda t: -(t["x"] ** 3) + np.random.default_rng(1).normal(0, 5, 500))
    found = make_card(material(table), lambda: False).correlations
    assert [(one.feature, one.other) for one in found] == [("x", "w")]
    assert found[0].value < -0.9


def test_the_part_in_which_the_model_fails_is_found_and_noise_is_not() -> None:
    random = np.random.default_rng(0)
    speed, grade = random.uniform(0, 100, 800).astype(np.float32), random.choice(["a", "b"], 800).astype(object)
    columns = [Column("speed", "number", speed), Column("grade", "category", grade)]
    rows, truth = np.arange(800), random.normal(0, 1, 800)
    even = truth + random.normal(0, 1, 800)
    assert worst_segments(columns, rows, truth, even, "regression") == ()
    bad = truth + random.normal(0, 1, 800) * np.where((speed > 75) & (grade == "b"), 8, 1)
    found = worst_segments(columns, rows, truth, bad, "regression")
    assert "grade is 'b'" in found[0].where
    assert "speed above 7" in found[0].where
    assert found[0].value > 5
    assert found[0].rows >= 40


@pytest.mark.parametrize("which", ["regression_candidate", "class_candidate"])
def test_a_trained_candidate_has_a_whole_card(which: str, request: pytest.FixtureRequest) -> None:
    candidate: Candidate = request.getfixturevalue(which)
    card = card_of(candidate)
    assert candidate[1].metrics[candidate[1].metric] < card.baseline.metrics[candidate[1].metric]
    assert card.effects[0].feature == "Torque [Nm]"
    assert sum(one.rows for one in card.calibration) == card.held_out == 48
    text, page = (candidate[0] / "card.md").read_text(), (candidate[0] / "card.html").read_text()
    for title in ("What it predicts", "How good it is", "What drives", "Where it is worst", "Limits of use", "Proof"):
        assert title in text
        assert title in page
    assert candidate[1].digest in text
    assert "(10th to 90th percentile)" in text
    assert "few: take every figure as rough" not in text
    plots = 1 if which == "regression_candidate" else 2
    assert bool(card.shapes) == (len(candidate[1].lineage.recipe.members) > 1)
    assert page.count("<svg") == 2 + plots + len(card.curves) + bool(card.front) + len(card.shapes)
    assert card.otherwise is not None
    assert "What would change an answer" in text


class Reader(HTMLParser):
    """Collects the tags, and every attribute that could load or run something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loaded: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [(name, value) for name, value in attributes if name in ("src", "href") or name.startswith("on")]


def test_names_that_are_markup_stay_text(regression_candidate: Candidate) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=y> | [a](javascript:b)'
    manifest = regression_candidate[1]
    text = msgspec.json.encode(manifest).decode().replace("wear", evil.replace('"', '\\"'))
    spoilt = msgspec.json.decode(text.encode(), type=Manifest)
    card = msgspec.json.decode(
        msgspec.json.encode(card_of(regression_candidate)).decode().replace("wear", evil.replace('"', '\\"')).encode(),
        type=Card,
    )
    told = sections(spoilt, (), card)
    read = Reader(html("card", told).decode())
    assert "script" not in read.tags
    assert "img" not in read.tags
    assert read.loaded == []
    for line in markdown("card", told).decode().splitlines():
        assert not re.search(r"(?<!\\)[<\[]", line)


def test_the_page_loads_nothing(regression_candidate: Candidate) -> None:
    page = (regression_candidate[0] / "card.html").read_text()
    assert Reader(page).loaded == []
    assert "default-src 'none'" in page


def test_a_report_from_before_cards_is_read(regression_candidate: Candidate) -> None:
    report = msgspec.json.decode((regression_candidate[0] / "report.json").read_bytes())
    del report["card"]
    assert decode_report(msgspec.json.encode(report)).card is None


def test_the_class_that_raises_the_alarm_is_what_card_fairness_and_explanation_are_of(
    plant: pd.DataFrame, tmp_path: Path
) -> None:
    assert (plant["fault"] == "good").mean() > 0.5
    parameters = dict(FAMILIES["linear"].starts(Shape("classification", 192, 4, 2))[0])
    recipe = Recipe((Member("linear", parameters, {}, 1.0, (0,)),))
    request = TrainRequest(
        plant, "fault", "alarm", drop=("yield",), recipe=recipe, workers=1,
        costs=Costs(false_alarm=1.0, miss=2.0, positive="good"), fairness=("grade, cut",),
    )  # fmt: skip
    manifest = train(request, tmp_path / "alarm")
    card = card_of((tmp_path / "alarm", manifest))
    assert {one.of for one in card.effects} == {"probability of 'good'"}
    assert (card.calibrated, [one.of for one in card.fairness]) == ("share of 'good'", ["good"])
    torque = next(one for one in manifest.importance if one.feature == "Torque [Nm]")
    assert torque.direction == "falls"  # more of it makes more faults
    assert "answers 'good' from a probability of" in (tmp_path / "alarm" / "card.md").read_text()
    plant.head(3).to_csv(tmp_path / "rows.csv", index=False)
    asked = ["explain", str(tmp_path / "alarm"), str(tmp_path / "rows.csv"), "--out", str(tmp_path / "why.csv")]
    assert genba.main(asked) == 0
    assert set(pd.read_csv(tmp_path / "why.csv")["of"]) == {"good"}
    assert set(TrainedModel(tmp_path / "alarm").explain(plant.head(3))["of"]) == {"good"}


def test_calibration_needs_rows() -> None:
    few = material(straight())
    cut = Material(few.session, few.features, few.target, few.learn, few.held_out[:25], few.explained)
    bins = make_card(cut, lambda: False).calibration
    assert [one.rows for one in bins] == [13, 12]
    assert isinstance(bins[0], Bin)
