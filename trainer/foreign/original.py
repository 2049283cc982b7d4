"""A model in the framework that made it, in a process of its own: a crash, a hang or a missing package is one line.

`python -m trainer.foreign.original KIND PATH BYTES` is the child, which may have so much memory. It answers JSON lines
on stdin with JSON lines on what was its stdout; arrays go through files in a folder that both know.
"""

import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import onnx

from trainer.errors import ImportRefusedError
from trainer.foreign.kinds import NAMES, Found
from trainer.foreign.makers.form import Array, Known, maker_of
from trainer.workers.memory import cap_memory
from trainer.workers.sizes import default_memory_bytes

#: Seconds that a framework gets to start, load and convert; and to answer a case.
CONVERT_S, ANSWER_S = 600.0, 300.0
#: Address space beyond the memory that is free: what frameworks reserve and do not use.
MARGIN_BYTES = 2**31
#: Packages that the extras of Genba bring; what else a file asks for is its maker's own.
_FRAMEWORKS = (
    "catboost", "keras", "lightgbm", "onnxmltools", "onnxscript", "tensorflow", "tf2onnx", "torch", "xgboost"
)  # fmt: skip


class OriginalRefusesError(ValueError):
    """The original itself does not take these rows."""


class Original:
    """A model as its framework runs it, and the way to its graph. A context manager; the process ends with it.

    Raises:
        ImportRefusedError: (when entered) the framework is not installed, or does not take the file.
    """

    known: Known

    def __init__(self, found: Found, options: Mapping[str, Any]) -> None:
        self._found, self._options = found, dict(options)

    def __enter__(self) -> "Original":
        self._folder = tempfile.TemporaryDirectory(prefix="genba-")
        self._said = Path(self._folder.name, "stderr").open("w+b")
        self._limit_bytes = default_memory_bytes(1) + MARGIN_BYTES
        of = self._found.kind, str(self._found.path), str(self._limit_bytes)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "trainer.foreign.original", *of],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, env=_environment(),
        )  # fmt: skip
        try:
            known = self._ask("open", self._options, CONVERT_S)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.known = msgspec.convert(known, Known)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            if stream is not None:
                stream.close()
        self._folder.cleanup()

    def convert(self, example: Sequence[Array]) -> onnx.ModelProto:
        """Return the model's graph.

        Args:
            example: inputs as the model takes them, a few rows each; some converters follow them through it.

        Raises:
            ImportRefusedError: the converter does not take the model.
        """
        self._write(example)
        self._ask("convert", {}, CONVERT_S)
        return onnx.load(self._path("model.onnx"))

    def answer(self, arrays: Sequence[Array]) -> Array:
        """Return what the model gives: probabilities (rows, classes) of a known classifier, else its output.

        Raises:
            OriginalRefusesError: it does not take these rows.
        """
        self._write(arrays)
        self._ask("answer", {}, ANSWER_S)
        found: Array = np.load(self._path("answer.npy"), allow_pickle=False)
        return found

    def _path(self, name: str) -> Path:
        return Path(self._folder.name, name)

    def _write(self, arrays: Sequence[Array]) -> None:
        plain = [array.astype(np.str_) if array.dtype == object else array for array in arrays]
        named: dict[str, Any] = {f"input_{index}": array for index, array in enumerate(plain)}
        np.savez(self._path("rows.npz"), **named)

    def _ask(self, verb: str, options: dict[str, Any], limit_s: float) -> dict[str, Any]:
        assert self._process.stdin is not None  # noqa: S101 - a pipe, as asked for
        assert self._process.stdout is not None  # noqa: S101
        line = json.dumps({"do": verb, "folder": self._folder.name, **options}) + "\n"
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended, which the empty answer tells
        ready, _, _ = select.select([self._process.stdout], [], [], limit_s)
        if not ready:
            raise ImportRefusedError(f"{self._found.path.name} is not done within {limit_s:g} s in its framework")
        said = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(said) if said else {"died": True}
        if "ok" in answer:
            return dict(answer["ok"])
        raise self._refusal(answer)

    def _refusal(self, answer: dict[str, Any]) -> ImportRefusedError | OriginalRefusesError:
        name, (article, extra) = self._found.path.name, NAMES[self._found.kind]
        if "rows" in answer:
            return OriginalRefusesError(answer["rows"])
        if "missing" in answer:
            return ImportRefusedError(f"{name} is {article}: this {_needs(answer['missing'], extra)}")
        if "starved" in answer:
            return ImportRefusedError(
                f"{name} asks for more than {self._limit_bytes >> 20} MiB of memory in its framework, "
                f"and no more is free here"
            )
        if "refused" in answer:
            return ImportRefusedError(f"{name}: {answer['refused']}")
        code = self._process.wait()
        ended = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        self._said.seek(0)
        last = (self._said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        return ImportRefusedError(f"{name} kills the process that loads it ({ended}): {last[:200]}")


def _needs(missing: str, extra: str) -> str:
    if missing in _FRAMEWORKS:
        return f"needs the package {missing!r}, which is not installed: pip install 'genba[{extra}]'"
    way = f"put the folder that it is in on PYTHONPATH, or pip install {missing} if it is a package"
    return f"needs the module {missing!r}, which is not found here: {way}"


def _environment() -> dict[str, str]:
    """The child finds what this process finds; frameworks keep quiet and off the graphics card."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    return {**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def main(kind: str, path: str, limit_bytes: str) -> None:
    """The child."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    cap_memory(int(limit_bytes))
    talk = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework prints must not get between the answers
    maker: Any = None
    for line in sys.stdin:
        asked = json.loads(line)
        folder = Path(asked["folder"])
        done: dict[str, Any] = {}
        try:
            if asked["do"] == "open":
                maker = maker_of(kind, Path(path), asked)
                done = msgspec.to_builtins(maker.known)
            elif asked["do"] == "convert":
                onnx.save(maker.convert(_rows(folder)), folder / "model.onnx")
            else:
                np.save(folder / "answer.npy", maker.answer(_rows(folder)), allow_pickle=False)
            said: dict[str, Any] = {"ok": done}
        except ModuleNotFoundError as error:
            said = {"missing": (error.name or str(error)).split(".")[0]}
        except MemoryError:
            said = {"starved": True}
        except Exception as error:  # whatever a framework raises is its word on the model
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            said = {"rows" if asked["do"] == "answer" else "refused": reason}
        print(json.dumps(said), file=talk, flush=True)


def _rows(folder: Path) -> list[Array]:
    with np.load(folder / "rows.npz", allow_pickle=False) as file:
        found = [file[f"input_{index}"] for index in range(len(file.files))]
    return [value.astype(object) if value.dtype.kind == "U" else value for value in found]


if __name__ == "__main__":
    main(*sys.argv[1:])
