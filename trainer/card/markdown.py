"""A card as Markdown, for a repository or a wiki; where the page has a plot, this has its table."""

import re
from collections.abc import Sequence

from trainer.card.blocks import Section, Table
from trainer.card.canvas import Plot

#: What Markdown, or the HTML in it, would take for more than text.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!])")


def markdown(title: str, sections: Sequence[Section]) -> bytes:
    """Return the text."""
    parts = [f"# {_plain(title)}"]
    for section in sections:
        parts.append(f"## {_plain(section.title)}")
        parts += [_block(block) for block in section.blocks if not isinstance(block, Plot)]
    return ("\n\n".join(part for part in parts if part) + "\n").encode("utf-8", "replace")


def _block(block: str | Table) -> str:
    if isinstance(block, str):
        return _plain(block)
    lines = [_row(block.head), _row(["---"] * len(block.head), plain=False), *(_row(row) for row in block.rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str], *, plain: bool = True) -> str:
    return f"| {' | '.join(_plain(cell) if plain else cell for cell in cells)} |"


def _plain(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
