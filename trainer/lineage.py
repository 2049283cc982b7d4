"""Which code made a release: Genba's own version and those of the libraries that decide its bits."""

import hashlib
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from protocols.manifest import Lineage
from trainer.tables import file_digest

PINNED = (
    "catboost", "lightgbm", "numpy", "onnx", "onnxruntime", "optuna", "pandas", "scikit-learn", "scipy", "skl2onnx",
    "xgboost", "xgboost-cpu",
)  # fmt: skip


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


def imported_lineage(
    file: Path, target: str, columns: tuple[str, ...], *, data_name: str, data_sha256: str, rows: int
) -> Lineage:
    """Return the lineage of a model that was trained elsewhere: its file, and the sample that it was proven on."""
    return Lineage(
        data_sha256=data_sha256,
        data_name=data_name,
        rows=rows,
        columns=columns,
        target=target,
        code_version=code_version(),
        pins=pins(),
        seed=0,
        budget_s=0.0,
        trials=0,
        parameters={"imported": file.name, "imported_sha256": model_digest(file)},
    )


def model_digest(path: Path) -> str:
    """Return the SHA-256 of a model's file; of a folder that over the names and contents of its files, sorted."""
    if not path.is_dir():
        return file_digest(path)
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{file_digest(file)}\n".encode())
    return digest.hexdigest()
