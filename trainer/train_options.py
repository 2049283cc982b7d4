"""The options of `genba train`."""

import argparse
import math
import os
import re
from typing import Any

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_SIZES = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_MS = {"": 1.0, "ms": 1.0, "us": 1e-3, "s": 1e3}
METRICS = (
    "log_loss", "brier", "accuracy", "balanced_accuracy", "f1", "roc_auc", "average_precision", "rmse", "mae",
)  # fmt: skip


def seconds(text: str) -> float:
    """Read a length of time: `60`, `60s`, `5m`, `1.5h`. Raises argparse.ArgumentTypeError for anything else."""
    return _read(text, _UNITS, "no length of time: write it like 60s, 5m or 1h")


def size(text: str) -> int:
    """Read a size in bytes: `500kB`, `64MB`, `1GiB`."""
    return int(_read(text, _SIZES, "no size: write it like 500kB, 64MB or 1GiB"))


def milliseconds(text: str) -> float:
    """Read a latency in milliseconds: `2ms`, `0.5`, `200us`."""
    return _read(text, _MS, "no latency: write it like 2ms, 0.5ms or 200us")


def _read(text: str, units: dict[str, Any], problem: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in units or not float(match[1]) > 0 or not math.isfinite(float(match[1])):
        raise argparse.ArgumentTypeError(f"{text!r} is {problem}")
    return float(match[1]) * float(units[match[2]])


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """What the search may use, and what it is to make good."""
    search = parser.add_argument_group("search")
    search.add_argument(
        "--budget", type=seconds, default=60.0, metavar="TIME",
        help="time for the whole run, from 5s up: 60s, 5m, 1h (default 60s); Ctrl-C ends the search earlier and keeps "
        "the best so far",
    )  # fmt: skip
    search.add_argument("--seed", type=int, default=0, metavar="N", help="of split, search and models (default 0)")
    search.add_argument(
        "--trials", type=int, metavar="N",
        help="try exactly N models and let no clock decide: the same command then gives the same model",
    )  # fmt: skip
    search.add_argument(
        "--metric", choices=METRICS, metavar="NAME",
        help=f"what is made as good as can be: {', '.join(METRICS)} (default: log_loss, or rmse)",
    )  # fmt: skip
    search.add_argument("--jobs", type=int, metavar="N", help="trials at once (default: one for each core)")
    search.add_argument(
        "--memory", type=size, metavar="SIZE", help="that one trial may take (default: a share of what is free)"
    )
    search.add_argument(
        "--dask", metavar="ADDRESS", help="run the trials on a Dask cluster: tls://HOST:PORT, or a scheduler's file"
    )
    search.add_argument(
        "--dask-insecure", action="store_true", help="let trials, which are code, travel in the clear to that cluster"
    )
    search.add_argument(
        "--anew", action="store_true", help="begin anew where a run that was killed has left its trials in OUT.search"
    )
    costs = parser.add_argument_group("decision (two classes)")
    costs.add_argument(
        "--false-alarm-cost", type=float, metavar="X",
        help="with --miss-cost: the threshold is chosen on validation rows so that mistakes cost least",
    )  # fmt: skip
    costs.add_argument("--miss-cost", type=float, metavar="Y", help="what a miss costs, in the same unit")
    costs.add_argument("--positive", metavar="CLASS", help="class that raises the alarm (default: the rarer one)")


def add_limit_options(parser: argparse.ArgumentParser) -> None:
    """What the device allows."""
    limits = parser.add_argument_group("limits of the device")
    limits.add_argument(
        "--max-latency", type=milliseconds, metavar="TIME",
        help="that one row may take, such as 2ms; measured here, and stated in the release as --latency-limit is",
    )  # fmt: skip
    limits.add_argument(
        "--prefer", choices=["best", "readable", "smallest", "fastest"], default="best",
        help="which of the models within the limits is released (default best: the least error; readable: the best "
        "that a person can read whole); `genba choose` releases another one of the front later",
    )  # fmt: skip
    limits.add_argument(
        "--device", metavar="KIND",
        help="judge the limits on enrolled devices: a name, a profile such as raspberry-pi-4, or a selector; they "
        "measure the chosen model by a job over MQTT, and the next best is taken where it is beyond the limits",
    )  # fmt: skip
    limits.add_argument(
        "--registry", metavar="URL", default=os.environ.get("GENBA_REGISTRY"),
        help="with --device: where they are enrolled (default: GENBA_REGISTRY; its token is GENBA_TOKEN)",
    )  # fmt: skip
    limits.add_argument("--max-size", type=size, metavar="SIZE", help="of the graph, such as 500kB")
    limits.add_argument(
        "--max-memory", type=size, metavar="SIZE", help="that loading and serving it takes, such as 64MB"
    )
