"""`genba simulate`: a production line, or a whole fleet of devices."""

import argparse
import logging
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from devices.profiles import list_profiles
from protocols.names import ReleaseRef
from registry.client.rest import RegistryClient
from registry.client.upload import DEFAULT_REGISTRY
from rehearsal.fleet import PROFILES, Cast, Census, Fleet, RehearsalError
from rehearsal.readings import read_table

FLEET = """\
Runs many devices in this process, each the agent itself less its hardware: it enrols with a key of its own, asks for
its assignment over MQTT, pulls and verifies releases, says that it runs them, and sends telemetry of its sensors. For
load tests and for rehearsing a rollout. It ends after --seconds, or with Ctrl-C, and then says what became of them."""


def simulate(argv: list[str]) -> int:
    """Run `genba simulate WHAT ...`; each has its own options."""
    parser = argparse.ArgumentParser(
        "genba simulate",
        description="Things to try a registry and its agents with.",
        epilog="`genba simulate line --help` and `genba simulate fleet --help` explain each.",
    )
    parser.add_argument("what", choices=["line", "fleet"], help="one production line, or many devices")
    what = parser.parse_args(argv[:1]).what
    if what == "fleet":
        return fleet(argv[1:])
    from registry.demo.cli import line  # needs the demo's packages

    return line(argv[1:])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "genba simulate fleet", description=FLEET, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--devices", type=int, default=50, metavar="N", help="how many (default 50)")
    add("--release", metavar="MODEL@VERSION", help="assign this to each of them; without it, an operator assigns")
    add("--window", type=float, default=60.0, metavar="S", help="telemetry window, with --release (default 60)")
    add("--drift", type=float, default=0.0, metavar="SHARE", help="share whose sensors lie off (default 0)")
    add("--offline", type=float, default=0.0, metavar="SHARE", help="share that comes and goes (default 0)")
    add("--away", type=float, default=30.0, metavar="S", help="how long those are away, on average (default 30)")
    add("--fail", type=float, default=0.0, metavar="SHARE", help="share that refuses every release (default 0)")
    add("--rate", type=float, default=1.0, metavar="HZ", help="sensor messages a second, of each (default 1)")
    add("--data", type=Path, metavar="FILE", help="a table of readings; without it they are made up")
    add("--profile", nargs="+", metavar="P", default=PROFILES, choices=[one.name for one in list_profiles()])
    add("--prefix", default="sim", help="their names begin with it (default sim)")
    add("--site", default="rehearsal", help="the plant they stand in (default rehearsal)")
    add("--real-inference", action="store_true", help="prove and serve with ONNX Runtime here: much more memory")
    add("--home", type=Path, metavar="DIR", help="keep the devices here for a next time; else a folder that is removed")
    add("--replace", action="store_true", help="take over names that are enrolled already")
    add("--seconds", type=float, metavar="S", help="end by itself after so long")
    add("--seed", type=int, default=7, help="who drifts, goes and refuses (default 7)")
    add("--registry", metavar="URL", default=os.environ.get("GENBA_REGISTRY", DEFAULT_REGISTRY), help="its address")
    add("--token", default=os.environ.get("GENBA_TOKEN"), help="an API token; better by GENBA_TOKEN")
    return parser


def fleet(argv: list[str]) -> int:
    """Hold one rehearsal. Returns 0 if it was held, however it was ended."""
    options = _parser().parse_args(argv)
    cast = Cast(
        devices=options.devices,
        prefix=options.prefix,
        site=options.site,
        profiles=tuple(options.profile),
        drift=options.drift,
        offline=options.offline,
        fail=options.fail,
        away_s=options.away,
        rate_hz=options.rate,
        real_inference=options.real_inference,
        seed=options.seed,
    )
    ref = ReleaseRef.parse(options.release) if options.release else None
    table = read_table(options.data) if options.data else ()
    with ExitStack() as stack:
        home = options.home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="genba-fleet-")))
        _log_to(home / "fleet.log")
        began = time.monotonic()
        held = Fleet(cast, home.absolute(), RegistryClient(options.registry, options.token), table)
        _end_by_signal(held)
        held.enrol(replace=options.replace, progress=lambda count: _show(f"{count} devices enrolled"))
        if ref is not None:
            held.assign(ref, options.window)
        try:
            held.start()
            _watch(held, began + options.seconds if options.seconds else None)
        finally:
            _show("")
            census = held.census()
            held.stop()
        print(_summary(held.census(), census, time.monotonic() - began))
    return 0


def _log_to(path: Path) -> None:
    """What a device would write to its journal goes to one file, warnings and worse."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        logging.basicConfig(filename=path, level=logging.WARNING, format="%(asctime)s %(threadName)s %(message)s")
    except OSError as error:
        raise RehearsalError(f"--home {path.parent}: {error.strerror}; name a folder that can be written") from error


def _end_by_signal(held: Fleet) -> None:
    def end(*_: Any) -> None:
        held.interrupt()

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)


def _watch(held: Fleet, end: float | None) -> None:
    """Show how the fleet stands until it is interrupted or time is up."""
    while end is None or time.monotonic() < end:
        if held.wait(1.0 if end is None else max(0.0, min(1.0, end - time.monotonic()))):
            return
        now = held.census()
        _show(
            f"{now.online}/{now.enrolled} online, {now.assigned} assigned, {now.installed} installed, "
            f"{now.refused} refused; {now.messages} messages, {now.bytes / 1e6:.1f} MB"
        )


def _show(text: str) -> None:
    """Write over the progress line, on a terminal alone."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _summary(total: Census, standing: Census, seconds: float) -> str:
    """Return the summary: traffic of all, the goodbyes included, and how the fleet stood before they were said."""
    return (
        f"{standing.enrolled} devices enrolled, {standing.online} online at the end, {standing.assigned} assigned, "
        f"{standing.installed} installed, {standing.refused} refused; "
        f"{total.messages} messages, {total.bytes / 1e6:.1f} MB in {seconds:.0f} s"
    )
