"""MLflow's model folders: which flavour's file is taken, and what the signature calls its columns.

MLflow itself is not needed: its file `MLmodel` is YAML and is read as data. Source: MLflow's model format, version 3.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trainer.errors import ImportRefusedError
from trainer.foreign.kinds import Found, Kind, recognise

#: Flavours in the order in which they are taken, where a folder has several: the plainest file first.
FLAVOURS = ("onnx", "lightgbm", "xgboost", "catboost", "sklearn", "keras", "tensorflow", "pytorch")
_LARGEST_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class MlflowModel:
    """The file that a folder's flavour names, and the columns of its signature, if it has one."""

    found: Found
    columns: tuple[str, ...]


def read_mlflow(folder: Path) -> MlflowModel:
    """Read an MLflow model folder.

    Raises:
        ImportRefusedError: its MLmodel cannot be read, or names no flavour or file that is taken in.
    """
    document = _document(folder)
    flavours = document.get("flavors")
    flavours = flavours if isinstance(flavours, dict) else {}
    name = next((name for name in FLAVOURS if isinstance(flavours.get(name), dict)), None)
    if name is None:
        has = ", ".join(sorted(map(str, flavours))) or "none"
        raise ImportRefusedError(f"{folder} has the flavours {has}; taken in are {', '.join(FLAVOURS)}")
    return MlflowModel(_file(folder, name, flavours[name]), _columns(document))


def _document(folder: Path) -> dict[str, Any]:
    file = folder / "MLmodel"
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise ImportRefusedError(f"{file} is larger than any MLmodel file")
        found = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ImportRefusedError(f"{file} cannot be read: {reason}") from error
    if not isinstance(found, dict):
        raise ImportRefusedError(f"{file} is no MLmodel file: it has no flavors")
    return found


def _file(folder: Path, name: str, flavour: dict[str, Any]) -> Found:
    """Return what the flavour's file is."""
    if name == "sklearn":
        kind: Kind = "skops" if flavour.get("serialization_format") == "skops" else "pickle"
        return Found(kind, _inside(folder, flavour.get("pickled_model"), name))
    given = flavour.get("saved_model_dir") or flavour.get("model_data") or flavour.get("data")
    path = _inside(folder, given, name)
    if name in ("lightgbm", "xgboost", "catboost"):
        if path.suffix in (".pkl", ".skops"):
            return Found("skops" if path.suffix == ".skops" else "pickle", path)
        if name == "catboost" and flavour.get("save_format", "cbm") != "cbm":
            raise ImportRefusedError(f"{folder}: CatBoost's format {flavour['save_format']!r}; taken in is cbm")
        made: Kind = name  # type: ignore[assignment]
        return Found(made, path)
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        return _only_model(path)
    return recognise(path)


def _only_model(data: Path) -> Found:
    """Return the one model that lies in a flavour's folder of data."""
    endings = (".onnx", ".keras", ".h5", ".pt2", ".pth", ".pt")
    files = sorted(file for file in data.rglob("*") if file.suffix in endings and file.is_file())
    files += sorted(file.parent for file in data.rglob("saved_model.pb"))
    if len(files) != 1:
        raise ImportRefusedError(f"{data} holds {len(files)} models, and one is needed: give its file itself")
    return recognise(files[0])


def _inside(folder: Path, given: object, name: str) -> Path:
    """Return a path that MLmodel names; it must not lead out of the folder."""
    path = folder / str(given)
    if not isinstance(given, str) or not path.resolve().is_relative_to(folder.resolve()):
        raise ImportRefusedError(f"{folder}: the flavour {name} names the file {given!r}, which is not in the folder")
    if not path.exists():
        raise ImportRefusedError(f"{folder}: the flavour {name} names the file {given!r}, which is not there")
    return path


def _columns(document: dict[str, Any]) -> tuple[str, ...]:
    """Return the columns of the signature; none where it has none or is of tensors."""
    signature = document.get("signature")
    try:
        inputs = json.loads(signature["inputs"]) if isinstance(signature, dict) else []
        return tuple(str(entry["name"]) for entry in inputs if entry.get("type") != "tensor")
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()
