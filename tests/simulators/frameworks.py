"""TensorFlow, PyTorch and MLflow, each in a folder that goes behind all others on a path, so that the tests' own
packages win.

They weigh gigabytes, or are asked for by one test, so they are in no lock and in no virtual environment of the
project's. A folder is kept between runs in ~/.cache/genba, or in what XDG_CACHE_HOME says; only slow tests ask for one.
"""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from edge_agent.disk import sync_folder

ROOT = Path(__file__).resolve().parents[2]
_LOCK = ROOT / "requirements" / "dev.txt"
_INSTALL_S = 900
#: Name -> what is asked for, first choice first; PyTorch's builds without CUDA are not on every index.
REQUIREMENTS = {
    "tensorflow": [["tensorflow-cpu==2.21.0", "tf2onnx==1.17.0"]],
    "torch": [["torch==2.13.0+cpu", "onnxscript==0.7.2"], ["torch==2.13.0", "onnxscript==0.7.2"]],
    "mlflow": [["mlflow-skinny==3.17.2"]],
}
#: Not held to the lock: MLflow asks for an importlib-metadata before the lock's, which serves it as well.
_FREE = ("mlflow",)


def framework_folder(name: str) -> Path:
    """Return a folder with a framework in it, fetched by the first who asks; skip where that cannot be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genba"
    version = REQUIREMENTS[name][0][0].partition("==")[2]
    folder = cache / f"{name}-{version}-{sysconfig.get_config_var('SOABI')}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            _install(name, folder)
    return folder


def run_python(words: Sequence[str], folder: Path, behind: Sequence[Path] = ()) -> str:
    """Run Python in a folder, and return what it printed.

    Args:
        words: of its command line, from the first option on.
        behind: folders with a framework; they come after this interpreter's own packages.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path), *map(str, behind)])
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    environment = {**os.environ, **quiet, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _install(name: str, folder: Path) -> None:
    staged = folder.with_name(f".{folder.name}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    locked = [] if name in _FREE else ["-c", str(_LOCK)]
    reason = "nothing was asked for"
    for wanted in REQUIREMENTS[name]:
        try:
            made = subprocess.run(
                [*pip, "--upgrade", "--target", str(staged), *locked, *wanted],
                capture_output=True,
                text=True,
                timeout=_INSTALL_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"{wanted[0]} cannot be fetched within {_INSTALL_S} s")
        if not made.returncode:
            staged.rename(folder)
            sync_folder(folder.parent)
            return
        reason = (made.stderr.strip().splitlines() or ["pip failed"])[-1]
    pytest.skip(f"{name} cannot be fetched: {reason}")
