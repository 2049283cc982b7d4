"""The card's figures and what is said of them: nothing that is chance is named, and nothing that matters is hidden."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from simulators.candidates import manifest_of

from protocols.card import Card, Curve, Front, Interpretable
from protocols.manifest import Manifest
from trainer.card.content import sections
from trainer.card.figures import Material, make_card
from trainer.card.markdown import markdown
from trainer.card.page import html
from trainer.card.quality import operating
from trainer.card.segments import worst_segments
from trainer.columns import Column
from trainer.explain.explanation import explain
from trainer.guardrails.check import check_table

Array = np.ndarray[Any, Any]


class Alarm:
    """A graph in miniature: the probability of `bad` rises with x, and with a and b, which move together."""

    def run(self, names: object, feed: dict[str, Array]) -> list[Array]:
        score = feed["x"][:, 0] + 0.5 * feed["a"][:, 0] + 0.5 * feed["b"][:, 0] - 1.5
        share = 1 / (1 + np.exp(-2 * score.astype(np.float64)))
        labels = np.where(share > 0.5, "bad", "good").astype(object)
        return [labels, np.stack([share, 1 - share], axis=1).astype(np.float32)]


def table(rows: int = 900) -> pd.DataFrame:
    random = np.random.default_rng(2)
    a = random.normal(0, 1, rows)
    columns = {"x": random.normal(0, 1, rows), "a": a, "b": a + random.normal(0, 0.2, rows)}
    columns["z"] = random.normal(0, 1, rows)
    score = columns["x"] + 0.5 * a + 0.5 * columns["b"] - 1.5
    bad = random.random(rows) < 1 / (1 + np.exp(-2 * score))
    return pd.DataFrame({**columns, "y": np.where(bad, "bad", "good")})


@pytest.fixture(scope="module")
def material() -> Material:
    checked = check_table(table(), "y", None)
    learn, held_out = np.arange(400), np.arange(400, 900)
    session = Alarm()
    explained = explain(session, checked.features, held_out, learn, lambda: False)
    shift = np.where(np.arange(900) % 3 == 0, "night", "day").astype(object)
    return Material(
        session,
        checked.features,
        checked.target,
        learn,
        held_out,
        explained,
        fairness={"shift": shift},
        interpretable=Interpretable("additive trees", 0.31, 0.3, 0.033),
        front=(Front("blend", 0.3, 0.2, 400_000, 50_000_000, True), Front("linear", 0.4, 0.01, 2_000, 40_000_000)),
        interpretable_session=session,
    )


@pytest.fixture(scope="module")
def card(material: Material) -> Card:
    return make_card(material, lambda: False)


def manifest() -> Manifest:
    return msgspec.structs.replace(
        manifest_of({"model.onnx": b""}),
        task="classification",
        classes=("bad", "good"),
        target="y",
        metric="log_loss",
        metrics={"log_loss": 0.3},
    )


def told(card: Card) -> str:
    return markdown("card", sections(manifest(), (), card)).decode()


def test_sensors_that_move_together_are_told_as_one(card: Card) -> None:
    (group,) = card.groups
    assert group.features in (("a", "b"), ("b", "a"))
    x = next(one for one in card.effects if one.feature == "x")
    assert abs(x.change) > 0.3
    assert group.error is not None
    assert group.value > group.error > 0
    assert set(card.ties) & {("a", "b"), ("b", "a")}
    text = told(card)
    assert "best read as one" in text
    assert "matters more, these rows do not tell" in text


def test_the_whole_of_a_group_is_more_than_each_of_its_sensors(card: Card, material: Material) -> None:
    alone = {one.feature: one.value for one in material.explained.importance}
    assert card.groups[0].value > 1.5 * max(alone["a"], alone["b"])


def test_confusion_and_thresholds_are_those_of_the_held_out_rows(card: Card, material: Material) -> None:
    assert card.confusion is not None
    assert card.confusion.classes == ("bad", "good")
    assert sum(map(sum, card.confusion.counts)) == 500
    truth = material.target.values[material.held_out]
    assert sum(card.confusion.counts[0]) == int((truth == "bad").sum())
    assert [one.threshold for one in card.operating] == sorted((one.threshold for one in card.operating), reverse=True)
    last = card.operating[-1]
    assert (last.hits, last.false_alarms) == (1.0, 1.0)
    assert last.precision == pytest.approx((truth == "bad").mean())
    half = min(card.operating, key=lambda one: abs(one.threshold - 0.5))
    assert half.hits > half.false_alarms + 0.4


def test_rows_of_one_score_are_answered_alike() -> None:
    points = operating(np.array([True, False, True]), np.array([0.5, 0.5, 0.2]))
    assert [(one.threshold, one.hits, one.false_alarms, one.precision) for one in points] == [
        (0.5, 0.5, 1.0, 0.5),
        (0.2, 1.0, 1.0, pytest.approx(2 / 3)),
    ]


def test_the_example_is_an_alarm_that_could_have_been_none(card: Card) -> None:
    assert card.otherwise is not None
    assert (card.otherwise.answer, card.otherwise.wanted) == ("bad", "'good'")
    assert card.otherwise.alternatives
    assert len(card.otherwise.alternatives[0].changes) == 1


def test_fairness_rivals_and_shapes_are_told(card: Card) -> None:
    (fair,) = card.fairness
    assert {group.group for group in fair.groups} == {"day", "night"}
    text = told(card)
    for expected in ("By shift", "few rows prove no fairness", "costs 3.3%", "additive trees", "blend", "chosen"):
        assert expected in text
    assert [curve.feature for curve in card.shapes] == [effect.feature for effect in card.effects]


def test_the_page_draws_what_the_text_tells(card: Card) -> None:
    page = html("card", sections(manifest(), (), card)).decode()
    # importance, calibration, two of thresholds, the front; a curve and a shape of each input
    assert page.count("<svg") == 5 + len(card.curves) + len(card.shapes)
    assert "NaN" not in page


def test_a_card_without_time_is_whole_where_time_was_not_needed(material: Material) -> None:
    short = make_card(material, lambda: True)
    assert (short.cut_short, short.curves, short.otherwise, short.segments) == (True, (), None, None)
    assert short.confusion is not None
    assert "No effects were computed" in told(short)


def test_parts_that_were_not_looked_at_are_not_called_even(card: Card, material: Material) -> None:
    even, missed = (
        "No part of the held-out rows is worse",
        "Not looked at: the time ran out, a larger --budget shows it.",
    )
    none = {"rows": np.empty(0, dtype=int), "explained": np.empty(0, dtype=int), "contributions": np.empty((0, 4))}
    ended = replace(material, explained=replace(material.explained, **none))  # before any row was explained
    looked = msgspec.structs.replace(card, segments=())
    short, unranked = make_card(material, lambda: True), make_card(ended, lambda: False)
    for one, words, other in ((looked, even, missed), (short, missed, even), (unranked, missed, even)):
        page = html("card", sections(manifest(), (), one)).decode()
        for text in (told(one), page):
            assert words in text
            assert other not in text
    assert msgspec.json.decode(msgspec.json.encode(short), type=Card) == short


def test_a_model_that_no_input_moves_is_looked_at_all_the_same(material: Material) -> None:
    still = tuple(msgspec.structs.replace(one, value=0.0) for one in material.explained.importance)
    output = np.full((500, 2), 0.5)
    output[material.features[0].values[400:] > 0.5] = [0.001, 0.999]
    constant = replace(material, explained=replace(material.explained, importance=still), output=output)
    found = make_card(constant, lambda: False).segments
    assert found
    assert found[0].where.startswith(material.features[0].name)


def test_the_class_that_raises_the_alarm_is_in_question_though_it_is_the_commoner(material: Material) -> None:
    asked = (material.session, material.features, material.held_out, material.learn, lambda: False)
    card = make_card(replace(material, explained=explain(*asked, alarm=1), place=1), lambda: False)
    assert card.calibrated == "share of 'good'"
    assert {one.of for one in (*card.effects, *card.curves, *card.shapes)} == {"probability of 'good'"}
    assert [one.of for one in card.fairness] == ["good"]
    assert card.otherwise is not None
    assert (card.otherwise.answer, card.otherwise.wanted) == ("good", "'bad'")
    assert card.operating[-1].precision == pytest.approx((material.target.values[material.held_out] == "good").mean())
    assert "By shift, on held-out rows, for the class 'good'" in told(card)
    unexplained = replace(material, place=1, explained=replace(material.explained, explained=np.empty(0, dtype=int)))
    assert make_card(unexplained, lambda: True).calibrated == "share of 'good'"


def test_noise_is_seldom_named_as_a_weak_spot_even_with_heavy_tails() -> None:
    named = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        columns = [Column(f"x{index}", "number", random.normal(0, 1, 400).astype(np.float32)) for index in range(5)]
        columns.append(Column("line", "category", random.choice(np.array(list("abcd"), dtype=object), 400)))
        truth = random.normal(0, 1, 400)
        output = truth + random.standard_t(3, 400)
        named += bool(worst_segments(columns, np.arange(400), truth, output, "regression"))
    assert named <= 6


def test_a_weak_spot_says_how_likely_it_is_by_chance() -> None:
    random = np.random.default_rng(0)
    line = random.choice(np.array(list("abcd"), dtype=object), 800)
    truth = random.normal(0, 1, 800)
    output = truth + random.normal(0, 1, 800) * np.where(line == "c", 3, 1)
    (segment,) = worst_segments([Column("line", "category", line)], np.arange(800), truth, output, "regression")
    assert segment.where == "line is 'c'"
    assert type(segment.chance) is float  # what a report can carry
    assert segment.chance <= 0.01
    assert msgspec.json.decode(msgspec.json.encode(segment)) == msgspec.to_builtins(segment)


def test_a_card_of_before_is_read() -> None:
    before = {"held_out": 3, "baseline": {"kind": "mean", "metrics": {}}, "calibrated": "y"}
    before |= {"segments": [{"where": "x above 3", "rows": 20, "value": 1.5}]}
    card = msgspec.convert(before, Card)
    assert card.segments[0].chance is None
    assert "x above 3" in told(card)
    assert msgspec.json.decode(msgspec.json.encode(card), type=Card) == card


def test_a_flat_shape_and_a_front_of_one_are_drawn(card: Card) -> None:
    flat = msgspec.structs.replace(
        card, shapes=(Curve("x", "prediction", (1.0, 2.0), (0.0, 0.0)),), front=(Front("one", 0.0, 0.0, 0, 0, True),)
    )
    assert "NaN" not in html("card", sections(manifest(), (), flat)).decode()
