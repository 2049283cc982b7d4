"""A card as Markdown, for a repository or a wiki.

Where the page has a plot, this has its title, and its curve as a column of characters in the table below. The page's
SVG in a `data:` address would be the same picture in one file, yet GitHub strips such an address, and so do markdown-it
and cmark where they are not told otherwise: nothing would be left. Characters are shown everywhere, offline, by `less`
and in a mail as well.
"""

import re
from collections.abc import Sequence

from trainer.card.blocks import Block, Section, Table
from trainer.card.canvas import Plot

#: What Markdown, or the HTML in it, would take for more than text.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!])")


def markdown(title: str, sections: Sequence[Section]) -> bytes:
    """Return the text."""
    parts = [f"# {_plain(title)}"]
    for section in sections:
        parts.append(f"## {_plain(section.title)}")
        parts += [_block(block) for block in section.blocks]
    return ("\n\n".join(part for part in parts if part) + "\n").encode("utf-8", "replace")


def _block(block: Block) -> str:
    if isinstance(block, str):
        return _plain(block)
    if isinstance(block, Plot):
        return f"**{_plain(block.title)}**"
    return _table(block)


def _table(table: Table) -> str:
    head = [_plain(cell) for cell in (*table.head, *(strip.head for strip in table.strips))]
    rows = [[_plain(cell) for cell in row] for row in table.rows]
    for strip in table.strips:
        for row, drawn in zip(rows, strip.cells, strict=True):
            row.append(f"`{drawn}`" if drawn else "")  # as code, so that all characters are of one width
    return "\n".join(_row(cells) for cells in (head, ["---"] * len(head), *rows))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
