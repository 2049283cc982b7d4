"""How fast a download asks: how many bytes may be on their way, and in blocks of which size. No I/O, no clock.

A download shares its link with the line's sensors and predictions, and must give way to them. So it measures what
its own blocks wait for in the link's queues, and keeps that wait near a target: with `window` bytes on their way and
each under way for `delay`, the link carries window / delay bytes a second (Little's law), and the window that would
wait no longer than the target is that rate times (base + target).

Source: RFC 6817, "Low Extra Delay Background Transport (LEDBAT)": the base delay, the queueing target, and yielding
to others; the step is BBR's (Cardwell et al., ACM Queue 2016), a bandwidth-delay product measured anew each round.
"""

import math
from dataclasses import dataclass, replace

from protocols.blocks import MAX_WINDOW, UNIT_BYTES

#: How long blocks may wait in the link's queues, in seconds, beyond what an idle link takes.
TARGET_S = 0.1
#: A round changes the window by no more than these factors.
_LEAST_STEP, _MOST_STEP = 0.5, 2.0
#: The first block goes alone: what it takes is what the link takes.
_FIRST_BLOCK_BYTES = 8 * 1024
#: Blocks that a window should hold: fewer, and a lost one costs much; more, and requests and headers do.
_FEWEST_BLOCKS, _USUAL_BLOCKS, _MOST_BLOCKS = 4, 8, 64


@dataclass(frozen=True, slots=True)
class Bounds:
    """The largest block (what the broker lets pass) and the largest window (what either end keeps in memory)."""

    block_bytes: int = 64 * 1024
    window_bytes: int = 4 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.block_bytes < UNIT_BYTES or self.window_bytes < self.block_bytes:
            raise ValueError(f"blocks of at most {self.block_bytes} bytes, {self.window_bytes} under way")


@dataclass(frozen=True, slots=True)
class Pace:
    """What holds now.

    Attributes:
        window_bytes: how much may be on its way.
        block_bytes: a power of two; the size of the blocks that are asked for next.
        base_s: the shortest time that a block took from request to arrival: the link with empty queues.
    """

    window_bytes: int
    block_bytes: int
    base_s: float = math.inf


def first_pace(bounds: Bounds) -> Pace:
    """Return how a download begins, on a link of which nothing is known: with one block."""
    block = min(_FIRST_BLOCK_BYTES, _power_of_two(bounds.block_bytes))
    return Pace(block, block)


def after_round(pace: Pace, delay_s: float, others_wait_s: float, bounds: Bounds, *, full: bool = True) -> Pace:
    """Return the pace after one round trip.

    Args:
        delay_s: what the round's blocks took from request to arrival.
        others_wait_s: what other messages on the link wait, beyond what they did while it was idle.
        full: whether the whole window was on its way; where it was not, the round says nothing of a larger one.
    """
    delay_s = max(delay_s, 1e-6)
    alone = pace.window_bytes <= pace.block_bytes and others_wait_s < TARGET_S
    # A lone block waits for none of ours: what it takes is what the link takes now, even where that is more.
    base_s = delay_s if alone else min(pace.base_s, delay_s)
    target_s = TARGET_S + base_s / 4
    waited_s = max(delay_s - base_s, others_wait_s)
    step = min(max((base_s + target_s) / (base_s + waited_s), _LEAST_STEP), _MOST_STEP)
    paced = replace(pace, base_s=base_s)
    return paced if step > 1 and not full else _with_window(paced, int(pace.window_bytes * step), bounds)


def after_silence(pace: Pace, bounds: Bounds) -> Pace:
    """Return the pace after nothing came: half of it, in smaller blocks, which pass where large ones may not."""
    return _with_window(pace, pace.window_bytes // 2, bounds)


def _with_window(pace: Pace, window_bytes: int, bounds: Bounds) -> Pace:
    largest = _power_of_two(min(bounds.block_bytes, bounds.window_bytes))
    block = min(pace.block_bytes, largest)
    if not block * _FEWEST_BLOCKS <= window_bytes <= block * _MOST_BLOCKS:
        block = min(max(_power_of_two(window_bytes // _USUAL_BLOCKS), UNIT_BYTES), largest)
    window_bytes = min(max(window_bytes, block), bounds.window_bytes, block * MAX_WINDOW)
    return replace(pace, window_bytes=window_bytes, block_bytes=block)


def _power_of_two(number: int) -> int:
    """Return the largest power of two that is not above `number`, at least 1."""
    return 1 << max(0, number.bit_length() - 1)
