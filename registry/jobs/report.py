"""What a job's process says to the worker, one JSON object a line on its standard output, and where it works."""

from pathlib import Path
from typing import Any

import msgspec


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far it is: `fraction` from 0 to 1."""

    text: str
    fraction: float


class Result(msgspec.Struct, frozen=True, tag="result"):
    """It is done."""

    result: dict[str, Any]


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """It cannot be done; `reason` is one line for a person."""

    reason: str


Report = Progress | Result | Failure

_decoder = msgspec.json.Decoder(Progress | Result | Failure)


def encode_report(report: Report) -> bytes:
    return msgspec.json.encode(report) + b"\n"


def decode_report(line: bytes) -> Report | None:
    """Read one line; None where it is not a report."""
    try:
        report: Report = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return report


def job_folder(home: Path, job: int) -> Path:
    """Where a job's process keeps its files; the worker removes it, however the process ended."""
    return home / "run" / "jobs" / str(job)
