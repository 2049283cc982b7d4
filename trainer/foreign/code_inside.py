"""Code that a model's file would run when it is loaded, looked for without loading it.

Looked at: a pickle is code by its nature. A Keras file holds code in Lambda layers. PyTorch's exported programs and
TorchScript files hold pickles that need nothing but what tensors are made of, and operators that are PyTorch's own. A
SavedModel is a graph whose operators may read and write files or call Python. It is a look and no proof: a framework
may have ways to run what it reads that are not known here.
"""

import re
import zipfile
from pathlib import Path

from trainer.errors import ImportRefusedError
from trainer.foreign.kinds import Found
from trainer.foreign.torch_archives import code_in_archive

#: Operators of TensorFlow that reach outside the graph.
_REACHING = (b"PyFunc", b"ReadFile", b"WriteFile", b"MatchingFiles", b"LoadLibrary", b"SaveV2Custom", b"EagerPyFunc")
_LAMBDA = re.compile(rb'"class_name":\s*"(?:Lambda|__lambda__)"')


def refuse_code(found: Found, *, trusted: bool) -> None:
    """Raise where a file would run its maker's code, and nobody said that the maker is trusted.

    Raises:
        ImportRefusedError: it would; the text says what was seen.
    """
    if trusted:
        return
    seen = code_in(found)
    if seen is not None:
        raise ImportRefusedError(
            f"{found.path.name} holds code: {seen}, which can do anything on this machine when it is loaded: add "
            "--trust if you know who made it"
        )


def code_in(found: Found) -> str | None:
    """Return what code a file would run, in words; None where none was seen."""
    if found.kind == "pickle":
        return "it is a pickle"
    if found.kind == "torch-module":
        return "it is a pickled PyTorch module"
    if found.kind == "keras" and _has_lambda(found.path):
        return "it has a Lambda layer"
    if found.kind == "saved-model":
        names = next((name for name in _REACHING if name in (found.path / "saved_model.pb").read_bytes()), None)
        return f"it has the operator {names.decode()}" if names else None
    return code_in_archive(found.path) if found.kind in ("torch-program", "torchscript") else None


def _has_lambda(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return bool(_LAMBDA.search(file.read_bytes()))
    with zipfile.ZipFile(file) as archive:
        return any(_LAMBDA.search(archive.read(name)) for name in archive.namelist() if name.endswith(".json"))
