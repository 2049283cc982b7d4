"""Tuning, the rules: which plan wins, which are tried, and what is said of it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_agent.session_plan import SessionPlan
from edge_agent.tuning import (
    Bounds,
    Measured,
    Space,
    batch_limit,
    choose,
    contenders,
    describe_plan,
    explain,
    merged,
    thread_counts,
    variations,
)

MB = 1024 * 1024
FREE = Bounds()


def measured(
    ms: float = 1.0, *, mb: float = 100, reason: str | None = None, rate: float = 2000, **plan: Any
) -> Measured:
    return Measured(
        plan=SessionPlan(**{"threads": 2, **plan}),
        reason=reason,
        latency_p50_ms=ms,
        latency_p99_ms=2 * ms,
        rows_per_s={64: rate},
        memory_bytes=int(mb * MB),
    )


def winner(*found: Measured, bounds: Bounds = FREE) -> SessionPlan | None:
    best = choose(found, bounds)
    return best.plan if best else None


def test_the_quickest_wins() -> None:
    slow, quick = measured(2.0), measured(1.0, optimization="basic")
    assert winner(slow, quick) == quick.plan


def test_a_row_alone_and_a_full_batch_count_alike() -> None:
    alone, batch = measured(1.0, rate=4000), measured(0.9, rate=8000, threads=4)
    assert winner(alone, batch) == batch.plan
    assert alone.cost == pytest.approx(0.5)


def test_within_noise_the_simpler_wins_and_fewer_threads_are_simpler() -> None:
    assert winner(measured(0.98, threads=4), measured(1.0, threads=1)) == SessionPlan(threads=1)
    assert winner(measured(0.98, optimization="basic"), measured(1.0)) == SessionPlan(threads=2)
    assert winner(measured(0.9, threads=4), measured(1.0, threads=1)) == SessionPlan(threads=4)


def test_of_the_quick_a_clearly_smaller_one_wins_though_it_is_less_simple() -> None:
    mapped = measured(1.0, mb=60, mapped=Path("x.ort"))
    assert winner(measured(1.0, mb=100), mapped) == mapped.plan
    assert winner(measured(1.0, mb=61), mapped) == SessionPlan(threads=2)


@pytest.mark.parametrize(
    ("int8", "taken"),
    [
        ({"ms": 0.9, "mb": 40}, True),
        ({"ms": 0.5, "mb": 40}, True),
        ({"ms": 0.5, "mb": 99}, False),  # not smaller
        ({"ms": 0.5, "mb": 140}, False),  # larger
        ({"ms": 1.1, "mb": 20}, False),  # slower
        ({"ms": 0.5, "mb": 40, "reason": "golden vectors: prediction of row 3 is 7 here"}, False),
    ],
)
def test_int8_only_where_it_is_smaller_no_slower_and_within_its_tolerance(int8: dict[str, Any], taken: bool) -> None:
    found = winner(measured(1.0, mb=100), measured(precision="int8", **int8))
    assert found is not None
    assert found.precision == ("int8" if taken else "float32")


def test_int8_is_compared_with_the_best_of_float32_and_not_with_the_first() -> None:
    best = measured(0.5, threads=4)
    assert winner(measured(1.0), best, measured(0.7, mb=20, precision="int8")) == best.plan


def test_int8_serves_where_float32_is_beyond_the_limits() -> None:
    int8 = measured(2.0, mb=40, precision="int8")
    assert winner(measured(1.0, mb=100), int8, bounds=Bounds(memory_bytes=50 * MB)) == int8.plan


def test_what_is_beyond_the_limits_does_not_count() -> None:
    quick, lean = measured(0.5, mb=100, optimization="basic"), measured(1.0, mb=40)
    assert winner(quick, lean, bounds=Bounds(memory_bytes=50 * MB)) == lean.plan
    assert winner(quick, bounds=Bounds(latency_ms=0.9)) is None
    assert "one row takes 1 ms (p99), and 0.9 ms are promised" in str(Bounds(latency_ms=0.9).broken_by(quick))


def test_where_nothing_may_serve_nothing_is_chosen() -> None:
    assert winner(measured(reason="it killed its process (SIGILL)")) is None
    assert choose([], FREE) is None


def test_of_two_measurements_of_a_plan_the_better_counts() -> None:
    first, second = measured(2.0, rate=900, mb=10), measured(1.0, rate=800, mb=12)
    (found,) = merged([first, second])
    assert (found.latency_p50_ms, found.rows_per_s, found.memory_bytes) == (1.0, {64: 900}, 10 * MB)
    failed = measured(reason="its golden vectors differ")
    assert merged([second, failed]) == merged([failed, second]) == [failed]


def test_only_what_might_win_is_measured_again() -> None:
    plans = [measured(1.0 + step / 10, threads=step + 1) for step in range(8)]
    assert contenders([*plans, measured(0.1, reason="no", threads=9)], FREE) == [plan.plan for plan in plans[:4]]
    assert contenders([measured(1.0, threads=1), measured(9.0, rate=100, threads=2)], FREE) == [SessionPlan(threads=1)]


def test_stages_vary_one_thing_at_a_time_from_the_best_so_far() -> None:
    best = SessionPlan(threads=4, precision="int8")
    space = Space(threads=(4, 2, 1), precisions=("float32", "int8"), mapping=True)
    for stage, changed in {"precision": "precision", "threads": "threads", "optimization": "optimization"}.items():
        plans = variations(stage, best, space)
        assert plans
        for plan in plans:
            assert msgspec.structs.replace(plan, **{changed: getattr(best, changed)}) == best
    assert variations("mapping", best, space) == [best, msgspec.structs.replace(best, prepacked=False)]
    assert variations("mapping", best, Space()) == []


def test_threads_are_tried_by_doubling_up_to_the_share() -> None:
    assert thread_counts(1) == (1,)
    assert thread_counts(4) == (4, 2, 1)
    assert thread_counts(6) == (6, 4, 2, 1)


def test_batches_are_limited_only_where_larger_ones_are_slower() -> None:
    assert batch_limit({4: 100, 16: 300, 64: 400, 256: 390}) == 0
    assert batch_limit({4: 100, 16: 300, 64: 400, 256: 300}) == 64
    assert batch_limit({4: 100, 16: 397, 64: 400, 256: 300}) == 64
    assert batch_limit({}) == 0


def test_the_reason_names_what_was_measured_beside_what_would_have_served() -> None:
    standard, best = measured(1.0, threads=2), measured(0.5, mb=60, rate=9000, precision="int8", threads=1)
    text = explain(best, standard, 5)
    assert text == (
        "int8, 1 thread, optimization all: 0.5 ms a row alone, 9,000 rows/s, 60 MiB; "
        "untuned: 1 ms a row alone, 2,000 rows/s, 100 MiB; 5 plans measured"
    )
    assert "none of 3 plans is quicker or smaller" in explain(standard, standard, 3)
    assert describe_plan(SessionPlan(threads=2, mapped=Path("x"), prepacked=False, max_batch=64)) == (
        "float32, 2 threads, optimization all, mapped, not prepacked, batches up to 64"
    )
