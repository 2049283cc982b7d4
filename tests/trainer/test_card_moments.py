"""Points in time on a card: what the hour or the weekday does is told, and where it cannot be, that is told."""

import datetime
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from simulators.candidates import manifest_of

from protocols.card import Card
from trainer.card.content import sections
from trainer.card.figures import Material, make_card
from trainer.card.markdown import markdown
from trainer.card.page import html
from trainer.card.segments import worst_segments
from trainer.columns import Column
from trainer.cycles import find_cycles
from trainer.explain.explanation import explain
from trainer.graphs import run_graph, to_feed
from trainer.targets import Target

Array = np.ndarray[Any, Any]
TWO_MONTHS = pd.date_range("2024-03-01", periods=24 * 60, freq="h")
#: Ten days of one shift: an hour comes again, and no weekday does.
MORNINGS = [day + pd.Timedelta(minutes=8 * 60 + 10 * step) for day in TWO_MONTHS[:240:24] for step in range(24)]


class Line:
    """A graph in miniature: a sum of what the moment does and of x."""

    def __init__(self, of_moment: Callable[[datetime.datetime], float], slope: float = 1.0) -> None:
        self._of_moment, self._slope = of_moment, slope

    def run(self, names: object, feed: dict[str, Array]) -> list[Array]:
        at = [self._of_moment(datetime.datetime.fromisoformat(text)) for text in feed["at"][:, 0]]
        return [(np.array(at)[:, None] + self._slope * feed["x"]).astype(np.float32)]


def material(line: Line, moments: Any) -> Material:
    texts = np.array([str(pd.Timestamp(each)) for each in moments], dtype=object)
    x = np.random.default_rng(1).uniform(0, 1, len(texts)).astype(np.float32)
    features = [Column("at", "time", texts, cycles=find_cycles(texts)), Column("x", "number", x)]
    values = run_graph(line, to_feed(features))[0].reshape(-1)
    target = Target("PE", "regression", values, np.arange(len(texts)), (), 0, 0, {})
    order = np.random.default_rng(2).permutation(len(texts))
    learn, held_out = order[100:], order[:100]
    explained = explain(line, features, held_out, learn, lambda: False, walks=100)
    return Material(line, features, target, learn, held_out, explained)


def forms(card: Card) -> list[str]:
    told = sections(manifest_of({"model.onnx": b""}), (), card)
    return [markdown("card", told).decode().replace("\\", ""), html("card", told).decode().replace("&#x27;", "'")]


def test_what_the_hour_does_is_told_and_no_time_ran_out() -> None:
    card = make_card(material(Line(lambda at: 5.0 * (at.hour >= 12)), TWO_MONTHS), lambda: False)
    assert (card.cut_short, card.undrawn) == (False, ())
    assert [one.feature for one in card.effects] == ["at", "x"]
    effect, curve = card.effects[0], card.curves[0]
    assert curve.at == ("00:00 to 06:00", "06:00 to 12:00", "12:00 to 18:00", "18:00 to 24:00")
    assert np.diff(curve.means) == pytest.approx([0, 5, 0], abs=1e-4)
    assert (effect.start, effect.end) == ("00:00 to 06:00", "12:00 to 18:00")
    assert effect.change == pytest.approx(5, abs=1e-4)
    for text in forms(card):
        assert "at from '00:00 to 06:00' to '12:00 to 18:00': the prediction moves by +5" in text
        assert "The time ran out" not in text


def test_of_several_cycles_the_one_that_moves_the_answer_most_is_told() -> None:
    card = make_card(
        material(Line(lambda at: 4.0 * (at.isoweekday() >= 6) + 0.5 * (at.hour >= 12)), TWO_MONTHS), lambda: False
    )
    effect = card.effects[0]
    assert card.curves[0].at[:2] == ("Monday", "Tuesday")
    assert (effect.feature, effect.end in ("Saturday", "Sunday")) == ("at", True)
    assert effect.change == pytest.approx(4, abs=0.5)


def test_moments_that_cannot_be_compared_are_said_to_be_undrawn_and_no_time_ran_out() -> None:
    card = make_card(material(Line(lambda at: 5.0 * (at.hour >= 10)), MORNINGS), lambda: False)
    assert (card.cut_short, card.undrawn) == (False, ("at",))
    assert [one.feature for one in card.effects] == ["x"]
    for text in forms(card):
        assert "What at does is not drawn: it holds points in time" in text
        assert "The time ran out" not in text
    assert msgspec.json.decode(msgspec.json.encode(card), type=Card) == card


def test_a_ranking_of_moments_alone_is_shown_without_an_effect() -> None:
    card = make_card(material(Line(lambda at: 5.0 * (at.hour >= 10), slope=0.0), MORNINGS), lambda: False)
    assert (card.effects, card.undrawn, card.otherwise) == ((), ("at",), None)
    for text in forms(card):
        assert "What at does is not drawn" in text
        assert "Mean contribution" in text


def test_the_time_still_runs_out() -> None:
    given = material(Line(lambda at: 5.0 * (at.hour >= 12)), TWO_MONTHS)
    asked: list[None] = []

    def over() -> bool:
        asked.append(None)
        return len(asked) > 2

    card = make_card(given, over)
    assert (card.cut_short, card.curves, card.undrawn) == (True, (), ())


def test_a_night_that_is_worse_is_found_by_its_hours() -> None:
    given = material(Line(lambda at: 0.0), TWO_MONTHS)
    hours = np.array([datetime.datetime.fromisoformat(text).hour for text in given.features[0].values])
    random, rows = np.random.default_rng(3), np.arange(len(hours))
    output = random.normal(0, 1, len(hours)) * np.where(hours < 6, 4, 1)
    found = worst_segments(given.features[:1], rows, np.zeros(len(hours)), output, "regression")
    assert found[0].where == "at from 00:00 to 06:00"
