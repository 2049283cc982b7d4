"""The options of `genba import` for models that take windows, images or state."""

import argparse
import math
import re

from trainer.errors import RequestError
from trainer.import_request import FeedingRequest, ImageRequest

_IMAGE_ONLY = ("colours", "scale", "mean", "deviation", "resize")


def add_feeding_options(parser: argparse.ArgumentParser) -> None:
    """Add them to the parser of `genba import`."""
    group = parser.add_argument_group("networks that take more than one row, or give one number a class")
    add = group.add_argument
    add("--window", type=_count, metavar="N", help="the graph takes the last N rows of the columns, oldest first")
    add("--image", type=_size, metavar="HxW", help="the graph takes an image of this size; --sample is a folder")
    add("--colours", choices=["RGB", "BGR", "L"], help="of the image's channels; L is grey (default RGB)")
    add("--scale", type=_factor, metavar="X", help="what a pixel of 0 to 255 is multiplied by (default 1/255)")
    add("--mean", type=_numbers, metavar="A,B,C", help="what is then subtracted, by channel (default 0)")
    add("--deviation", type=_numbers, metavar="A,B,C", help="and what it is divided by (default 1)")
    add("--resize", choices=["stretch", "fit", "crop"], help="how an image gets to that size (default stretch)")
    add(
        "--state", type=_pair, action="append", default=[], metavar="IN=OUT",
        help="output OUT of one call is input IN of the next, zero before the first; repeatable",
    )  # fmt: skip
    add(
        "--classes", type=_names, default=(), metavar="A,B,...",
        help="what the graph's numbers are the probabilities of; default for images: the sample's folders, sorted",
    )  # fmt: skip
    add(
        "--layout", choices=["NTC", "NCT", "TNC", "NCHW", "NHWC"],
        help="how the graph's tensor lies, where its shape does not tell: N batch, T rows, C columns or channels",
    )  # fmt: skip


def feeding_of(given: argparse.Namespace) -> FeedingRequest:
    """Return what the options say.

    Raises:
        RequestError: they contradict each other.
    """
    if given.image is None:
        for name in _IMAGE_ONLY:
            if getattr(given, name) is not None:
                raise RequestError(f"--{name} is of images: say the image's size with --image HxW")
        return FeedingRequest(given.window, None, tuple(given.state), given.classes, given.layout)
    if given.window is not None:
        raise RequestError("--window and --image: a model takes rows or an image")
    chosen = {name: value for name in _IMAGE_ONLY if (value := getattr(given, name)) is not None}
    return FeedingRequest(None, ImageRequest(*given.image, **chosen), tuple(given.state), given.classes, given.layout)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no height and width: write it like 224x224")
    return int(match[1]), int(match[2])


def _factor(text: str) -> float:
    above, slash, below = text.partition("/")
    try:
        value = float(above) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number: write it like 1/255 or 0.5")
    return value


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(_factor(part) for part in text.split(","))


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if len(names) < 2 or len(set(names)) != len(names) or "" in names:
        raise argparse.ArgumentTypeError(f"{text!r}: at least two classes, each once, such as good,bad")
    return names


def _pair(text: str) -> tuple[str, str]:
    taken, equals, given = text.partition("=")
    if not (equals and taken and given):
        raise argparse.ArgumentTypeError(f"{text!r} is not IN=OUT, such as h_in=h_out")
    return taken, given
