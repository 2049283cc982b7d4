"""What the agent says of itself to the machine it runs on: HOME/status.json."""

import msgspec

from edge_agent.disk import write_atomic
from edge_agent.errors import HomeError
from edge_agent.settings import AgentHome, Settings, lock_holder
from protocols.measuring import RunningMeasurement
from protocols.messages import HeldRelease, ServedStream

#: A page older than this was not written by a loop that turns; it is renewed six times as often.
_STALE_S = 60.0


class StatusPage(msgspec.Struct, frozen=True):
    """status.json. `dropped`: sensor messages that no longer fitted a queue; `errors`: unforeseen faults outlived.

    `endpoint`: the address of the HTTP endpoint, or why it is not open; empty where there is to be none.
    `disk_fault`: why the disk takes nothing now; empty while it does. `refused`: messages on the registry's topics
    that were of no use, by reason. `limits`: what a stream asks for beyond its topics, where it does.
    `measuring`: the measuring job in hand.
    """

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
    disk_fault: str = ""
    endpoint: str = ""
    refused: dict[str, int] = {}
    limits: dict[str, dict[str, int | float | str]] = {}
    running: bool = True
    process: int | None = None
    measuring: RunningMeasurement | None = None


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
