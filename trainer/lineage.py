"""Which code made a release: Genba's own version and those of the libraries that decide its bits."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PINNED = ("numpy", "onnx", "onnxruntime", "optuna", "pandas", "scikit-learn", "scipy", "shap", "skl2onnx")


def code_version() -> str:
    """Return Genba's version; from a source tree that is not installed, what its front door says."""
    try:
        return version("genba")
    except PackageNotFoundError:
        front_door = Path(__file__).parents[1] / "genba.py"
        found = re.search(r'__version__ = "([^"]+)"', front_door.read_text() if front_door.exists() else "")
        return found[1] if found else "unknown"


def pins() -> dict[str, str]:
    """Return the installed versions; a library that is not installed is left out."""
    found = {}
    for name in PINNED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
