"""`genba devices tune`: how a release serves best on this very machine, measured, and why."""

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import msgspec

from devices.profiles import load_profile
from edge_agent.cores import most_threads
from edge_agent.errors import ScoreError
from edge_agent.hardware import Hardware
from edge_agent.proof import proven
from edge_agent.releases import read_release
from edge_agent.session_plan import SessionPlan
from edge_agent.settings import AgentHome
from edge_agent.tuned import Tuned, TunedStore
from edge_agent.tuner import Tuner
from edge_agent.tuning import describe_plan

_SECONDS = 30.0


def tune(argv: list[str]) -> int:
    """Measure a release's plans, print them, and with --home keep the best for the agent there."""
    given = _parser().parse_args(argv)
    home = AgentHome(given.home) if given.home else None
    if home is None and "@" in given.release and not Path(given.release).is_dir():
        raise ScoreError(f"{given.release}: say where it is installed: --home HOME of an agent; or give its folder")
    with ExitStack() as stack:
        found = stack.enter_context(proven(given.release, home))
        kept = home.tuned if home else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="genba-")))
        hardware = Hardware(_profile(given, home), kept.parent)
        manifest = read_release(found.folder)
        threads = max(given.threads) if given.threads else hardware.threads
        choice = hardware.choose(manifest)
        base = SessionPlan(providers=choice.providers, asked=choice.wanted, threads=threads)
        tuner = Tuner(TunedStore(kept), given.seconds, hardware.identity)
        tuned = tuner.tune(found.folder, manifest, base, hardware.preflight_bytes(), threads=given.threads or ())
    if tuned is None:
        raise ScoreError(f"{given.release}: no plan that was measured may serve here; `genba devices probe` says more")
    if given.json:
        print(msgspec.json.format(msgspec.json.encode(tuned, enc_hook=str), indent=2).decode())
        return 0
    print("\n".join(_table(tuned)))
    print(found.note, file=sys.stderr)
    if home:
        print(f"kept in {kept}; the agent there serves by it from its next start or activation on", file=sys.stderr)
    return 0


def _profile(given: argparse.Namespace, home: AgentHome | None) -> str:
    """The profile that is named, else the home's, else the one of this machine's processor."""
    if given.profile:
        return load_profile(str(given.profile)).name
    if home is not None and home.enrolled:
        return home.settings().profile
    return "x86" if os.uname().machine == "x86_64" else "raspberry-pi-4"


def _table(tuned: Tuned) -> list[str]:
    """Return what was measured, a line each, the winner marked, and below why it won."""
    rows = [("plan", "ms alone", "p99", "rows/s", "in", "MiB", "load s", "")]
    for found in tuned.measured:
        same = msgspec.structs.replace(found.plan, mapped=None, max_batch=tuned.plan.max_batch) == tuned.plan
        won = same and (found.plan.mapped is not None) == (tuned.graph is not None)
        mark = "chosen" if won else ""
        if found.reason is not None:
            rows.append((describe_plan(found.plan), "", "", "", "", "", "", f"refused: {found.reason}"))
            continue
        best = max(found.rows_per_s, key=lambda size: found.rows_per_s[size], default=1)
        figures = (f"{found.latency_p50_ms:.3f}", f"{found.latency_p99_ms:.3f}", f"{found.best_rate:,.0f}", f"{best}")
        rows.append(
            (describe_plan(found.plan), *figures, f"{found.memory_bytes / 2**20:.1f}", f"{found.load_s:.2f}", mark)
        )
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [*(_line(row, widths) for row in rows), "", tuned.text]


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    figures = [cell.rjust(width) for cell, width in zip(row[1:7], widths[1:7], strict=True)]
    return "  ".join([row[0].ljust(widths[0]), *figures, row[7]]).rstrip()


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(int(part) if part.strip().isdigit() else 0 for part in text.split(","))
    if not all(1 <= count <= most_threads() for count in counts):
        text = f"{text!r} is no list of thread counts of 1 to {most_threads()}: write it like 1,2,4"
        raise argparse.ArgumentTypeError(text)
    return counts


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genba devices tune",
        description="Measure threads, sizes of batches, precision, graph optimization and mapped loading of a release "
        "on this very machine, and say which is best. An agent does so by itself before a release's proof "
        "(tune_s in agent.toml).",
    )
    parser.add_argument(
        "release", metavar="RELEASE", help="a candidate's folder, a bundle, or with --home MODEL@VERSION"
    )
    parser.add_argument("--home", type=Path, metavar="DIR", help="an agent's home: its releases; it keeps the best")
    parser.add_argument("--profile", metavar="P", help="default: the home's, else x86 or raspberry-pi-4")
    parser.add_argument(
        "--seconds", type=_seconds, default=_SECONDS, metavar="S", help=f"longest to measure (default {_SECONDS:g})"
    )
    parser.add_argument("--threads", type=_counts, metavar="N,N", help="counts to try (default: up to its share)")
    parser.add_argument("--json", action="store_true", help="for a machine")
    return parser
