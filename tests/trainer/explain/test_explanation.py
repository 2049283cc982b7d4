"""Explanation from the graph: the values are SHAP's own, they add up, and they end with the time."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trainer.columns import Column
from trainer.explain.explanation import Explained, explain
from trainer.explain.shapley import shapley

Array = np.ndarray[Any, Any]
Function = Callable[[Array], Array]


class Graph:
    """A graph in miniature: a function of a matrix of numbers, one input for each column."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self.calls = 0

    def run(self, names: object, feed: dict[str, Array]) -> list[Array]:
        self.calls += 1
        output = self._function(np.concatenate(list(feed.values()), axis=1).astype(np.float64))
        return [output[:, 0]] if output.shape[1] == 1 else [output.argmax(axis=1), output]


def columns(count: int, rows: int = 40) -> list[Column]:
    random = np.random.default_rng(5)
    return [Column(f"sensor {index}", "number", random.normal(0, 1, rows).astype(np.float32)) for index in range(count)]


def in_pairs(matrix: Array) -> Array:
    return np.stack([3 * matrix[:, 0] + matrix[:, 1] * matrix[:, 2] + np.abs(matrix[:, 3] - matrix[:, 0])], axis=1)


def in_threes(matrix: Array) -> Array:
    share = 1 / (1 + np.exp(-(2 * matrix[:, 0] + 3 * matrix[:, 1] * matrix[:, 2] * matrix[:, 3])))
    return np.stack([1 - share, share], axis=1)


def by_shap(function: Function, features: list[Column], rows: Array, background: Array) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matplotlib, which shap imports where it is there
        from shap import ExactExplainer
    matrix = np.stack([column.values for column in features], axis=1).astype(np.float64)
    return np.asarray(ExactExplainer(function, matrix[background])(matrix[rows]).values)


ROWS, BACKGROUND = np.arange(8), np.arange(10, 30)


def test_values_are_exact_where_columns_act_in_pairs() -> None:
    features = columns(4)
    found = shapley(Graph(in_pairs), features, ROWS, BACKGROUND, lambda: False, len(BACKGROUND))
    exact = by_shap(in_pairs, features, ROWS, BACKGROUND)
    np.testing.assert_allclose(found.values.squeeze(), exact.squeeze(), atol=1e-5)


def test_values_of_any_function_lie_within_their_errors() -> None:
    features = columns(5)
    found = shapley(Graph(in_threes), features, ROWS, BACKGROUND, lambda: False, 400)
    exact = by_shap(in_threes, features, ROWS, BACKGROUND)
    assert np.abs(found.values - exact).max() < 0.03
    away = np.abs(found.values - exact) / np.maximum(found.errors, 1e-9)
    assert (away[found.errors > 1e-6] < 4.5).all()
    assert found.errors.max() < 0.02
    np.testing.assert_array_equal(found.values[:, 4], 0)


def test_the_choice_of_background_is_no_error_once_every_row_of_it_has_served() -> None:
    features = columns(3)
    graph = Graph(lambda matrix: matrix.sum(axis=1, keepdims=True))
    some = shapley(graph, features, ROWS, BACKGROUND, lambda: False, 10)
    every = shapley(graph, features, ROWS, BACKGROUND, lambda: False, 40)
    assert some.errors.min() > 0.05
    assert every.errors.max() < 1e-6


def test_contributions_and_base_add_up_to_the_output_however_few_the_walks() -> None:
    features = columns(5)
    for walks in (1, 3):
        found = explain(Graph(in_threes), features, ROWS, BACKGROUND, lambda: False, walks=walks)
        np.testing.assert_allclose(found.base + found.contributions.sum(axis=1), found.outputs, atol=1e-9)


def ranking(found: Explained) -> list[str]:
    return [one.feature for one in found.importance]


def test_importance_ranks_the_columns_says_which_way_and_how_sure() -> None:
    features = columns(4, 300)
    graph = Graph(lambda matrix: 5 * matrix[:, :1] - 2 * matrix[:, 1:2] + 0.5 * matrix[:, 2:3] ** 2)
    found = explain(graph, features, np.arange(100), np.arange(100, 300), lambda: False)
    assert ranking(found) == ["sensor 0", "sensor 1", "sensor 2", "sensor 3"]
    assert [one.direction for one in found.importance] == ["rises", "falls", "mixed", "mixed"]
    first, *_, unused = found.importance
    assert first.value == pytest.approx(5 * np.sqrt(2 / np.pi), rel=0.25)
    assert isinstance(first.error, float)
    assert 0.1 < first.error < 1.5
    assert (unused.value, unused.error) == (0.0, 0.0)
    assert found.whole


def test_the_rarer_of_two_classes_is_explained_or_the_one_that_raises_the_alarm() -> None:
    def rare(matrix: Array) -> Array:
        share = np.where(matrix[:, 0] > 1, 0.9, 0.05)
        return np.stack([share, 1 - share], axis=1)

    asked = (Graph(rare), columns(2, 200), np.arange(100), np.arange(100, 200), lambda: False)
    found = explain(*asked)
    assert set(found.explained) == {0}
    assert found.importance[0].direction == "rises"
    alarm = explain(*asked, alarm=1)
    assert set(alarm.explained) == {1}
    assert alarm.importance[0].direction == "falls"
    np.testing.assert_allclose(alarm.contributions, -found.contributions, atol=1e-9)


def test_of_more_classes_each_row_gets_the_reasons_of_its_own_answer() -> None:
    def three(matrix: Array) -> Array:
        score = np.exp(np.stack([matrix[:, 0], matrix[:, 1], matrix[:, 0] * 0], axis=1) * 2)
        return score / score.sum(axis=1, keepdims=True)

    features = columns(3)
    found = explain(Graph(three), features, ROWS, BACKGROUND, lambda: False)
    matrix = np.stack([column.values for column in features], axis=1)
    np.testing.assert_array_equal(found.explained, three(matrix[found.rows]).argmax(axis=1))
    np.testing.assert_allclose(found.base + found.contributions.sum(axis=1), found.outputs, atol=1e-9)


def test_texts_and_missing_values_are_walked_like_numbers() -> None:
    class Mixed:
        def run(self, names: object, feed: dict[str, Array]) -> list[Array]:
            there = np.where(np.isnan(feed["x"]), -5.0, feed["x"])
            return [there + 2.0 * (feed["grade"] == "加工")]

    x = np.array([np.nan, 1, 2, 3], dtype=np.float32)
    features = [
        Column("x", "number", x),
        Column("grade", "category", np.array(["加工", "", "a", "加工"], dtype=object)),
    ]
    found = explain(Mixed(), features, np.array([0]), np.array([1, 2]), lambda: False)
    np.testing.assert_allclose(found.contributions, [[-6.5, 2.0]])


def test_the_same_call_gives_the_same_values() -> None:
    one, two = (explain(Graph(in_threes), columns(5), ROWS, BACKGROUND, lambda: False, walks=2) for _ in range(2))
    np.testing.assert_array_equal(one.contributions, two.contributions)


def test_the_time_ends_it_between_two_calls_and_what_was_done_counts() -> None:
    graph = Graph(in_threes)
    found = explain(graph, columns(5, 2000), np.arange(1000), np.arange(1000, 2000), lambda: graph.calls > 4, walks=999)
    assert graph.calls == 5
    assert not found.whole
    assert len(found.rows) == 200
    np.testing.assert_allclose(found.base + found.contributions.sum(axis=1), found.outputs, atol=1e-9)


def test_a_table_too_wide_for_the_time_is_ranked_by_nothing_rather_than_by_half_a_walk() -> None:
    wide = columns(1500, 60)
    graph = Graph(lambda matrix: matrix[:, :1])
    found = explain(graph, wide, np.arange(40), np.arange(40, 60), lambda: True)
    assert graph.calls <= 6
    assert not found.whole
    assert len(found.importance) == 1500
    assert {one.value for one in found.importance} == {0.0}


def test_of_a_wide_table_the_few_columns_that_move_anything_are_found_and_explained() -> None:
    wide = columns(3000, 60)
    graph = Graph(lambda matrix: 2 * matrix[:, 7:8] + np.where(matrix[:, 1000:1001] > 0, matrix[:, 2999:], 0))
    found = explain(graph, wide, np.arange(40), np.arange(40, 60), lambda: False, walks=20)
    assert set(ranking(found)[:3]) == {"sensor 7", "sensor 1000", "sensor 2999"}
    assert found.importance[3].value == 0
    assert graph.calls < 400
    np.testing.assert_allclose(found.base + found.contributions.sum(axis=1), found.outputs, atol=1e-9)
    narrow = [wide[7], wide[1000], wide[2999]]
    few = Graph(lambda matrix: 2 * matrix[:, :1] + np.where(matrix[:, 1:2] > 0, matrix[:, 2:], 0))
    exact = explain(few, narrow, np.arange(40), np.arange(40, 60), lambda: False, walks=20)
    np.testing.assert_allclose(found.contributions[:, [7, 1000, 2999]], exact.contributions, atol=1e-6)


def test_a_wide_table_of_which_every_column_moves_something_is_walked_whole() -> None:
    wide = columns(120, 60)
    graph = Graph(lambda matrix: matrix.sum(axis=1, keepdims=True))
    found = explain(graph, wide, np.arange(4), np.arange(40, 60), lambda: False, walks=20)
    values = np.stack([column.values for column in wide], axis=1).astype(np.float64)
    np.testing.assert_allclose(found.contributions, values[:4] - values[40:].mean(axis=0), atol=1e-6)


def test_a_slow_graph_is_asked_in_short_calls() -> None:
    sizes = []

    def slow(matrix: Array) -> Array:
        sizes.append(len(matrix))
        time.sleep(len(matrix) * 2e-4)
        return matrix[:, :1]

    graph = Graph(slow)
    explain(graph, columns(10, 2000), np.arange(1000), np.arange(1000, 2000), lambda: graph.calls > 8)
    assert max(sizes[2:]) <= 300


def test_one_column_alone_has_the_whole_difference() -> None:
    found = explain(Graph(lambda matrix: matrix * 2), columns(1), ROWS, BACKGROUND, lambda: False, walks=20)
    np.testing.assert_allclose(found.contributions[:, 0], found.outputs - found.base)
