"""What a model's file is, told by its ending and its first bytes, before anything of it is loaded."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer.errors import ImportRefusedError

Kind = Literal[
    "onnx", "pickle", "skops", "keras", "saved-model", "torch-program", "torchscript", "torch-module",
    "lightgbm", "xgboost", "catboost", "mlflow",
]  # fmt: skip

#: Those that may take windows and images, and do not say what their numbers mean.
NETWORKS: tuple[Kind, ...] = ("keras", "saved-model", "torch-program", "torchscript", "torch-module")
#: What a person calls it, and the extra of Genba that brings what reads it.
NAMES: dict[Kind, tuple[str, str]] = {
    "onnx": ("an ONNX model", "trainer"),
    "pickle": ("a pickle", "trainer"),
    "skops": ("a skops file", "trainer"),
    "keras": ("a Keras model", "tensorflow"),
    "saved-model": ("a TensorFlow SavedModel", "tensorflow"),
    "torch-program": ("a PyTorch exported program", "torch"),
    "torchscript": ("a TorchScript model", "torch"),
    "torch-module": ("a pickled PyTorch module", "torch"),
    "lightgbm": ("a LightGBM model", "boosting"),
    "xgboost": ("an XGBoost model", "boosting"),
    "catboost": ("a CatBoost model", "boosting"),
    "mlflow": ("an MLflow model", "trainer"),
}
TAKEN = (
    "taken in are ONNX (.onnx), scikit-learn (.skops, .joblib, .pkl), Keras (.keras, .h5), SavedModel folders, PyTorch "
    "(.pt2, .pt), LightGBM (.txt, .lgb), XGBoost (.json, .ubj), CatBoost (.cbm) and MLflow model folders"
)
_OTHERS = {
    ".tflite": "a TensorFlow Lite model: convert the Keras model or SavedModel that it was made from",
    ".mlmodel": "a Core ML model: convert the model that it was made from",
    ".pmml": "a PMML model: convert the model that it was made from",
}
_ENDINGS: dict[str, Kind] = {
    ".onnx": "onnx", ".joblib": "pickle", ".pkl": "pickle", ".pickle": "pickle", ".skops": "skops",
    ".keras": "keras", ".h5": "keras", ".hdf5": "keras", ".pt2": "torch-program", ".txt": "lightgbm",
    ".lgb": "lightgbm", ".json": "xgboost", ".ubj": "xgboost", ".xgb": "xgboost", ".cbm": "catboost", ".cb": "catboost",
}  # fmt: skip
_TORCH = (".pt", ".pth", ".ts", ".torchscript")


@dataclass(frozen=True, slots=True)
class Found:
    """A model's file or folder, and what it is."""

    kind: Kind
    path: Path

    @property
    def article(self) -> str:
        return NAMES[self.kind][0]


def recognise(file: Path) -> Found:
    """Say what a file or folder is.

    Raises:
        ImportRefusedError: it is not there, none that is taken in, or not what its ending says.
    """
    if not file.exists():
        raise ImportRefusedError(f"{file} does not exist")
    suffix = file.suffix.lower()
    if file.is_dir():
        return _folder(file)
    if file.name == "MLmodel":
        return Found("mlflow", file.parent)
    if file.name == "saved_model.pb":
        return Found("saved-model", file.parent)
    if suffix in _TORCH:
        return Found(_torch_kind(file), file)
    if suffix not in _ENDINGS:
        known = _OTHERS.get(suffix, f"of an unknown kind ({suffix or 'no ending'})")
        raise ImportRefusedError(f"{file} is {known}; {TAKEN}")
    found = Found(_ENDINGS[suffix], file)
    _check_form(found)
    return found


def _folder(folder: Path) -> Found:
    if (folder / "MLmodel").is_file():
        return Found("mlflow", folder)
    if (folder / "saved_model.pb").is_file():
        return Found("saved-model", folder)
    raise ImportRefusedError(f"{folder} is a folder without saved_model.pb or MLmodel; {TAKEN}")


def _torch_kind(file: Path) -> Kind:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise ImportRefusedError(
            f"{file.name} is no whole PyTorch file ({error}): save it again, with torch.export.save or torch.save"
        ) from error
    inner = [name.partition("/")[2] for name in names]
    if any(name.startswith("code/") for name in inner) and "constants.pkl" in inner:
        return "torchscript"
    return "torch-program" if "archive_format" in inner else "torch-module"


def _starts(*wanted: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(wanted)


def _check_form(found: Found) -> None:
    """Refuse a file that is not what its ending says, or the half of one."""
    with found.path.open("rb") as file:
        head = file.read(64)
    suffix = found.path.suffix.lower()
    forms: dict[str, tuple[Callable[[bytes], bool], str]] = {
        ".h5": (_starts(b"\x89HDF"), "an HDF5 file"),
        ".hdf5": (_starts(b"\x89HDF"), "an HDF5 file"),
        ".txt": (_starts(b"tree\n", b"tree\r\n"), "a LightGBM model, which begins with the line 'tree'"),
        ".lgb": (_starts(b"tree\n", b"tree\r\n"), "a LightGBM model, which begins with the line 'tree'"),
        ".json": (lambda head: head.lstrip()[:1] == b"{", "an XGBoost model in JSON"),
        ".cbm": (_starts(b"CBM1"), "a CatBoost model"),
        ".cb": (_starts(b"CBM1"), "a CatBoost model"),
    }
    if suffix in (".keras", ".skops", ".pt2"):
        try:
            with zipfile.ZipFile(found.path) as archive:
                archive.infolist()
        except (zipfile.BadZipFile, OSError) as error:
            raise ImportRefusedError(f"{found.path.name} is no whole {suffix} file ({error}): save it again") from error
    elif suffix in forms and not forms[suffix][0](head):
        raise ImportRefusedError(f"{found.path.name} is not {forms[suffix][1]}: save the model again")
