"""What a card is made of, whatever it looks like: headings, sentences, tables, plots."""

from dataclasses import dataclass

from trainer.card.canvas import Plot
from trainer.card.strips import Strip


@dataclass(frozen=True, slots=True)
class Table:
    """Text in cells, the first column being the row's name.

    Attributes:
        strips: what a plot of it shows, drawn with characters; for forms of a card that show no `Plot`.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strips: tuple[Strip, ...] = ()


Block = str | Table | Plot


@dataclass(frozen=True, slots=True)
class Section:
    """One heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


def metric_word(metric: str) -> str:
    """Return a metric's name as people write it."""
    words = {"rmse": "RMSE", "mae": "mean absolute error", "r2": "R²", "roc_auc": "ROC AUC"}
    return words.get(metric, metric.replace("_", " "))
