"""docs/operations/training.md and the README: their commands train, and the guide names every option and family."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

import genba
from protocols.manifest import Manifest
from trainer.candidate import read_candidate
from trainer.cli import _choose_parser, _train_parser
from trainer.families import FAMILIES
from trainer.metrics import METRICS
from trainer.report import Report, decode_report

Candidate = tuple[Path, Manifest]


@pytest.fixture(scope="module")
def guide(root: Path) -> str:
    return (root / "docs" / "operations" / "training.md").read_text("utf-8")


@pytest.fixture
def plant_folder(many_rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a reader of the guide is in: with press.csv, and lines and batches in it."""
    table = many_rows.rename(columns={"fault": "scrap"}).drop(columns="yield")
    table["scrap"] = table["scrap"].map({"bad": "yes", "good": "no"})
    lines = [f"line {place % 3}" for place in range(len(table))]
    table.assign(line=lines, batch=[f"b{place // 10}" for place in range(len(table))]).to_csv(
        tmp_path / "press.csv", index=False
    )
    table.head(10).assign(line="line 1", batch="b1").to_csv(tmp_path / "parts.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands(text: str) -> list[list[str]]:
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("genba")]


def run(words: list[str]) -> None:
    """Run a command of the guide or the README, with a number of trials in place of a time."""
    if words[0] == "train":
        words = [*words, "--trials", "1"]
    assert genba.main(words) == 0


def test_the_commands_of_the_guide_and_the_readme_run(
    guide: str, root: Path, plant_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = commands(guide)
    assert [words[0] for words in every] == ["train"] * 6 + ["choose", "reproduce"]
    outs = [_train_parser().parse_args(words[1:]).out.name for words in every[:6]]
    _choose_parser().parse_args(every[6][1:])
    assert outs == ["press", "small", "alarm", "fixed", "lines", "pi"]
    for words, out in zip(every, outs, strict=False):
        if out in ("press", "alarm", "lines"):
            run(words)
    alarm = read_candidate(Path("alarm"))
    recipe = alarm.lineage.recipe
    assert recipe is not None
    assert recipe.decision is not None
    told = f"answers 'yes' from a probability of {recipe.decision.threshold:.3g} on"
    assert told in capsys.readouterr().out
    assert told in Path("alarm/card.md").read_text()
    card = decode_report(Path("alarm/report.json").read_bytes()).card
    assert card is not None
    assert card.confusion is not None
    right = sum(line[place] for place, line in enumerate(card.confusion.counts))
    assert alarm.metrics["accuracy"] == pytest.approx(right / card.held_out)
    report = decode_report(Path("lines/report.json").read_bytes())
    assert report.card is not None
    assert [fair.column for fair in report.card.fairness] == ["line"]

    section = (root / "README.md").read_text("utf-8").partition("**A model.**")[2].partition("**A device.**")[0]
    asked = commands(section)
    assert [words[0] for words in asked] == ["train", "publish", "explain", "explain", "reproduce"]
    _train_parser().parse_args(asked[0][1:])
    for words in asked[2:]:
        run(words)
    assert every[-1] == asked[-1]
    assert "reproduced" in capsys.readouterr().out


def test_the_guide_names_every_option_family_metric_and_part_of_the_report(guide: str) -> None:
    options = {option for action in _train_parser()._actions for option in action.option_strings}
    names = {*options, *FAMILIES, *METRICS, *Report.__struct_fields__} - {"-h", "--help"}
    assert [name for name in sorted(names) if name not in guide] == []


def test_every_family_is_fitted_several_times_where_the_guide_says_so(guide: str) -> None:
    told = dict(re.findall(r"^\| `(\w+)` \|.*\| (yes )?\|$", guide, re.M))
    assert {name: bool(several_fits) for name, several_fits in told.items()} == {
        name: family.several_fits for name, family in FAMILIES.items()
    }
