"""README, section Python: its code runs as it stands, but for the minute that it takes."""

import re
from pathlib import Path

import pandas as pd
import pytest

import genba


class Plant:
    """Knows a registry that takes everything."""

    def __init__(self) -> None:
        self.published: list[Path] = []

    def publish(self, candidate: Path, registry: str | None, *, token: str | None) -> str:
        self.published.append(candidate)
        return "press@1"


def test_the_python_of_the_readme_runs(
    root: Path, many_rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = Plant()
    monkeypatch.setattr("trainer.sdk.registries._Known.registries", plant)
    blocks = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text("utf-8"), re.S)
    code = "\n".join(blocks)
    assert 'budget="60s"' in code
    many_rows.rename(columns={"fault": "scrap"}).to_csv(tmp_path / "press.csv", index=False)
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(code.replace('budget="60s"', "trials=1, jobs=1"), found)  # noqa: S102  # the README's own
    assert [path.name for path in plant.published] == ["candidate"]
    assert isinstance(found["model"], genba.TrainedModel)
    assert (tmp_path / "press" / "release.json").is_file()
