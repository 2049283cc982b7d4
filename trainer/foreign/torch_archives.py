"""What of a PyTorch archive (an exported program, a TorchScript file) would run its maker's code when it is loaded.

Loading unpickles the archive's pickles and the archives of tensors that lie in it, takes functions to call and formulas
to evaluate from an exported program's JSON (`trainer.foreign.exported_programs`), and loads compiled libraries. Allowed
in pickles are the names that tensors need, as in PyTorch's own loader of weights alone.

Source: PyTorch 2.13, `torch/export/pt2_archive/_package.py`, `torch/_weights_only_unpickler.py`.
"""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

from trainer.foreign.exported_programs import code_in_program
from trainer.foreign.pickled_names import pickled_names

_TENSOR_NAMES = re.compile(
    r"collections\.(?:OrderedDict|Counter)"
    r"|(?:builtins|__builtin__)\.(?:complex|set|slice)"
    r"|torch\.(?:Size|Tensor|device|bool|bfloat16|float\d\w*|complex\d+|u?int\d+|qu?int\d+\w*)"
    r"|torch\.(?:storage\.)?[A-Z]\w*(?:Storage|Tensor)"
    r"|torch\.(?:per_(?:tensor|channel)_\w+|\w+_format)"
    r"|torch\.nn\.parameter\.(?:Parameter|Buffer)"
    r"|torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2"
    r"|torch\.jit\._pickle\.(?:build_(?:int|tensor|double|bool)list|build_tensor_from_id|restore_type_tag)"
)
#: TorchScript's own classes, which no Python runs: its loader is another.
_TORCHSCRIPT_NAMES = re.compile(r"__torch__\..+")
#: What TorchScript's code may do to files.
_TORCHSCRIPT_REACHES = re.compile(rb"\b(?:torch|ops\.aten)\.(?:from_file|save|load)\(")
_PICKLES = (".pkl", ".debug_pkl")
#: Archives of tensors; those in "JSON" are of PyTorch 2.1.
_TENSORS = (".pt", ".pth", "serialized_state_dict.json", "serialized_constants.json")
_PAYLOADS = ("_weights_config.json", "_constants_config.json")
_ZIP = b"PK\x03\x04"


def code_in_archive(file: Path | BinaryIO, *, inner: bool = False) -> str | None:
    """Return what of an archive runs code, in words; None where nothing was seen.

    Args:
        inner: it lies in another one; archives in it are not loaded.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            # Entry by entry: of two with one name, PyTorch's reader takes another than Python's.
            seen = (
                f"an entry with two names, {entry.orig_filename!r} and {entry.filename!r}"
                if entry.orig_filename != entry.filename  # PyTorch's reader takes the one, Python's the other
                else _code_in_member(entry.filename, partial(archive.read, entry), inner=inner)
                for entry in archive.infolist()
            )
            return next((said for said in seen if said), None)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        return f"an archive in it that cannot be read ({error})"


def _code_in_member(name: str, read: Callable[[], bytes], *, inner: bool) -> str | None:
    low = name.lower()  # PyTorch's reader finds a name in either case
    if low.endswith(_PICKLES):
        return _code_in_pickle(read(), inner=inner)
    if inner:
        return None
    if low.endswith(".py") and (reaching := _TORCHSCRIPT_REACHES.search(read())):
        return f"{name} calls {reaching[0].decode()[:-1]}"
    if "aotinductor/" in low:
        return f"{name} is a part of a compiled library"
    if low.partition("/")[2].startswith("models/") or low.endswith("serialized_exported_program.json"):
        return code_in_program(read())
    if low.endswith(_PAYLOADS):
        return _code_in_payloads(name, read())
    return _code_in_tensors(name, read()) if low.endswith(_TENSORS) else None


def _code_in_pickle(data: bytes, *, inner: bool) -> str | None:
    def allowed(name: str) -> bool:
        return bool(_TENSOR_NAMES.fullmatch(name) or (not inner and _TORCHSCRIPT_NAMES.fullmatch(name)))

    try:
        name = next((name for name in pickled_names(data) if not allowed(name)), None)
    except ValueError:
        return "a pickle that cannot be read"
    return f"a pickle in it calls {name}" if name else None


def _code_in_tensors(name: str, data: bytes) -> str | None:
    """Look into an archive of tensors; what is none, PyTorch reads as the bare pickles that it wrote before 1.6."""
    if data.startswith(_ZIP):
        return code_in_archive(io.BytesIO(data), inner=True)
    return f"{name} is no archive of tensors but a bare pickle" if data else None


def _code_in_payloads(name: str, data: bytes) -> str | None:
    """Look at an exported program's list of weights or constants: those of plain tensors are no pickles."""
    try:
        plain = all(
            payload["use_pickle"] is False and payload["path_name"].startswith(("weight_", "tensor_"))
            for payload in json.loads(data)["config"].values()
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return f"{name}, which cannot be read"
    return None if plain else f"{name} names a pickle"
