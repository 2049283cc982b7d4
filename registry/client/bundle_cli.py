"""`genba bundle export` and `return`: from a registry to a USB stick, and back."""

import argparse
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry.client.bundles import Progress, export
from registry.client.cli import add_registry, connect, resolve
from registry.client.returns import hand_in
from registry.client.upload import UPLOAD_TIMEOUT_S


def export_bundle(argv: list[str]) -> int:
    """Write a bundle; print where it lies and until when it can be installed."""
    options = _parser().parse_args(argv)
    client = connect(options, UPLOAD_TIMEOUT_S)
    wanted: dict[str, Any] = {"valid_days": options.valid_days}
    if options.device is not None:
        wanted["device"] = options.device
    else:
        wanted["release"] = str(resolve(client, options.release))
    bundle = export(client, wanted, options.out.absolute(), progress())
    releases = ", ".join(map(str, bundle.releases)) or "no release"
    until = datetime.fromtimestamp(bundle.expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    print(options.out)
    what = (
        f"{releases} for {bundle.device}; install it before {until}" if bundle.device else f"{releases}, to score with"
    )
    print(f"{what}; {sum(bundle.files.values()) / 1e6:.1f} MB", file=sys.stderr)
    return 0


def return_bundle(argv: list[str]) -> int:
    """Hand in what a stick carries home; print how much, device by device."""
    parser = argparse.ArgumentParser(
        prog="genba bundle return",
        description="Hand in what devices recorded (`genba bundle collect`). It is counted once, also where part of it "
        "came by MQTT. The receipts stay on the stick: at its next visit the devices forget what has arrived.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the stick's folder")
    add_registry(parser)
    options = parser.parse_args(argv)
    totals: Counter[str] = Counter()
    for device, messages in hand_in(connect(options), options.folder):
        totals[device] += messages
    for device, messages in sorted(totals.items()):
        print(f"{device}: {messages} messages")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genba bundle export",
        description="Write what a device is to run, or one release, to a folder that a USB stick carries.",
    )
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument(
        "release",
        nargs="?",
        metavar="MODEL@VERSION",
        help="one release, to score with; or MODEL@champion, MODEL@latest",
    )
    chosen.add_argument("--device", metavar="NAME", help="everything that is assigned to this device, for installation")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the folder to write, at once or not at all"
    )
    parser.add_argument(
        "--valid-days", type=int, default=7, metavar="N", help="how long it may be on its way, 1 to 30 days (default 7)"
    )
    add_registry(parser)
    return parser


def progress() -> Progress:
    """Return what shows progress on a terminal, and nothing in a pipe."""
    return _show if sys.stderr.isatty() else lambda written, total: None


def _show(written: int, total: int) -> None:
    end = "\n" if written >= total else ""
    print(f"\rwriting {written / max(total, 1):4.0%} of {total / 1e6:.1f} MB", end=end, file=sys.stderr, flush=True)
