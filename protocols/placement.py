"""Which execution provider was asked for, and which one took a model's nodes: one line that says both."""

from collections.abc import Mapping
from typing import NamedTuple


class Ran(NamedTuple):
    """What one session asked for and got; `placement` is provider -> nodes."""

    asked: str
    provider: str
    placement: dict[str, int]


_ENDING = "ExecutionProvider"


def short_name(provider: str) -> str:
    """Return a provider's name without its ending: `CPU`, `CUDA`, `OpenVINO`."""
    return provider.removesuffix(_ENDING)


def describe_run(asked: str, ran: str, placement: Mapping[str, int]) -> str:
    """Return what runs a model for a person: `CPU: all 6 nodes`, `asked CUDA, ran CPU: 9 of 10 nodes (CUDA 1)`.

    Args:
        asked: the provider that was wanted; empty where an agent does not tell.
        ran: the one that holds most nodes.
        placement: provider -> nodes; empty, or all zero, where the ONNX Runtime does not tell.
    """
    name = short_name(ran)
    who = f"asked {short_name(asked)}, ran {name}" if asked and asked != ran else name
    nodes = sum(placement.values())
    if not nodes:
        return who
    mine = placement.get(ran, 0)
    if mine == nodes:
        return f"{who}: all {nodes} nodes" if nodes > 1 else f"{who}: its one node"
    others = ", ".join(
        f"{short_name(each)} {count}" for each, count in sorted(placement.items()) if each != ran and count
    )
    return f"{who}: {mine} of {nodes} nodes ({others})"
