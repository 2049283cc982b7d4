"""The drift plot and the words: pure, so tested as such."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from protocols.drift import FeatureDrift
from registry.monitoring.reports import DriftReport
from registry.web import words
from registry.web.plot import COLOURED, HEIGHT, WIDTH, drift_plot

NOW = 1_800_000_000.0


def report(end: float, psis: dict[str, float | None], version: int = 1) -> DriftReport:
    features = tuple(FeatureDrift(name, "numeric", psi, 0.1, 0.1, 0, 0, 0, False) for name, psi in psis.items())
    return DriftReport("m", version, end - 60, end, ("a",), 100, features, (), 0.0, False)


def numbers(svg: str, name: str) -> list[float]:
    return [float(found) for found in re.findall(rf'\b{name}="([\d.]+)"', svg)]


@pytest.mark.parametrize("reports", [[], [report(NOW, {})], [report(NOW, {"a": None})]])
def test_without_a_psi_there_is_no_plot(reports):
    assert drift_plot("m", reports, 0.2) is None


@pytest.mark.parametrize("psi", [0.0, 1e-9, 0.2, 1.0, 10.0, 1234.5])
@pytest.mark.parametrize("count", [1, 2, 40])
def test_everything_lies_inside_the_picture(psi, count):
    svg = drift_plot("m", [report(NOW + 60 * index, {"a": psi}) for index in range(count)], 0.2).svg
    ElementTree.fromstring(svg)  # noqa: S314 - our own text
    assert all(0 <= value <= WIDTH for name in ("x", "x1", "x2", "cx") for value in numbers(svg, name))
    assert all(0 <= value <= HEIGHT for name in ("y", "y1", "y2", "cy") for value in numbers(svg, name))


def test_more_drift_is_drawn_higher():
    svg = drift_plot("m", [report(NOW, {"a": 0.05}), report(NOW + 60, {"a": 5.0})], 0.2).svg
    low, high = numbers(svg, "cy")
    assert high < low


def test_a_line_does_not_go_on_over_another_release():
    reports = [report(NOW + 60 * index, {"a": 0.1}, 1 + index // 2) for index in range(4)]
    svg = drift_plot("m", reports, 0.2).svg
    assert svg.count("<path") == 2
    assert svg.count('class="release"') == 1
    assert "m@2" in svg


def test_the_furthest_inputs_get_a_colour_and_the_rest_is_grey():
    plot = drift_plot("m", [report(NOW + at, {f"f{n}": 0.1 + n for n in range(9)}) for at in (0, 60)], 0.2)
    assert [series.name for series in plot.series] == [f"f{n}" for n in range(8, 8 - COLOURED, -1)]
    assert plot.svg.count("line series-other") == 9 - COLOURED


def test_an_inputs_name_cannot_become_markup():
    svg = drift_plot("m", [report(NOW, {"<script>&": 0.1})], 0.2).svg
    assert "<script>" not in svg
    assert "&lt;script&gt;&amp;" in svg


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\N{EN DASH}"),
        (float("nan"), "\N{EN DASH}"),
        (0, "0"),
        (3.1872, "3.187"),
        (12345.6, "12,346"),
        (4784, "4,784"),
        (0.00001234, "1.2e-05"),
        (-2.5, "-2.5"),
    ],
)
def test_numbers(value, text):
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("past", "text"),
    [
        (0.5, "just now"),
        (45, "45 s ago"),
        (60, "1 minute ago"),
        (7300, "2 hours ago"),
        (-120, "in 2 minutes"),
        (86_400 * 400, "1 year ago"),
    ],
)
def test_times(past, text):
    assert words.relative(NOW - past, NOW) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0 bytes"), (999, "999 bytes"), (104_736, "105 kB"), (3e9, "3 GB")])
def test_sizes(value, text):
    assert words.size(int(value)) == text


def test_shares():
    assert [words.share(value) for value in (0.0, 0.0004, 0.034, 0.5, None)] == [
        "0 %",
        "< 0.1 %",
        "3.4 %",
        "50 %",
        "\N{EN DASH}",
    ]


def test_a_time_beyond_the_calendar_is_no_fault():
    assert words.absolute(1e20) == "at no time on our calendar"


def test_the_marks_of_releases_stand_below_the_axis_name_and_inside_the_picture():
    ends = [0, 60, 200, 235, 239]
    svg = str(drift_plot("ccpp", [report(NOW + end, {"a": 0.3}, 1 + index) for index, end in enumerate(ends)], 0.2).svg)
    axis = float(re.search(r'y="([\d.]+)">PSI, log', svg)[1])
    labels = re.findall(r'class="release-label (\w+)" x="([\d.]+)" y="([\d.]+)"', svg)
    assert len(labels) == 4
    assert all(float(y) - axis > 14 for _, _, y in labels)
    assert labels[-1][0] == "end", "near the right edge the text ends at its mark"
