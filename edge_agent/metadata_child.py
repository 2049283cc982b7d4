"""The process that reads signed metadata for an agent, and ends with it: python-tuf in a memory of its own.

It is started by `edge_agent.metadata_process`, which serves it resources and the time. It writes nothing but trusted
metadata, each file before it answers, and ends when its stdin does.
"""

import argparse
import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

import msgspec
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError

from edge_agent.errors import ResourceFinalError, TransferError, TrustError
from edge_agent.metadata_here import read_here
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
from edge_agent.signed_metadata import MetadataReader, PinnedRoots, Sources
from protocols.resources import Repository


class _EndError(Exception):
    """The agent wants nothing more, or is gone."""


class _Agent:
    """The other end of the pipes: it fetches, and knows the time."""

    def __init__(self, heard: BinaryIO, said: BinaryIO) -> None:
        self._heard, self._said = heard, said

    def say(self, word: Answered) -> None:
        self._said.write(packed(word))
        self._said.flush()

    def hear(self) -> Said:
        (length,) = HEAD.unpack(self._read(HEAD.size))
        word: Said = msgspec.msgpack.decode(self._read(length), type=Said)
        return word

    def _read(self, length: int) -> bytes:
        data = self._heard.read(length)
        if len(data) < length:
            raise _EndError
        return data

    def now(self, repository: Repository, root_version: int) -> float:
        self.say(AskTime(repository, root_version))
        answer = self.hear()
        assert isinstance(answer, Time), answer  # noqa: S101 - both ends are of one release
        return answer.at

    @contextlib.contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        self.say(Ask(url, max_length))
        answer = self.hear()
        assert isinstance(answer, Data | NoData), answer  # noqa: S101 - both ends are of one release
        if isinstance(answer, Data):
            yield io.BytesIO(answer.data)
        elif answer.status:
            raise DownloadHTTPError(answer.reason, answer.status)
        elif answer.longer:
            raise DownloadLengthMismatchError(answer.reason)
        else:
            raise DownloadError(answer.reason)


def serve(agent: _Agent) -> None:
    """Answer one order after another until there are no more."""
    begin = agent.hear()
    assert isinstance(begin, Begin)  # noqa: S101 - both ends are of one release
    roots = PinnedRoots(begin.image_root, begin.director_root)
    with read_here(Sources(Path(begin.folder), roots, agent, agent.now)) as reader:
        while True:
            agent.say(_answer(reader, agent.hear()))


def _answer(reader: MetadataReader, order: Said) -> Fresh | Found | Failed:
    try:
        match order:
            case Refresh():
                return Fresh(reader.refresh(order.repository))
            case Find():
                return Found(reader.target(order.repository, order.path))
    except ResourceFinalError as error:
        return Failed("final", error.resource, error.reason.removeprefix(f"{error.status}: "), error.status)
    except TransferError as error:
        return Failed("transfer", error.resource, error.reason)
    except TrustError as error:
        return Failed("trust", "", str(error))
    except OSError as error:
        return Failed("disk", str(error.filename or ""), error.strerror or str(error), error.errno or 0)
    raise AssertionError(order)


def main(argv: list[str]) -> int:
    argparse.ArgumentParser(prog="edge_agent.metadata_child", description=__doc__).parse_args(argv)
    with contextlib.suppress(_EndError, BrokenPipeError):
        serve(_Agent(sys.stdin.buffer, sys.stdout.buffer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
