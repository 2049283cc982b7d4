"""docs/operations/explaining.md: its commands run, and it names every option."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

import genba
from protocols.manifest import Manifest
from trainer.explain.cli import parser_of

Candidate = tuple[Path, Manifest]


@pytest.fixture(scope="module")
def guide(root: Path) -> str:
    return (root / "docs" / "operations" / "explaining.md").read_text("utf-8")


def test_the_commands_of_the_guide_run(
    guide: str,
    class_candidate: Candidate,
    regression_candidate: Candidate,
    many_rows: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("press").symlink_to(class_candidate[0])
    Path("yield").symlink_to(regression_candidate[0])
    many_rows.head(40).to_csv("parts.csv", index=False)
    lines = [line for block in re.findall(r"```sh\n(.*?)```", guide, re.S) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines]
    assert len(commands) == 5
    for words in commands:
        assert words[0] == "genba"
        assert genba.main(words[1:]) == 0
    assert len(pd.read_csv("why.csv")) == 40


def test_the_guide_names_every_option(guide: str) -> None:
    options = {option for action in parser_of()._actions for option in action.option_strings}
    assert [option for option in options - {"-h", "--help"} if option not in guide] == []
