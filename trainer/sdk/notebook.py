"""What a notebook shows of a trained model: HTML and SVG in which every text of the user's is escaped."""

from collections.abc import Iterator, Sequence
from html import escape

from protocols.manifest import Manifest
from trainer.card.blocks import Block, Section, Table, metric_word
from trainer.card.canvas import Plot
from trainer.card.content import sections
from trainer.card.page import fragment
from trainer.card.plots import importance_plot
from trainer.report import Report, describe

#: Rows of each table in the summary; the data frames have them all.
SHOWN = 6


class Picture:
    """A plot: `title` says what it shows, `svg` is the picture."""

    def __init__(self, plot: Plot) -> None:
        self.title, self.svg = plot.title, plot.svg

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<plot: {self.title}>"


class Pictures(tuple[Picture, ...]):
    """Plots, in the order of the card; a notebook shows them all."""

    def _repr_html_(self) -> str:
        return "".join(f"<figure>{one.svg}</figure>" for one in self)


class Page:
    """A page of text, tables and plots, to be shown within a notebook. `html` is a fragment without scripts."""

    def __init__(self, html: str) -> None:
        self.html = html

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"<page of {len(self.html)} characters; a notebook shows it>"


def card_page(manifest: Manifest, report: Report) -> Page:
    """Return the model card; of an imported model, which has none, its report."""
    if report.card is None:
        return Page(f"<pre>{escape(describe(report, manifest))}</pre>")
    return Page(f"<h1>Model card: {escape(manifest.model)}</h1>{fragment(_card(manifest, report))}")


def pictures(manifest: Manifest, report: Report) -> Pictures:
    """Return every plot of the card."""
    blocks = [block for section in _card(manifest, report) for block in section.blocks]
    return Pictures(Picture(block) for block in blocks if isinstance(block, Plot))


def summary_page(manifest: Manifest, report: Report) -> Page:
    """Return what a person wants to know at once: how good it is, why, and what the checks found."""
    of_what = f" of {manifest.target!r}" if manifest.target else ""
    title = f"{manifest.model}: {manifest.task}{of_what}, {manifest.lineage.rows} rows"
    told = Section(title, tuple(_summary(manifest, report)))
    return Page(f"<div>{fragment([told])}</div>")


def _card(manifest: Manifest, report: Report) -> Sequence[Section]:
    return [] if report.card is None else sections(manifest, report.guardrails, report.card)


def _summary(manifest: Manifest, report: Report) -> Iterator[Block]:
    if report.metrics:
        yield _figures(report)
    if manifest.importance:
        yield importance_plot(manifest.importance[:SHOWN])
    if report.trials:
        rows = [(f"{one.loss:.4g}", str(one.parameters.get("family"))) for one in report.trials[:SHOWN]]
        yield Table(("Loss on unseen rows", f"Best of {len(report.trials)} models"), tuple(rows))
    found = [rail for rail in report.guardrails if rail.state != "passed"]
    if found:
        lines = [(one.check, one.state, "; ".join(one.seen[:2]), one.done) for one in found]
        yield Table(("Check", "State", "Seen", "Done"), tuple(lines))
    proof = "computes what the model computes" if report.parity.passed else "DOES NOT compute what the model computes"
    size = manifest.files["model.onnx"].size_bytes
    latency = manifest.footprint.latency_p50_ms
    yield f"The ONNX graph {proof}: {size / 1000:.0f} kB, {latency:.3f} ms a row on this machine."


def _figures(report: Report) -> Table:
    """The held-out figures, beside those of the simplest answer where they are known."""
    simple = {} if report.card is None else report.card.baseline.metrics
    rows = [
        (metric_word(name), f"{value:.4g}", f"{simple[name]:.4g}" if name in simple else "")
        for name, value in report.metrics.items()
    ]
    return Table(("On held-out rows", "Model", "Simplest answer"), tuple(rows))
