"""The wheel: it has what the packages need and nothing else, and passes tests from where it is installed."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.sample, pytest.mark.timeout(400)]

LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    """Built from a copy, so that no build folder is left in the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(root, folder / "source", ignore=LEFT_OUT)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), "source"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("genba-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A fresh environment's bin folder: the wheel itself, its dependencies from this environment."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    site = next(folder.glob("lib/python*/site-packages"))
    # A path in a .pth file is searched after the environment's own, and its own .pth files (an editable Genba) are not.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin"


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}


def test_the_wheel_holds_the_packages_and_their_files(root, wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    packages = ("protocols", "devices", "edge_agent", "trainer", "registry", "rehearsal")
    suffixes = (".py", ".toml", ".typed", ".html", ".css", ".js", ".svg")
    expected = {
        str(path.relative_to(root))
        for package in packages
        for path in (root / package).rglob("*")
        if path.suffix in suffixes or path.name == "py.typed" or path.parent.name == "templates"
    } - {f"{package}/ruff.toml" for package in packages}
    assert not expected - names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {*packages, "genba.py"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_genba_runs_from_the_wheel(installed, tmp_path):
    done = subprocess.run([installed / "genba", "--help"], cwd=tmp_path, capture_output=True, text=True, env=clean())
    assert (done.returncode, done.stderr) == (0, "")
    listing = subprocess.run([installed / "genba", "devices", "list"], cwd=tmp_path, capture_output=True, text=True)
    assert "raspberry-pi-5" in listing.stdout


def test_tests_pass_from_the_wheel(root, installed, tmp_path):
    shutil.copytree(root / "tests", tmp_path / "tests", ignore=LEFT_OUT)
    shutil.copytree(root / "docs", tmp_path / "docs")
    shutil.copy(root / "pyproject.toml", tmp_path)
    where = "import protocols, devices, edge_agent, genba; print(protocols.__file__, devices.__file__, genba.__file__)"
    python = [str(installed / "python"), "-P"]
    found = subprocess.run([*python, "-c", where], cwd=tmp_path, capture_output=True, text=True, env=clean())
    assert all(str(installed.parent) in path for path in found.stdout.split())
    suites = ["tests/protocols", "tests/devices", "tests/edge_agent/test_lifecycle.py"]
    command = [*python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "pythonpath=tests", *suites]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=clean())
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
