"""Checks of the columns: units, outliers, twins; and tables that are bad in their columns."""

import warnings

import numpy as np
import pandas as pd
import pytest

from trainer.errors import ColumnNameRefusedError, TargetError
from trainer.guardrails.check import CheckedTable, Wishes, check_table
from trainer.guardrails.rail import MAX_LINES, Guardrail, evenly, found
from trainer.tables import parse_table

ROWS = 400


def rail(checked: CheckedTable, check: str) -> Guardrail:
    return next(one for one in checked.guardrails if one.check == check)


def table(**columns: object) -> pd.DataFrame:
    random = np.random.default_rng(4)
    made = pd.DataFrame({"x": random.normal(20, 2, ROWS), "z": random.normal(size=ROWS)})
    return made.assign(y=made["x"] + random.normal(size=ROWS), **columns)


def check(check_name: str, **columns: object) -> Guardrail:
    return rail(check_table(table(**columns), "y", None), check_name)


@pytest.mark.parametrize(
    ("factor", "offset", "words"),
    [
        (1000, 0, "a factor of 1000"),
        (0.001, 0, "a factor of 1000"),
        (1.8, 32, "Celsius and Fahrenheit"),
        (1, 273.15, "Celsius and kelvin"),
        (6.894, 0, "psi to kPa"),
    ],
)
def test_a_unit_that_changes_partway_is_seen(factor: float, offset: float, words: str) -> None:
    random = np.random.default_rng(0)
    values = random.normal(21, 1.5, ROWS)
    values[250:] = values[250:] * factor + offset
    seen = check("changed units", sensor=values)
    assert (seen.state, seen.columns) == ("alerted", ("sensor",))
    assert words in seen.seen[0]
    assert any(f"changes at about row {row} " in seen.seen[0] for row in (250, 251))


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(1, 1000, ROWS),  # a ramp
        np.geomspace(1, 1000, ROWS),
        np.arange(ROWS) // 10,  # a counter of groups
        np.where(np.arange(ROWS) < 200, 10.0, 11.7) + np.random.default_rng(0).normal(0, 0.1, ROWS),  # a set point
        np.random.default_rng(1).lognormal(0, 2, ROWS),
    ],
)
def test_what_only_moves_has_not_changed_its_unit(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    assert check("changed units", sensor=values).state == "passed"


def test_values_far_from_all_others_and_numbers_for_no_value_are_told() -> None:
    random = np.random.default_rng(0)
    spike, gone = random.normal(5, 1, ROWS), random.normal(5, 1, ROWS)
    spike[17], gone[::40] = 5000.0, -999.0
    seen = check("outliers", spike=spike, gone=gone, heavy=random.lognormal(0, 1, ROWS))
    assert (seen.state, seen.columns) == ("alerted", ("spike", "gone"))
    assert "1 values far from the rest, such as 5000" in seen.seen[0]
    assert "is -999 in 10 rows" in seen.seen[1]


def test_columns_that_say_the_same_are_told_and_kept() -> None:
    base = table()
    codes = np.random.default_rng(0).choice(["a", "b", "c"], ROWS)
    seen = check("near-duplicate columns", kelvin=base["z"] + 273.15, kind=codes, art=[f"{one}1" for one in codes])
    assert seen.state == "alerted"
    assert seen.columns == ("z", "kelvin", "kind", "art")
    assert seen.override == "--drop kelvin"
    assert check("near-duplicate columns", other=np.random.default_rng(9).normal(size=ROWS)).state == "passed"


def test_a_healthy_table_raises_no_alarm() -> None:
    checked = check_table(table(), "y", None)
    assert {one.check: one.state for one in checked.guardrails if one.state != "passed"} == {}


def test_the_same_table_gives_the_same_guardrails() -> None:
    spoilt = table(copy=lambda t: t["x"], lot=[f"L{number % 7}" for number in range(ROWS)])
    assert check_table(spoilt, "y", None).guardrails == check_table(spoilt, "y", None).guardrails


def test_a_table_wider_than_long_is_told_and_checked_in_bounded_work() -> None:
    random = np.random.default_rng(0)
    wide = pd.DataFrame(random.normal(size=(50, 1500)), columns=[f"s{number}" for number in range(1500)])
    checked = check_table(wide.assign(y=wide["s3"] + random.normal(size=50)), "y", None)
    assert "1500 columns and 50 labelled rows" in rail(checked, "enough rows").seen[1]
    assert rail(checked, "target leakage").state == "passed"
    assert rail(checked, "near-duplicate columns").state == "passed"


def test_a_hundred_thousand_categories_are_told() -> None:
    many = pd.DataFrame({"x": np.arange(200_000) % 977, "part": [f"P{number // 2}" for number in range(200_000)]})
    checked = check_table(many.assign(y=many["x"] * 2.0 + np.arange(200_000) % 3), "y", None)
    assert "100000 different texts" in rail(checked, "many categories").seen[0]
    with pytest.raises(TargetError, match="has 100000 different values, more than 200 classes"):
        check_table(many, "part", None)


def test_a_long_table_is_sampled_and_that_is_told() -> None:
    random = np.random.default_rng(0)
    long = pd.DataFrame(random.normal(size=(30_000, 2)), columns=["x", "z"])
    checked = check_table(long.assign(y=long["x"] + random.normal(size=30_000)), "y", None)
    assert {one.check for one in checked.guardrails if one.state != "passed"} == {"sampled rows"}
    assert "in at most 20000 rows" in rail(checked, "sampled rows").done


def test_infinite_values_are_missing_and_told() -> None:
    checked = check_table(table(x=[np.inf, -np.inf, *range(ROWS - 2)]), "y", None)
    assert "'x' has 2 infinite numbers: made missing" in rail(checked, "mixed types").seen
    target = table()
    target.loc[:4, "y"] = np.inf
    checked = check_table(target, "y", None)
    assert rail(checked, "labels").seen == ("5 rows have an infinite value in 'y'",)
    assert len(checked.target.values) == ROWS - 5


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (pd.date_range("2024-01-01", periods=ROWS, freq="h"), "holds points in time such as '2024-01-01"),
        ([f"{1 + number % 28:02}.03.2024" for number in range(ROWS)], "make it a column of numbers"),
        ([None] * ROWS, "has no value in any row"),
        ([np.inf] * ROWS, "has no value in any row"),
    ],
)
def test_a_target_that_is_a_date_or_empty_is_one_clear_line(values: object, says: str) -> None:
    with pytest.raises(TargetError) as caught:
        check_table(table().assign(y=values), "y", None)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "nul\x00", "probabilities"])
def test_a_name_that_a_graph_cannot_carry_is_refused_unless_it_is_dropped(name: str) -> None:
    odd = table().assign(**{name: 1.0})
    with pytest.raises(ColumnNameRefusedError, match="--drop") as caught:
        check_table(odd, "y", None)
    assert "\n" not in str(caught.value)
    assert len(check_table(odd, "y", None, Wishes(drop=[name])).features) == 2


def test_two_columns_of_one_name_are_refused_as_the_file_has_them() -> None:
    with pytest.raises(ColumnNameRefusedError, match="'a' twice"):
        parse_table(b"a,b,a\n1,2,3\n", "x.csv")
    assert list(parse_table(b"a,a.1\n1,2\n", "x.csv").columns) == ["a", "a.1"]


def test_long_findings_are_cut_and_say_so() -> None:
    cut = found("outliers", "alerted", [str(number) for number in range(MAX_LINES + 7)], "", "")
    assert len(cut.seen) == MAX_LINES + 1
    assert cut.seen[-1] == "and 7 more"
    rows = evenly(1_000_000, 1000)
    assert (rows[0], rows[-1], len(rows)) == (0, 999_999, 1000)


def test_no_check_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_table(table(empty=np.nan, one=1, at=pd.date_range("2024", periods=ROWS)), "y", None)


@pytest.mark.parametrize(
    ("first", "then", "says"),
    [
        (
            "1.5",
            "off",
            "texts among its numbers ('off'): made missing; numbers up to about row 250, texts from there on",
        ),
        ("off", "1.5", "texts up to about row 50, numbers from there on"),
    ],
)
def test_a_type_that_changes_partway_is_told_with_its_row(first: str, then: str, says: str) -> None:
    cut = 250 if first == "1.5" else 50
    values = [first] * cut + [then] * (ROWS - cut)
    values[10 if first == "1.5" else -10] = then if first == "1.5" else first  # one out of place hides nothing
    seen = rail(check_table(table(x=values, z=range(ROWS)), "y", None, Wishes(keep=["x"])), "mixed types").seen
    assert says in seen[0]


def test_types_that_are_scattered_have_no_row_of_change() -> None:
    values = ["off" if row % 5 == 0 else str(row % 7) for row in range(ROWS)]
    seen = rail(check_table(table(x=values), "y", None), "mixed types").seen
    assert seen == ("'x' has 80 texts among its numbers ('off'): made missing",)


@pytest.mark.parametrize("values", [["1,5", "-2,25", "1.000,5"], ["0,125", "1,250"], ["1.5", "2,5"]])
def test_a_decimal_comma_is_read_and_told(values: list[str]) -> None:
    checked = check_table(table(x=[values[row % len(values)] for row in range(ROWS)]), "y", None)
    column = next(one for one in checked.features if one.name == "x")
    wanted = [float(value.replace(".", "").replace(",", ".") if "," in value else value) for value in values]
    assert column.values[: len(values)].tolist() == wanted
    assert "numbers with a decimal comma: read as numbers" in rail(checked, "mixed types").seen[0]
    assert rail(checked, "mixed types").columns == ("x",)


@pytest.mark.parametrize("value", ["1,250", "12,500"])
def test_a_comma_that_may_part_thousands_is_not_guessed(value: str) -> None:
    checked = check_table(table(x=[value, "other"] * (ROWS // 2)), "y", None)
    assert next(one for one in checked.features if one.name == "x").kind == "category"


def test_a_target_of_dates_without_any_is_one_clear_line() -> None:
    with pytest.raises(TargetError, match="has no value in any row"):
        check_table(table().assign(y=pd.to_datetime([None] * ROWS)), "y", None)


DATES = [f"{day:%Y-%m-%d}" for day in pd.date_range("2024-01-01", periods=ROWS)]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            [*DATES[:250], *["off"] * 150],
            "150 texts among its points in time ('off'): missing values, where hours or days of it are used; points in "
            "time up to about row 250, texts from there on",
        ),
        (
            [*DATES[:250], *(f"shift {number}" for number in range(150))],
            "250 points in time among its texts ('2024-01-01', '2024-01-02', '2024-01-03'): made categories; points in "
            "time up to about row 250, texts from there on",
        ),
        (
            [*["off"] * 150, *DATES[150:]],
            "texts up to about row 150, points in time from there on",
        ),
        (
            [*DATES[:250], *["0"] * 150],
            "150 numbers among its points in time ('0'): missing values, where hours or days of it are used; points in "
            "time up to about row 250, numbers from there on",
        ),
        (
            [*DATES[:250], *(str(45_300 + number) for number in range(150))],
            "150 numbers among its texts ('45300', '45301', '45302'): made categories; points in time up to about row "
            "250, numbers from there on",
        ),
        (
            [*DATES[:150], *(str(45_300 + number) for number in range(250))],
            "150 texts among its numbers ('2024-01-01', '2024-01-02', '2024-01-03'): made missing; points in time up "
            "to about row 150, numbers from there on",
        ),
    ],
)
def test_dates_that_turn_into_something_else_are_told_with_the_row(values: list[str], says: str) -> None:
    seen = check("mixed types", at=values)
    assert (seen.state, seen.columns, seen.override) == ("alerted", ("at",), "correct the data, or --drop at")
    assert says in seen.seen[0]


def test_dates_and_texts_that_stay_what_they_are_are_not_told() -> None:
    scattered = [DATES[row] if row % 3 else "off" for row in range(ROWS)]
    assert check("mixed types", at=DATES, kind=["a", "b"] * (ROWS // 2)).state == "passed"
    assert check("mixed types", at=scattered).seen == (
        "'at' has 134 texts among its points in time ('off'): missing values, where hours or days of it are used",
    )


#: More than float32 tells apart, and so near each other that it takes all of them for one.
FIRST_ORDER = 4_500_000_001


@pytest.mark.parametrize(
    ("first", "kind"),
    [(FIRST_ORDER, np.int64), (FIRST_ORDER, str), (2**53 + 1, np.int64), (2**53 + 1, np.uint64)],
)
def test_long_order_numbers_are_identifiers_as_short_ones_are(first: int, kind: type) -> None:
    places = np.random.default_rng(0).permutation(ROWS)
    orders = (first + places.astype(np.int64)).astype(kind)
    checked = check_table(table(order=orders, short=places), "y", None)
    found = rail(checked, "identifier columns")
    assert found.columns == ("order", "short")
    assert found.seen == ("'order' numbers each row once", "'short' numbers each row once")
    assert rail(checked, "constant columns").state == "passed"


def test_long_order_numbers_with_gaps_are_identifiers() -> None:
    orders = (FIRST_ORDER + np.random.default_rng(0).permutation(ROWS)).astype(float)
    orders[::40] = np.nan
    assert check("identifier columns", order=orders).columns == ("order",)


def test_seconds_that_count_the_rows_are_no_input() -> None:
    seen = check("identifier columns", epoch=1_700_000_000 + np.arange(ROWS), back=1_700_000_000 - np.arange(ROWS))
    assert seen.seen == ("'epoch' counts the rows", "'back' counts the rows")


def test_numbers_that_differ_in_the_file_alone_are_constant_for_a_device() -> None:
    checked = check_table(table(part=FIRST_ORDER + np.arange(ROWS) % 3), "y", None)
    assert rail(checked, "constant columns").seen == ("'part' is always 4.5e+09 in float32, in which devices compute",)
    assert rail(checked, "identifier columns").state == "passed"


def test_no_column_keeps_its_exact_numbers_after_the_checks() -> None:
    checked = check_table(table(meter=FIRST_ORDER + 100_000 * (np.arange(ROWS) % 7)), "y", None)
    assert [column.name for column in checked.features] == ["x", "z", "meter"]
    assert [column.exact for column in checked.features] == [None] * 3
