"""Fairness by group: a difference that is there is named, one that is chance is not, and each rate is what it says."""

from typing import Any

import numpy as np
import pytest

from protocols.card import Fairness, Gap
from trainer.columns import Column
from trainer.explain.fairness import MISSING, Groups, fairness, group_labels

Array = np.ndarray[Any, Any]
CLASSES = ("bad", "good")


def probabilities(answers: Array) -> Array:
    return np.where(answers[:, None] == np.arange(2), 0.9, 0.1)


def shifts(rows: int = 900) -> Array:
    return np.random.default_rng(3).choice(np.array(["day", "late", "night"], dtype=object), rows)


def gap(found: Fairness, figure: str) -> Gap:
    return next(one for one in found.gaps if one.figure == figure)


def test_the_rates_are_shares_of_the_groups_own_rows() -> None:
    truth = np.array([0] * 10 + [1] * 30)
    answers = np.array([0] * 8 + [1] * 2 + [0] * 3 + [1] * 27)
    found = fairness(Groups("line", np.array(["A"] * 40)), truth, probabilities(answers), "classification", CLASSES)
    (group,) = found.groups
    assert (found.of, group.group, group.rows, found.gaps) == ("bad", "A", 40, ())
    assert group.selected is not None
    assert group.selected.value == pytest.approx(11 / 40)
    assert group.false_alarms is not None
    assert group.false_alarms.value == pytest.approx(3 / 30)
    assert group.misses is not None
    assert (group.misses.value, group.misses.low, group.misses.high) == pytest.approx((0.2, 0.0567, 0.5098), abs=1e-3)


def test_a_group_that_is_missed_more_often_is_named() -> None:
    random, shift = np.random.default_rng(4), shifts()
    truth = (random.random(900) > 0.4).astype(int)
    wrong = random.random(900) < np.where(shift == "night", 0.4, 0.1)
    found = fairness(Groups("shift", shift), truth, probabilities(truth ^ wrong), "classification", CLASSES)
    miss = gap(found, "miss rate")
    assert (miss.most, miss.beyond_chance) == ("night", True)
    assert miss.difference.low < 0.3 < miss.difference.high


def test_chance_is_not_named() -> None:
    named = 0
    for seed in range(40):
        random, shift = np.random.default_rng(seed), shifts()
        truth = (random.random(900) > 0.4).astype(int)
        answers = truth ^ (random.random(900) < 0.2)
        found = fairness(Groups("shift", shift), truth, probabilities(answers), "classification", CLASSES)
        named += gap(found, "miss rate").beyond_chance
    assert named <= 4


def test_a_regression_that_is_too_low_for_one_group_is_named() -> None:
    random, shift = np.random.default_rng(5), shifts()
    truth = random.normal(0, 1, 900)
    output = truth + random.normal(0, 0.5, 900) - 0.4 * (shift == "late")
    found = fairness(Groups("shift", shift), truth, output, "regression", ())
    error = gap(found, "mean error")
    assert (error.least, error.beyond_chance, [one.figure for one in found.gaps]) == ("late", True, ["mean error"])
    assert error.difference.value == pytest.approx(0.4, abs=0.1)


def test_answers_with_a_threshold_of_their_own_count_rather_than_the_likeliest() -> None:
    truth = np.array([0, 1] * 20)  # of as many of either the second is in question
    answers = np.ones(40, dtype=int)
    groups = Groups("line", np.array(["A"] * 40))
    found = fairness(groups, truth, probabilities(truth), "classification", CLASSES, answers)
    assert found.groups[0].selected is not None
    assert found.groups[0].selected.value == 1.0


def test_of_three_classes_the_share_of_wrong_answers_is_told() -> None:
    shift = shifts(300)
    truth = np.arange(300) % 3
    output = np.eye(3)[truth]
    found = fairness(Groups("shift", shift), truth, output, "classification", ("a", "b", "c"))
    assert {one.figure for one in found.gaps} == {"share of wrong answers"}
    assert all(one.selected is None for one in found.groups)


def test_small_groups_are_left_out_and_counted() -> None:
    labels = np.array(["big"] * 60 + ["small"] * 5, dtype=object)
    found = fairness(Groups("line", labels), np.zeros(65), np.ones(65), "regression", ())
    assert [one.group for one in found.groups] == ["big"]
    assert found.left_out == 5


def test_groups_of_a_column() -> None:
    few = group_labels(Column("shift", "number", np.array([1, 2, np.nan], dtype=np.float32)))
    assert few.tolist() == ["1", "2", MISSING]
    many = group_labels(Column("age", "number", np.append(np.arange(100), np.nan).astype(np.float32)))
    assert sorted(set(many)) == [
        MISSING,
        "above 24.75 up to 49.5",
        "above 49.5 up to 74.25",
        "above 74.25",
        "up to 24.75",
    ]
    text = group_labels(Column("line", "category", np.array(["A", ""], dtype=object)))
    assert text.tolist() == ["A", MISSING]


def test_the_class_that_raises_the_alarm_is_in_question_where_it_is_named() -> None:
    truth = np.array([0] * 10 + [1] * 30)
    answers = np.array([0] * 8 + [1] * 2 + [0] * 3 + [1] * 27)
    groups = Groups("line", np.array(["A"] * 40))
    found = fairness(groups, truth, probabilities(answers), "classification", CLASSES, answers, 1)
    (group,) = found.groups
    assert found.of == "good"
    assert [rate and rate.value for rate in (group.selected, group.false_alarms, group.misses)] == pytest.approx(
        [29 / 40, 2 / 10, 3 / 30]
    )
