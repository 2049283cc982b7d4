"""Code that a model's file would run when it is loaded, found without loading it.

Looked at: a pickle is code by its nature. A Keras file holds code in Lambda layers. PyTorch's exported programs and
TorchScript files hold pickles that need nothing but PyTorch's own names. A SavedModel is a graph whose operators may
read and write files or call Python.
"""

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from trainer.errors import ImportRefusedError
from trainer.foreign.kinds import Found

#: Top modules whose names a pickle in a PyTorch archive may use.
_PYTORCH_OWN = ("torch", "__torch__", "collections")
#: Names under them that run what they are given.
_RUNNERS = re.compile(r"^torch\.(?:hub|utils|serialization|package|jit|testing|_dynamo|_inductor|distributed)\b|\bload")
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
    if found.kind in ("torch-program", "torchscript"):
        name = next((name for name in _pickled_names(found.path) if not _is_pytorch_own(name)), None)
        return f"a pickle in it calls {name}" if name else None
    return None


def _has_lambda(file: Path) -> bool:
    if not zipfile.is_zipfile(file):
        return bool(_LAMBDA.search(file.read_bytes()))
    with zipfile.ZipFile(file) as archive:
        return any(_LAMBDA.search(archive.read(name)) for name in archive.namelist() if name.endswith(".json"))


def _pickled_names(file: Path) -> Iterator[str]:
    """Yield the names that the pickles of an archive would import; a pickle that cannot be read is one itself."""
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            data = archive.read(name) if name.endswith((".pkl", ".debug_pkl")) else b""
            if name.endswith(".pt"):
                with archive.open(name) as inner:
                    yield from _inner_names(inner.read())
            if data:
                yield from _names(data)


def _inner_names(data: bytes) -> Iterator[str]:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            if name.endswith(".pkl"):
                yield from _names(archive.read(name))


def _names(data: bytes) -> Iterator[str]:
    strings: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if isinstance(argument, str) and "UNICODE" in opcode.name:
                strings.append(argument)
            elif opcode.name in ("GLOBAL", "INST"):
                yield str(argument).replace(" ", ".")
            elif opcode.name == "STACK_GLOBAL":
                yield ".".join(strings[-2:])
    except ValueError:
        yield "a pickle that cannot be read"


def _is_pytorch_own(name: str) -> bool:
    if name.startswith("torch.jit._pickle."):  # the lists of TorchScript
        return True
    return name.split(".")[0] in _PYTORCH_OWN and not _RUNNERS.search(name)
