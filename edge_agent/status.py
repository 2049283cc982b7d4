"""What the agent says of itself to the machine it runs on: HOME/status.json, and `genba agent status`."""

import time

import msgspec

from edge_agent.disk import write_atomic
from edge_agent.errors import HomeError
from edge_agent.settings import AgentHome, Settings, lock_holder
from protocols.messages import HeldRelease, ServedStream

#: A page older than this was not written by a loop that turns; it is renewed six times as often.
_STALE_S = 60.0


class StatusPage(msgspec.Struct, frozen=True):
    """status.json. `dropped`: sensor messages that no longer fitted a queue; `errors`: unforeseen faults outlived."""

    at: float
    device: str
    site: str
    profile: str
    broker_url: str
    connected: bool
    link: str
    revision: int
    streams: tuple[ServedStream, ...]
    releases: tuple[HeldRelease, ...]
    outbox_waiting: int
    outbox_dropped: int
    dropped: int
    errors: int
    running: bool = True
    process: int | None = None


def write_status(home: AgentHome, page: StatusPage) -> None:
    """Replace status.json; not made durable, since the next one follows in seconds."""
    write_atomic(home.status, msgspec.json.encode(page), durable=False)


def read_status(home: AgentHome) -> StatusPage:
    """Return the newest status, with `running` and `process` as they are now.

    Raises:
        HomeError: not enrolled; the text says what to do.
    """
    settings = home.settings()
    holder = lock_holder(home)
    try:
        page = msgspec.json.decode(home.status.read_bytes(), type=StatusPage)
    except (OSError, msgspec.DecodeError):
        if holder is None:
            raise HomeError(
                f"the agent of {home.folder} has never run; start it with `genba agent run --home {home.folder}`"
            ) from None
        page = _unheard(settings)
    running = holder is not None
    return msgspec.structs.replace(page, running=running, process=holder or None, connected=page.connected and running)


def is_alive(page: StatusPage, now: float) -> bool:
    """Return whether the agent runs and its loop, which renews the page every few seconds, still turns."""
    return page.running and now - page.at < _STALE_S


def _unheard(settings: Settings) -> StatusPage:
    return StatusPage(
        at=0,
        device=settings.device,
        site=settings.site,
        profile=settings.profile,
        broker_url=settings.broker_url,
        connected=False,
        link="starting",
        revision=0,
        streams=(),
        releases=(),
        outbox_waiting=0,
        outbox_dropped=0,
        dropped=0,
        errors=0,
    )


def describe(page: StatusPage, now: float) -> str:
    """Return the status for a person."""
    state = f"running (process {page.process})" if page.running else "not running"
    seen = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(page.at)) if page.at else "never"
    lines = [
        f"device    {page.device} at {page.site}, profile {page.profile}",
        f"agent     {state}; last heard of {seen} ({max(0, now - page.at):.0f} s ago)",
        f"broker    {page.broker_url}: {'connected' if page.connected else page.link or 'not connected'}",
        f"outbox    {page.outbox_waiting} waiting, {page.outbox_dropped} dropped",
        f"revision  {page.revision}",
        "",
        *_table(
            ("STREAM", "RELEASE", "PROVIDER", "PREDICTIONS", "REJECTED"),
            [
                (
                    row.stream,
                    f"{row.model}@{row.version}" if row.version else f"{row.model}: none yet",
                    row.provider.removesuffix("ExecutionProvider") or "-",
                    str(row.predictions),
                    str(row.rejected),
                )
                for row in page.streams
            ],
        ),
        "",
        *_table(
            ("RELEASE", "STATE", "REASON"),
            [(f"{row.model}@{row.version}", row.state, row.reason or "") for row in page.releases],
        ),
    ]
    if page.dropped or page.errors:
        lines += ["", f"{page.dropped} messages dropped from full queues, {page.errors} unforeseen errors outlived"]
    return "\n".join(line.rstrip() for line in lines)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
