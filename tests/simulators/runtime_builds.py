"""Other builds of ONNX Runtime than the one that is installed, each in a folder that goes before all others on a path.

They exclude one another, so none is ever installed beside the tests' own. A folder is kept between runs in
~/.cache/genba, or in what XDG_CACHE_HOME says.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from filelock import FileLock

from edge_agent.disk import sync_folder

_INSTALL_S = 600


def runtime_build(package: str, version: str) -> Path:
    """Return a folder with that build in it, fetched from PyPI by the first who asks; skip where that cannot be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genba"
    folder = cache / f"{package}-{version}-{sysconfig.get_config_var('SOABI')}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            _install(f"{package}=={version}", folder)
    return folder


def _install(requirement: str, folder: Path) -> None:
    staged = folder.with_name(f".{folder.name}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    try:
        made = subprocess.run(
            [*command, "--only-binary", ":all:", "--upgrade", "--target", str(staged), requirement],
            capture_output=True,
            text=True,
            timeout=_INSTALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{requirement} cannot be fetched within {_INSTALL_S} s")
    if made.returncode:
        last = made.stderr.strip().splitlines()[-1:] or ["pip failed"]
        pytest.skip(f"{requirement} cannot be fetched: {last[0]}")
    staged.rename(folder)
    sync_folder(folder.parent)
