"""The model card on a release's page: drawn from figures, with every text of the publisher's as text."""

import json

import pytest
from simulators.candidates import write_candidate

from protocols.manifest import Contributions, TensorSpec
from registry.publication import publish
from registry.web.card import card_view

EVIL = '"><script>alert(1)</script><img src=x onerror=y>'


def card(name: str = "AT") -> dict:
    curve = {"feature": name, "of": "prediction", "at": [2, 14, 25], "means": [480, 460, 440]}
    kinds = {"feature": "grade", "of": "prediction", "at": ["a", name], "means": [450, 452]}
    effect = {"feature": name, "of": "prediction", "start": 5.0, "end": 21.0, "before": 478.0, "after": 444.0}
    return {
        "held_out": 957,
        "baseline": {"kind": "mean", "metrics": {"rmse": 17.2}},
        "calibrated": "PE",
        "calibration": [{"predicted": 440.0, "observed": 441.0, "rows": 90}] * 2,
        "curves": [curve, kinds],
        "effects": [effect],
        "segments": [{"where": f"{name} above 20", "rows": 61, "value": 5.5}],
        "correlations": [{"feature": name, "other": "V", "value": 0.85}],
    }


def whole_card(name: str = "AT") -> dict:
    """Return a card with every figure that a classifier or a regression may have."""
    rate = {"value": 0.2, "low": 0.1, "high": 0.4}
    group = {"group": name, "rows": 40, "metric": 0.5, "misses": rate, "wrong": rate}
    gap = {"figure": "miss rate", "most": name, "least": "day", "difference": {"value": 0.3, "low": 0.1, "high": 0.5}}
    change = {"feature": name, "before": None, "after": 12.5}
    point = {"threshold": 0.5, "hits": 0.9, "false_alarms": 0.1, "precision": 0.8}
    return {
        **card(name),
        "confusion": {"classes": [name, "good"], "counts": [[8, 1], [2, 31]]},
        "operating": [point, {**point, "hits": 1.0, "false_alarms": 1.0}],
        "residuals": {"edges": [-1.0, 0.0, 1.0], "counts": [3, 4]},
        "groups": [{"features": [name, "V"], "value": 3.25, "error": 0.125}],
        "ties": [[name, "RH"]],
        "otherwise": {
            "answer": name,
            "reached": 0.2,
            "wanted": "'good'",
            "alternatives": [{"changes": [change], "answer": "good", "reached": 0.6, "unusual": True}],
        },
        "fairness": [{"column": name, "groups": [group, {**group, "group": "day"}], "gaps": [gap], "of": name}],
        "interpretable": {"name": name, "loss": 0.31, "best_loss": 0.3, "cost_share": 0.03},
        "shapes": card(name)["curves"],
        "front": [
            {
                "name": name,
                "loss": 0.3,
                "latency_ms": 0.2,
                "size_bytes": 4000,
                "memory_bytes": 5_000_000,
                "chosen": True,
            }
        ],
    }


@pytest.fixture
def show(home, catalogue, clock, client, tmp_path):
    """Publish a release with such a report and return its page."""

    def page(report: dict, **changes: object) -> str:
        candidate = write_candidate(tmp_path / "candidate", **changes)
        (candidate / "report.json").write_text(json.dumps(report))
        publish(home, catalogue, candidate, clock)
        response = client.get("/models/ccpp/releases/1")
        assert response.status_code == 200
        return response.text

    return page


def test_the_page_shows_effects_curves_and_weak_spots(show):
    text = show({"card": card()})
    for expected in (
        "What drives PE",
        "has 17.2",
        "AT above 20",
        "move together",
        "957",
        "444",
        "Predicted beside observed",
    ):
        assert expected in text
    assert text.count('<svg class="plot curve"') == 2
    assert '<path class="line series-0" d="M58.0' in text


def test_the_page_shows_what_a_whole_card_tells(show):
    text = show({"card": whole_card()})
    for expected in (
        "best read as one",
        "3.25",
        "or RH matters more",
        "from missing to 12.5",
        "unlike any row known",
        "What is answered, by what it is",
        "▲ gap",
        "0.3 above day",
        "What reading it whole would cost",
        "✓ chosen",
    ):
        assert expected in text
    assert text.count('<svg class="plot curve"') == 5


def test_what_was_not_looked_at_is_told_as_that(show):
    text = show({"card": {**card(), "segments": None, "undrawn": ["at <b>"]}})
    assert "Not looked at: the time ran out" in text
    assert "No part of the held-out rows is worse" not in text
    assert "What at &lt;b&gt; does is not drawn" in text


def test_where_no_part_is_worse_the_page_says_so(show):
    text = show({"card": {**card(), "segments": []}})
    assert "No part of the held-out rows is worse" in text
    assert "Not looked at" not in text


def test_a_model_that_tells_contributions_says_so(show, tmp_path):
    told = Contributions("log-odds", (-1.5,), "bad")
    outputs = (TensorSpec("prediction", "float32"), TensorSpec("contributions", "float32", (None, 4)))
    text = show({"card": card()}, contributions=told, outputs=outputs)
    assert "what every input added, in log-odds of bad" in text


def test_markup_in_a_publishers_names_stays_text(show):
    text = show(
        {"card": whole_card(EVIL), "guardrails": [{"check": EVIL, "state": "done", "seen": [EVIL], "done": EVIL}]}
    )
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    "broken",
    [
        "text",
        {},
        {**card(), "curves": [{"feature": "AT"}]},
        {**card(), "held_out": "many"},
        {**card(), "effects": None},
    ],
)
def test_a_card_of_another_form_is_left_out_and_the_page_stands(show, broken):
    text = show({"card": broken})
    assert "Model card" not in text
    assert "Where it comes from" in text


@pytest.mark.parametrize(
    ("at", "means", "drawn"),
    [([1.0], [2.0], 0), ([1.0, 2.0], [3.0], 0), ([1.0] * 99, [1.0] * 99, 0), ([1.0, 1e300], [1.0, 2.0], 1)],
)
def test_figures_that_make_no_picture_make_none(at, means, drawn):
    view = card_view({"card": {**card(), "curves": [{"feature": "x", "of": "p", "at": at, "means": means}]}})
    assert len(view.curves) == drawn
    assert all(one.svg is None for one in view.curves)


def test_flat_curves_are_drawn():
    view = card_view({"card": {**card(), "curves": [{"feature": "x", "of": "p", "at": [1, 2], "means": [0, 0]}]}})
    assert "NaN" not in str(view.curves[0].svg)
