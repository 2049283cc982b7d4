"""Options for variants of a model in less precision, and for what a device must have to serve it."""

import argparse
import math
from pathlib import Path
from typing import Any

from devices.probe import CPU_FEATURES

_PRECISIONS = ("int8", "float16")


def add_variant_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("for devices", "a variant is served where a device measures it to be better")
    group.add_argument(
        "--variant",
        type=_variant,
        action="append",
        default=[],
        metavar="PRECISION=FILE",
        help="the same model in less precision, as an ONNX file: int8=FILE or float16=FILE; repeatable",
    )
    _add_quantise(group, "make such a variant here, with the sample as calibration: int8, float16, or int8,float16")
    group.add_argument(
        "--cpu-feature",
        choices=sorted(CPU_FEATURES),
        action="append",
        default=[],
        metavar="NAME",
        help="what a device's processor must have, such as avx2 or asimddp; repeatable",
    )


def add_quantise_options(parser: argparse.ArgumentParser) -> None:
    """Those of a model that is trained here."""
    group = parser.add_argument_group("for devices", "a variant is served where a device measures it to be better")
    _add_quantise(
        group,
        "make the model in less precision, too (int8, float16, or int8,float16); offered only where smaller, no slower "
        "here, and close enough",
    )


def variant_options(given: argparse.Namespace) -> dict[str, Any]:
    """Return the options as the fields of an import's request."""
    return {
        "variants": dict(given.variant),
        "cpu_features": tuple(dict.fromkeys(given.cpu_feature)),
        **quantise_options(given),
    }


def quantise_options(given: argparse.Namespace) -> dict[str, Any]:
    """Return them as the fields of a request."""
    return {"quantise": tuple(dict.fromkeys(given.quantise)), "variant_tolerance": given.variant_tolerance}


def _add_quantise(group: Any, meaning: str) -> None:
    group.add_argument(
        "--quantise", type=_precisions, action="extend", default=[], metavar="PRECISION", help=f"{meaning}; repeatable"
    )
    group.add_argument(
        "--variant-tolerance",
        type=_positive,
        metavar="X",
        help="how far a variant's outputs may lie from the model's, in the output's unit (default int8: 5 %% of the "
        "target's deviation, or 0.02 of a probability; float16: 1 %%, or 0.005)",
    )


def _precisions(text: str) -> list[str]:
    named = [each.strip() for each in text.split(",")]
    if wrong := [each for each in named if each not in _PRECISIONS]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is no precision: give {' or '.join(_PRECISIONS)}")
    return named


def _variant(text: str) -> tuple[str, Path]:
    precision, sign, file = text.partition("=")
    if precision not in _PRECISIONS or not sign or not file:
        raise argparse.ArgumentTypeError(f"{text!r} names no variant: write it like int8=model.int8.onnx")
    return precision, Path(file)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
