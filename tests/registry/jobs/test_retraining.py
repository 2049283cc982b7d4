"""The rules of a retraining."""

import numpy as np
import pytest

from registry.jobs.retraining import blocks, compare, hold_out


def test_the_newest_rows_are_held_out():
    learn, unseen = hold_out(list(range(10)), 0.3)
    assert learn == list(range(7))
    assert unseen == [7, 8, 9]


@pytest.mark.parametrize(("rows", "count"), [(29, 0), (30, 3), (99, 9), (5000, 10)])
def test_blocks_cover_every_row_once(rows, count):
    pieces = blocks(rows)
    assert len(pieces) == count
    if pieces:
        assert [index for piece in pieces for index in range(rows)[piece]] == list(range(rows))


def measured(truth, predicted):
    """The error on all rows and on each block, as the trainer measures it."""
    squares = (truth - predicted) ** 2
    return float(np.sqrt(squares.mean())), [float(np.sqrt(squares[piece].mean())) for piece in blocks(len(truth))]


def compared(before, after, rows=300, margin=0.01, seed=7):
    """Compare two models whose errors are normal with these deviations."""
    random = np.random.default_rng(seed)
    truth = np.zeros(rows)
    return compare(
        "rmse",
        measured(truth, random.normal(0, before, rows)),
        measured(truth, random.normal(0, after, rows)),
        rows,
        margin,
    )


def test_a_clearly_better_challenger_wins():
    found = compared(8.0, 4.0)
    assert found.better
    assert "better on 300 unseen rows" in found.reason


@pytest.mark.parametrize(("after", "words"), [(4.05, "is asked for"), (6.0, "is asked for")])
def test_an_equal_or_worse_challenger_loses(after, words):
    found = compared(4.0, after)
    assert not found.better
    assert words in found.reason


def test_luck_rarely_wins():
    wins = sum(compared(4.0, 4.0, rows=100, margin=0.0, seed=seed).better for seed in range(300))
    assert wins <= 300 * 0.08


def test_a_gain_that_one_block_makes_is_noise():
    champion = (4.2, [4.0] * 9 + [6.0])
    challenger = (4.0, [4.0] * 9 + [4.0])
    found = compare("rmse", champion, challenger, 300, 0.01)
    assert not found.better
    assert "within its noise" in found.reason


def test_a_challenger_that_computes_nothing_loses():
    assert not compare("log_loss", (0.5, [0.5] * 3), (float("nan"), [0.1] * 3), 30, 0.01).better


def test_a_perfect_champion_stays():
    assert not compare("rmse", (0.0, [0.0] * 3), (0.0, [0.0] * 3), 30, 0.01).better
