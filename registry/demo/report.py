"""What the demo measured: one structure, a table for a person, JSON for a machine."""

import msgspec
from rich.console import Console
from rich.table import Table


class ErrorReport(msgspec.Struct):
    """The live predictions' error: on unseen rows of the past, after the drift, and with the retrained model."""

    metric: str
    before: float | None = None
    drifted: float | None = None
    after: float | None = None


class ReleaseReport(msgspec.Struct):
    model: str
    version: int
    digest: str


class DemoReport(msgspec.Struct):
    """The demo's result. `closed`: every step held."""

    error: ErrorReport
    closed: bool = False
    failed: list[str] = []
    served_predictions: int = 0
    lost_predictions: int = 0
    releases: list[ReleaseReport] = []
    telemetry_bytes: int = 0
    raw_bytes: int = 0
    seconds: dict[str, float] = {}
    address: str = ""

    def encode(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def print_report(report: DemoReport, console: Console) -> None:
    """Print the table by which a person judges the loop."""
    table = Table(title="The loop, measured", title_justify="left", show_header=False, pad_edge=False)
    table.add_column("what", style="bold")
    table.add_column("value", justify="right")
    table.add_column("in words", style="dim")
    error = report.error
    for name, value, words in (
        ("before", error.before, "the first model, on rows like those that it learned from"),
        ("drifted", error.drifted, "the first model, after the conditions moved"),
        ("after", error.after, "the retrained model, on new rows of the new conditions"),
    ):
        table.add_row(f"{error.metric} {name}", "-" if value is None else f"{value:.3f}", words)
    table.add_section()
    table.add_row("predictions served", f"{report.served_predictions:,}", "answered, over both stations")
    table.add_row("predictions lost", f"{report.lost_predictions:,}", "readings with no answer, the swap included")
    table.add_row("telemetry", f"{report.telemetry_bytes:,} B", f"beside {report.raw_bytes:,} B of raw readings")
    for release in report.releases:
        table.add_row(f"{release.model}@{release.version}", release.digest[:12], "SHA-256 of the signed model")
    table.add_section()
    for step, seconds in report.seconds.items():
        table.add_row(step, f"{seconds:.1f} s", "")
    console.print(table)
    if report.closed:
        console.print("[bold green]The loop is closed:[/] every step held.")
    else:
        console.print(f"[bold red]The loop did not close:[/] {'; '.join(report.failed) or 'see above'}")
