"""A card as one HTML file: it loads nothing, runs nothing, and can be mailed, printed and archived."""

from collections.abc import Sequence
from html import escape

from trainer.card.blocks import Section, Table
from trainer.card.canvas import Plot

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#223}"
    "table{border-collapse:collapse;margin:.8rem 0;font-size:.9rem;display:block;overflow-x:auto}"
    "th,td{border-bottom:1px solid #ccd;padding:.25rem .6rem;text-align:left;vertical-align:top}"
    "svg{max-width:100%;height:auto;margin:.6rem 0}h2{margin-top:2rem}"
)
#: No script, nothing from elsewhere: what a column's name may hold stays text even where escaping should fail.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html(title: str, sections: Sequence[Section]) -> bytes:
    """Return the page."""
    body = fragment(sections)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )
    return page.encode("utf-8", "replace")


def fragment(sections: Sequence[Section]) -> str:
    """Return the sections alone, to be shown within another page."""
    return "".join(_section(section) for section in sections)


def _section(section: Section) -> str:
    return f"<section><h2>{escape(section.title)}</h2>{''.join(_block(block) for block in section.blocks)}</section>"


def _block(block: str | Table | Plot) -> str:
    if isinstance(block, str):
        return f"<p>{escape(block)}</p>"
    if isinstance(block, Plot):
        return f"<figure>{block.svg}</figure>"
    head = "".join(f"<th>{escape(cell)}</th>" for cell in block.head)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in block.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
