"""Signed metadata, read in a process of its own, so that an agent at rest holds none of what that takes (ADR 0034).

The child, `edge_agent.metadata_child`, keeps the rules and writes what it trusts; this side gives it resources and the
time, and turns whatever becomes of it into an answer or an error.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any, BinaryIO

import msgspec
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError

from edge_agent.errors import ResourceFinalError, TransferError, TrustError
from edge_agent.metadata_words import (
    HEAD,
    Answered,
    Ask,
    AskTime,
    Begin,
    Data,
    Failed,
    Find,
    Found,
    Fresh,
    NoData,
    Refresh,
    Said,
    Time,
    packed,
)
from edge_agent.signed_metadata import MetadataReader, Refreshed, SignedTarget, Sources
from protocols.resources import Repository

COMMAND = (sys.executable, "-m", "edge_agent.metadata_child")
#: Longest that the child may work between two words. It takes 0.3 s on a PC, its start included.
_PATIENCE_S = 120.0
_LAST_WORDS = 300


@contextlib.contextmanager
def read_in_child(
    sources: Sources, *, command: Sequence[str] = COMMAND, patience_s: float = _PATIENCE_S
) -> Iterator[MetadataReader]:
    """Yield a reader that lives in a child, which is gone when the block ends.

    A child that ends before it has answered, or is silent for longer than `patience_s`, is a TransferError: another try
    may go better, and what it has written is whole.
    """
    with os.fdopen(os.memfd_create("metadata"), "w+b") as errors:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            start_new_session=True,
        )
        try:
            reader = _Reader(child, sources, errors, patience_s)
            reader.begin()
            yield reader
        finally:
            child.kill()  # what it answered is on disk, and it does nothing that was not asked of it
            with contextlib.suppress(OSError):
                child.stdin.close()  # type: ignore[union-attr]
            child.stdout.close()  # type: ignore[union-attr]
            child.wait()


class _Reader:
    def __init__(self, child: "subprocess.Popen[bytes]", sources: Sources, errors: BinaryIO, patience_s: float) -> None:
        self._child, self._sources, self._errors, self._patience_s = child, sources, errors, patience_s

    def begin(self) -> None:
        sources = self._sources
        self._say(Begin(str(sources.folder), sources.roots.image, sources.roots.director))

    def refresh(self, repository: Repository) -> Refreshed:
        answer = self._order(Refresh(repository))
        assert isinstance(answer, Fresh), answer  # noqa: S101 - both ends are of one release
        return answer.refreshed

    def target(self, repository: Repository, path: str) -> SignedTarget | None:
        answer = self._order(Find(repository, path))
        assert isinstance(answer, Found), answer  # noqa: S101 - both ends are of one release
        return answer.target

    def _order(self, order: Refresh | Find) -> Fresh | Found:
        """Give an order and serve the child until it has answered."""
        self._say(order)
        while True:
            match word := self._hear():
                case Ask():
                    self._say(self._fetched(word))
                case AskTime():
                    self._say(Time(self._sources.now(word.repository, word.root_version)))
                case Failed():
                    raise _error(word)
                case _:
                    return word

    def _fetched(self, asked: Ask) -> Data | NoData:
        try:
            with self._sources.fetcher.download_file(asked.url, asked.limit_bytes) as file:
                return Data(file.read(asked.limit_bytes + 1))
        except DownloadHTTPError as error:
            return NoData(str(error), status=error.status_code)
        except DownloadLengthMismatchError as error:
            return NoData(str(error), longer=True)
        except DownloadError as error:
            return NoData(str(error))

    def _say(self, word: Said) -> None:
        pipe: IO[bytes] = self._child.stdin  # type: ignore[assignment]
        rest = memoryview(packed(word))
        try:
            while rest:
                rest = rest[pipe.write(rest) :]
        except BrokenPipeError:
            raise self._ended() from None

    def _hear(self) -> Answered:
        deadline = time.monotonic() + self._patience_s
        (length,) = HEAD.unpack(self._read(HEAD.size, deadline))
        word: Answered = msgspec.msgpack.decode(self._read(length, deadline), type=Answered)
        return word

    def _read(self, length: int, deadline: float) -> bytes:
        pipe: Any = self._child.stdout
        waiting = select.poll()
        waiting.register(pipe, select.POLLIN)
        data = b""
        while len(data) < length:
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TransferError("metadata", f"it was not verified within {self._patience_s:.0f} s on this device")
            piece = pipe.read(length - len(data))
            if not piece:
                raise self._ended()
            data += piece
        return data

    def _ended(self) -> TransferError:
        """Return what to say of a child that ended before it was done."""
        code = self._child.wait()
        if code == -signal.SIGKILL:
            how = "SIGKILL, from outside; this machine may be short of memory"
        else:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").split("\n")
            said = next((line for line in reversed(lines) if line.strip()), "")
            how = f"status {code}: {said[:_LAST_WORDS]}".rstrip(": ")
        return TransferError("metadata", f"the process that verifies it ended with {how}")


def _error(failed: Failed) -> Exception:
    match failed.kind:
        case "trust":
            return TrustError(failed.reason)
        case "transfer":
            return TransferError(failed.what, failed.reason)
        case "final":
            return ResourceFinalError(failed.what, failed.status, failed.reason)
        case "disk":
            return OSError(failed.status, failed.reason, failed.what or None)
