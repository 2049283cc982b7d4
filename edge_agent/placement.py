"""What a session really runs on: which provider took which of the graph's nodes, and whether that may be."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from edge_agent.errors import FallbackError

#: Nodes of one provider that a refusal names; the rest it counts.
_NAMED = 6


class Node(NamedTuple):
    """One node as ONNX Runtime placed it: its operator, and its name, which may be empty."""

    operator: str
    name: str

    def __str__(self) -> str:
        return f"{self.operator} {self.name}".rstrip()


def read_placement(session: Any) -> dict[str, list[Node]]:
    """Return provider -> the nodes that it took.

    The nodes are those of the graph as it was when they were given out. An ONNX Runtime before 1.24 does not tell
    them; then the session's first provider stands there with none.
    """
    first = session.get_providers()[0]
    try:
        parts = session.get_provider_graph_assignment_info()
    except (AttributeError, RuntimeError):
        return {first: []}
    placed: dict[str, list[Node]] = {}
    for part in parts:
        nodes = placed.setdefault(part.ep_name, [])
        nodes += [Node(node.op_type, node.name) for node in part.get_nodes()]
    return placed or {first: []}


def check_placement(placed: Mapping[str, list[Node]], wanted: str, *, allow_fallback: bool) -> str:
    """Return the provider that holds most nodes, if it is the wanted one or another is allowed.

    Raises:
        FallbackError: it is another; the text names it and its nodes.
    """
    real = max(placed, key=lambda name: (len(placed[name]), name == wanted))
    if real != wanted and not allow_fallback:
        raise FallbackError(
            f"{wanted} was asked for, and ONNX Runtime placed {describe_placement(placed)}; "
            "assign it with allow_fallback to accept that",
            wanted,
            real,
            {provider: len(nodes) for provider, nodes in placed.items()},
        )
    return real


def describe_placement(placed: Mapping[str, list[Node]]) -> str:
    """Return provider, count and nodes for a person, most nodes first."""
    ordered = sorted(placed.items(), key=lambda item: (-len(item[1]), item[0]))
    return ", ".join(_share(provider, nodes) for provider, nodes in ordered)


def _share(provider: str, nodes: list[Node]) -> str:
    if not nodes:
        return f"{provider} 0 nodes"
    named = ", ".join(map(str, nodes[:_NAMED]))
    more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
    return f"{provider} {len(nodes)} {'node' if len(nodes) == 1 else 'nodes'} ({named}{more})"
