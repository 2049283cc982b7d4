"""docs/guide: each notebook runs from the first cell to the last, and carries no outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="nbclient is not installed: make setup brings it")

#: Runs a notebook beside a copy of itself and writes it with its outputs.
RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=110, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


def notebooks() -> list[Path]:
    return sorted((Path(__file__).resolve().parents[3] / "docs" / "guide").glob("*.ipynb"))


@pytest.fixture
def executed(root: Path, tmp_path: Path):
    """Run a notebook in a kernel of its own; return the process, and the outputs of each cell of code."""

    def run(notebook: Path) -> tuple[subprocess.CompletedProcess[str], list[list[dict]]]:
        out = tmp_path / "executed.ipynb"
        home = {"IPYTHONDIR": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path), "JUPYTER_PLATFORM_DIRS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", RUN, notebook, out],
            cwd=tmp_path,
            env={**os.environ, **home, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=False,
        )
        cells = json.loads(out.read_text())["cells"] if out.exists() else []
        return done, [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]

    return run


@pytest.mark.parametrize("notebook", notebooks(), ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(notebook: Path) -> None:
    cells = [cell for cell in json.loads(notebook.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert [cell for cell in cells if cell["outputs"] or cell["execution_count"]] == []


@pytest.mark.timeout(240)
@pytest.mark.parametrize("notebook", notebooks(), ids=lambda path: path.name)
def test_a_notebook_runs_and_shows_what_it_promises(notebook: Path, executed) -> None:
    done, outputs = executed(notebook)
    assert done.returncode == 0, done.stderr[-3000:]
    shown = [output for cell in outputs for output in cell]
    assert not [output for output in shown if output["output_type"] == "error" or output.get("name") == "stderr"]
    told = "".join("".join(output["text"]) for output in shown if output.get("name") == "stdout")
    assert "100%" in told, "a notebook sees the progress"
    data = [output["data"] for output in shown if "data" in output]
    assert [one for one in data if "image/svg+xml" in one]
    assert [one for one in data if "Simplest answer" in "".join(one.get("text/html", ""))]


def test_a_cell_that_raises_fails(tmp_path: Path, executed) -> None:
    cell = {"cell_type": "code", "id": "one", "metadata": {}, "execution_count": None, "outputs": []}
    notebook = {"cells": [cell | {"source": "1 / 0"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "bad.ipynb").write_text(json.dumps(notebook))
    done, _ = executed(tmp_path / "bad.ipynb")
    assert done.returncode != 0
    assert "ZeroDivisionError" in done.stderr
