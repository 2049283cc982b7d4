"""docs/operations/scoring.md: its commands run, and it names every option and every form."""

import re
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from simulators.small_kinds import picture, pictured, write_kind
from simulators.small_models import write_release

from edge_agent.score_cli import FORMS, OUT_FORMS, parser_of
from edge_agent.scoring import formats
from edge_agent.scoring.image_folder import SUFFIXES
from genba import main


@pytest.fixture(scope="module")
def guide(root: Path) -> str:
    return (root / "docs" / "operations" / "scoring.md").read_text("utf-8")


def test_the_commands_of_the_guide_run(guide: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_release(Path("press"), version=0)
    write_kind(Path("inspect"), pictured(), version=0)
    table = pa.table({"part_id": ["1", "2"], "line": ["a", "b"], "AT": [1.0, 2.0], "V": [3.0, 4.0]})
    pyarrow.parquet.write_table(table, "parts.parquet")
    pyarrow.csv.write_csv(table, "parts.csv")
    Path("pictures").mkdir()
    Path("pictures/1.png").write_bytes(picture((255, 0, 0)))
    block = re.search(r"```sh\n(.*?)```", guide, re.S)
    assert block is not None
    commands = [shlex.split(line) for line in block[1].splitlines()]
    assert all(words[:2] == ["genba", "score"] for words in commands)
    for words in commands:
        arguments = parser_of().parse_args(words[2:])
        if not arguments.home:
            assert main(words[1:]) == 0
            assert arguments.out.is_file()
    assert Path("scored.jsonl").read_text().startswith('{"part_id":1,"line":"a","prediction":9}\n')


def test_the_guide_names_every_option_and_every_form(guide: str) -> None:
    options = [option for action in parser_of()._actions for option in action.option_strings if option.startswith("--")]
    assert len(options) > 12
    assert not [
        option for option in options if option != "--help" and f"`{option}" not in guide and option not in guide
    ]
    assert (FORMS, OUT_FORMS) == (formats.FORMS, formats.OUT_FORMS)
    suffixes = re.findall(r"`(\.\w+)`", guide)
    known = {suffix for suffix in suffixes if suffix != ".gz"}
    assert {formats.form_of(Path(f"x{suffix}"), None, "") for suffix in known} == set(OUT_FORMS)
    assert all(suffix.strip(".").upper().replace("JPG", "JPEG") in guide for suffix in SUFFIXES)
