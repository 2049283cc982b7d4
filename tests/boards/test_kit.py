"""The kit of a Raspberry Pi: its wheels are fetched on this machine and run on the board."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from simulators.board import Board

from devices.kits.kit import write_kit
from devices.profiles import load_profile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_wheels_of_a_raspberry_pis_kit_run_there(board: Board, root: Path, tmp_path: Path) -> None:
    write_kit(load_profile("raspberry-pi-4"), tmp_path / "kit")
    left_out = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(root, tmp_path / "source", ignore=left_out)
    version = board.packages.parent.name.removeprefix("python")
    environment = {**os.environ, "GENBA": str(tmp_path / "source"), "PYTHON_VERSION": version}
    script = [tmp_path / "kit" / "wheelhouse.sh", "download"]
    done = subprocess.run(script, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wheels, target = tmp_path / "kit" / "wheelhouse" / "arm64", tmp_path / "packages"
    names = [path.name for path in wheels.glob("*.whl")]
    assert not [name for name in names if "x86_64" in name]
    # What `wheelhouse.sh install` does there; pip itself would take minutes under emulation.
    chosen = [
        f"--platform={tag}_aarch64" for tag in ("manylinux_2_34", "manylinux_2_28", "manylinux2014", "manylinux_2_17")
    ]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--no-index", "--no-deps", "--require-hashes"]
    pip += [
        "--only-binary=:all:",
        f"--python-version={version}",
        *chosen,
        f"--target={target}",
        f"--find-links={wheels}",
    ]
    done = subprocess.run([*pip, "-r", wheels / "requirements.txt"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = "import genba, numpy, onnxruntime; print(genba.__file__); print(onnxruntime.__file__)"
    alone = {"PYTHONPATH": str(target)}
    found = board.run("-c", code, environment=alone, cwd=tmp_path)
    assert [line.startswith(str(target)) for line in found.stdout.splitlines()] == [True, True], found.stderr
    listed = board.run(
        "-m", "genba", "devices", "probe", "--profile", "raspberry-pi-4", environment=alone, cwd=tmp_path
    )
    assert "aarch64" in listed.stdout
    assert "runs on      CPU" in listed.stdout
