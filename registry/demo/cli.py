"""`genba demo` and `genba simulate line`."""

import argparse
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from rich.console import Console

from protocols.errors import GenbaError
from registry.demo.line import Line, Reading, error_of
from registry.demo.loop import Loop, plain
from registry.demo.plant import read_line, read_plant
from registry.demo.report import print_report

DEMO = """\
Runs the whole loop on this machine with real data: a registry trains, proves and signs a model; two agents pull it
over MQTT, prove it again and serve a live line; the registry sees drift from sketches alone, retrains, and the better
model reaches the agents by itself. Exit status 0 only if every step held."""


def demo(argv: list[str]) -> int:
    """Run the loop, print what was measured, and leave nothing running."""
    parser = argparse.ArgumentParser("genba demo", description=DEMO)
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what was measured as JSON")
    parser.add_argument(
        "--data", type=Path, metavar="FILE", help="your own table instead of the power plant (CSV, Parquet)"
    )
    parser.add_argument("--target", metavar="COLUMN", help="the column to predict, with --data")
    parser.add_argument(
        "--home", type=Path, metavar="DIR", help="keep everything here; a folder that is removed otherwise"
    )
    parser.add_argument("--keep", action="store_true", help="leave all running, pages included, until Ctrl-C")
    parser.add_argument("--seed", type=int, default=7, help="order of the rows and of the search (default 7)")
    options = parser.parse_args(argv)
    if (options.data is None) != (options.target is None):
        parser.error("--data FILE and --target COLUMN go together: which column should the model predict?")
    if options.report:
        _check_report(options.report)
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(soft_wrap=not sys.stdout.isatty())
    plant = read_plant(options.data, options.target, options.seed)
    with ExitStack() as stack:
        home = options.home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="genba-demo-")))
        if options.home and home.exists() and any(home.iterdir()):
            raise GenbaError(f"{home} is not empty; name a new folder for --home")
        loop = Loop(plant, home.resolve(), console, options.seed)
        stack.callback(loop.stop)
        _run(loop, console)
        console.print()
        print_report(loop.report, console)
        if options.report:
            options.report.write_bytes(loop.report.encode())
        if loop.report.closed:
            pages = f"Pages: {loop.report.address}" if options.keep else "With --keep, the registry's pages stay up."
            console.print(pages, markup=False)
        if options.keep and loop.report.closed:
            _keep(loop, console)
    return 0 if loop.report.closed else 1


def _check_report(path: Path) -> None:
    """Raise before the first of many steps what would otherwise be raised after the last."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise GenbaError(f"--report {path} cannot be written: name a file in a folder that exists")
    writable = path if path.exists() else path.absolute().parent
    if not os.access(writable, os.W_OK):
        raise GenbaError(f"--report {path} cannot be written: permission denied; name another file")


def _run(loop: Loop, console: Console) -> None:
    try:
        loop.run()
    except GenbaError as error:
        console.print(f"[bold red]{type(error).__name__}[/]: ", end="")
        console.print(str(error), markup=False, highlight=False)
        loop.report.failed.append(str(error))


def _keep(loop: Loop, console: Console) -> None:
    console.print("Everything goes on until Ctrl-C.")
    try:
        loop.keep_feeding()
    except KeyboardInterrupt:
        console.print("\nStopping what was started ...")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


LINE = """\
Publishes a table's rows, in their order, as a line's sensor messages (JSON, one key per column, and a running number
as "key") to plant/STATION/sensors, hears the predictions on plant/STATION/predictions, and says what came back."""


def line(argv: list[str]) -> int:
    """Publish a line's sensors until the table ends, then report the answers."""
    parser = argparse.ArgumentParser("genba simulate line", description=LINE)
    parser.add_argument("--broker", required=True, metavar="URL", help="mqtt://127.0.0.1:1883")
    parser.add_argument("--station", default="line-1", help="names the topics (default line-1)")
    parser.add_argument("--data", type=Path, metavar="FILE", help="a table; the power plant's readings without it")
    parser.add_argument("--target", metavar="COLUMN", help="the column that is not a sensor, with --data")
    parser.add_argument("--rate", type=float, default=50.0, metavar="HZ", help="messages a second (default 50)")
    parser.add_argument("--rows", type=int, metavar="N", help="stop after so many")
    options = parser.parse_args(argv)
    table, target, classification = read_line(options.data, options.target)
    sensors = table.drop(columns=target).to_dict("records")[: options.rows]
    truths = table[target].tolist()[: options.rows]
    readings = [
        Reading(options.station, "before", plain(record), truth) for record, truth in zip(sensors, truths, strict=True)
    ]
    feeder = Line(options.broker, [options.station], options.rate)
    feeder.start()
    try:
        feeder.feed(readings)
        while not feeder.idle:
            time.sleep(0.2)
        feeder.wait_answered(5)
    finally:
        feeder.stop()
    answers, missing = len(feeder.ledger.answers), len(feeder.ledger.open)
    error = error_of(feeder.ledger.answers, classification)
    judged = "" if error is None else f", {'log loss' if classification else 'RMSE'} {error:.4f}"
    print(f"published {len(readings)}, answered {answers}, not answered {missing}{judged}")
    if missing:
        topics = f"--topic plant/{options.station}/sensors --output-topic plant/{options.station}/predictions --key key"
        print(f"genba simulate: is a device's agent running, with a stream on `{topics}`?", file=sys.stderr)
    return 1 if missing else 0
