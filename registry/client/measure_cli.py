"""`genba devices measure`: what a candidate does on enrolled devices, before it is released."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from protocols.measuring import DeviceFigures
from registry.client.cli import add_registry, connect
from registry.client.measuring import UPLOAD_TIMEOUT_S, USUAL_WAIT_S, Progress
from registry.client.measuring import measure as measure_graph
from registry.errors import CandidateRefusedError

_HEAD = ("DEVICE", "PROFILE", "RUNS ON", "MS P50", "P99", "MIB", "GOLDEN VECTORS")


def measure(argv: list[str]) -> int:
    """Have a candidate measured, and print a table; exit status 1 unless every device measured it."""
    options = _parser().parse_args(argv)
    graph, golden, manifest = _candidate(options.candidate)
    line = _Line()
    try:
        found = measure_graph(
            graph,
            golden,
            options.device or f"profile={options.profile}",
            client=connect(options, UPLOAD_TIMEOUT_S),
            timeout_s=options.timeout,
            manifest=manifest,
            watch=line.show,
        )
    finally:
        line.end()
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        print("\n".join(table(found)))
    return 0 if all(figures.measured for figures in found) else 1


def table(found: Sequence[DeviceFigures]) -> list[str]:
    """Return a line for each device, the quickest first, under a head."""
    ordered = sorted(found, key=lambda one: (not one.measured, one.latency_p50_ms or 0.0, one.device))
    rows = [_HEAD, *map(_row, ordered)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEAD) - 1)]
    return ["  ".join([*map(str.ljust, row[:-1], widths), row[-1]]) for row in rows]


def _row(figures: DeviceFigures) -> tuple[str, ...]:
    if not figures.measured:
        return (figures.device, figures.profile, "-", "-", "-", "-", f"{figures.outcome}: {figures.reason}")
    difference = figures.largest_difference or 0.0
    return (
        figures.device,
        figures.profile,
        figures.provider.removesuffix("ExecutionProvider"),
        f"{figures.latency_p50_ms or 0:.3f}",
        f"{figures.latency_p99_ms or 0:.3f}",
        f"{(figures.memory_bytes or 0) / 2**20:.1f}",
        f"hold: {figures.rows} rows, at most {difference:.2g} away",
    )


class _Line:
    """One line on a terminal that says what each device does; nothing in a pipe."""

    def __init__(self) -> None:
        self._shown, self._width = sys.stderr.isatty(), 0

    def show(self, devices: Sequence[Progress]) -> None:
        if self._shown:
            open_ones = [f"{one.device}: {one.text or one.state}" for one in devices if one.figures is None]
            text = f"{len(devices) - len(open_ones)} of {len(devices)} measured; {'; '.join(open_ones)}"[:150]
            print(f"\r{text:<{self._width}}", end="", file=sys.stderr, flush=True)
            self._width = len(text)

    def end(self) -> None:
        if self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=sys.stderr, flush=True)


def _candidate(folder: Path) -> tuple[bytes, bytes, bytes | None]:
    """Return model.onnx, golden.npz and release.json of a folder; the last may lack where one row is a row of columns.

    Raises:
        CandidateRefusedError: one of the first two cannot be read.
    """
    found = []
    for name in ("model.onnx", "golden.npz"):
        try:
            found.append((folder / name).read_bytes())
        except OSError as error:
            reason = f"{name}: {error.strerror}; name the folder that `genba train --out` made"
            raise CandidateRefusedError(str(folder), reason) from error
    manifest = folder / "release.json"
    return found[0], found[1], manifest.read_bytes() if manifest.is_file() else None


def _seconds(text: str) -> float:
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    try:
        value = float(number) * unit
    except ValueError:
        value = float("nan")
    if not 5 <= value <= 7 * 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time from 5s to 168h; write 90s, 10m or 2h")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genba devices measure",
        description="Have a candidate measured on enrolled devices before it is released: latency of one row, memory, "
        "the provider that really runs, and whether its golden vectors hold. It never serves there. A device "
        "takes such jobs where its agent.toml says `measure = true`.",
    )
    parser.add_argument("candidate", type=Path, metavar="CANDIDATE", help="the folder that `genba train --out` made")
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--device", metavar="NAME", help="one enrolled device, or a selector such as site=osaka")
    chosen.add_argument("--profile", metavar="P", help="the enrolled devices of a profile, those that are online first")
    parser.add_argument(
        "--timeout", type=_seconds, default=USUAL_WAIT_S, metavar="T", help="wait so long for a device (default 10m)"
    )
    parser.add_argument("--json", action="store_true", help="for a machine")
    add_registry(parser)
    return parser
