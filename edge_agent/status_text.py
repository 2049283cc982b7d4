"""`genba agent status`: the status page for a person, with the reason wherever nothing is served."""

import time
from collections.abc import Mapping, Sequence

from edge_agent.status import StatusPage
from protocols.measuring import RunningMeasurement
from protocols.messages import Building, Fault, HeldRelease, ReleaseState, ServedStream
from protocols.placement import describe_run

#: What happens next with a release that does not serve yet, by the state that it is in.
_NEXT: dict[ReleaseState, str] = {
    "fetched": "its files are being verified",
    "verified": "it is being proven on this machine",
    "preflight": "it is being proven on this machine",
    "active": "it is being loaded",
    "confirmed": "it is being loaded",
}
#: What a stream's limit is to a person.
_LIMITS = {
    "latency_budget_ms": "latency budget {:g} ms",
    "max_batch": "batches up to {}",
    "queue_limit": "queue of {}",
    "overflow": "{} when it is full",
    "delivery": "{}",
    "contributions": "{} contributions in each prediction",
}
_GIVEN_UP: tuple[ReleaseState, ...] = ("refused", "rolled-back")


def describe(page: StatusPage, now: float) -> str:
    """Return the status for a person."""
    state = f"running (process {page.process})" if page.running else "not running"
    seen = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(page.at)) if page.at else "never"
    since = f" ({max(0, now - page.at):.0f} s ago)" if page.at else ""
    lines = [
        f"device    {page.device} at {page.site}, profile {page.profile}",
        f"agent     {state}; last heard of {seen}{since}",
        f"broker    {page.broker_url}: {'connected' if page.connected else _fault(page)}",
        f"outbox    {page.outbox_waiting} waiting, {page.outbox_dropped} dropped",
        f"revision  {page.revision}",
        *([f"http      {page.endpoint}"] if page.endpoint else []),
        *([_measuring(page.measuring, now)] if page.measuring and page.running else []),
        *[f"limits    {stream}: {_limits(limits)}" for stream, limits in page.limits.items()],
        *_unserved(page),
        "",
        *_table(
            ("STREAM", "RELEASE", "RUNS ON", "PREDICTIONS", "REJECTED", "DROPPED", "LATE"),
            [
                (
                    row.stream,
                    f"{row.model}@{row.version}" if row.version else f"{row.model}: none yet",
                    describe_run(row.asked, row.provider, row.placement) or "-",
                    str(row.predictions),
                    str(row.rejected),
                    str(row.dropped),
                    str(row.late),
                )
                for row in page.streams
            ],
        ),
        "",
        *_table(
            ("RELEASE", "STATE", "REASON"),
            [
                (f"{row.model}@{row.version}", "building" if row.building else row.state, row.reason or "")
                for row in page.releases
            ],
        ),
        *_faults(page.streams),
    ]
    if page.disk_fault:
        lines += ["", f"the disk takes nothing: {page.disk_fault}; free some space or replace it; what runs serves on"]
    if page.refused:
        counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(page.refused.items()))
        lines += ["", f"messages on the registry's topics that were of no use ({counts})"]
    if page.dropped or page.errors:
        lines += ["", f"{page.dropped} messages dropped from full queues, {page.errors} unforeseen errors outlived"]
    return "\n".join(line.rstrip() for line in lines)


def _measuring(job: RunningMeasurement, now: float) -> str:
    doing = {"waiting": "waits until what is served leaves room", "fetching": "is fetched", "measuring": "is measured"}
    return f"measuring job {job.job}: {job.model!r} {doing[job.step]}, for {max(0, now - job.since):.0f} s now"


def _fault(page: StatusPage) -> str:
    """Return why there is no connection; the address stands before it already."""
    if not page.running and page.link == "connected":
        return "was connected when the agent stopped"
    return page.link.partition(": ")[2] if page.link.startswith("broker ") else page.link or "not connected"


def _limits(limits: Mapping[str, int | float | str]) -> str:
    return ", ".join(_LIMITS[name].format(value) for name, value in limits.items() if name in _LIMITS)


def _unserved(page: StatusPage) -> list[str]:
    """One line for each stream that nothing serves: why, and what happens next."""
    if not page.running:
        return ["serving   nothing: the agent is not running; start it with `genba agent run`"]
    if not page.streams:
        why = (
            f"no stream is assigned; on the registry's side: `genba assign MODEL@VERSION {page.device} --topic ...`"
            if page.connected
            else "no stream is assigned yet, as far as this device has heard; it asks when the broker answers"
        )
        return [f"serving   nothing: {why}"]
    return [
        f"serving   nothing on stream {stream.stream!r}: {_why(page, stream)}"
        for stream in page.streams
        if not stream.version
    ] + [
        f"serving   nothing yet on stream {stream.stream!r}: its window is warming, {stream.window[0]} of "
        f"{stream.window[1]} rows"
        for stream in page.streams
        if stream.version and stream.window
    ]


def _why(page: StatusPage, stream: ServedStream) -> str:
    held = [release for release in page.releases if release.model == stream.model]
    coming = [release for release in held if release.state not in _GIVEN_UP]
    if not held:
        return f"no release of {stream.model!r} has been assigned to this device"
    release = max(coming or held, key=lambda one: one.version)
    reason = f" ({release.reason})" if release.reason else ""
    return f"{release.model}@{release.version} is {release.state}{reason}; {_next(page, release)}"


def _next(page: StatusPage, release: HeldRelease) -> str:
    if release.state in _GIVEN_UP:
        again = f"genba assign {release.model}@{release.version} {page.device}"
        return f"it is not tried again until somebody asks for it: `{again}`"
    if release.building is not None:
        return f"its engine is being compiled, {_progress(release.building)}"
    if release.state != "assigned":
        return _NEXT[release.state]
    if not page.connected:
        return "it is fetched as soon as the broker answers"
    return "it is being fetched; a try that fails is repeated by itself"


def _progress(building: Building) -> str:
    share = f", about {building.share:.0%} done" if building.share is not None else ""
    return f"for {building.seconds:.0f} s now, of {building.limit_s:.0f} s at most{share}"


def _faults(streams: tuple[ServedStream, ...]) -> list[str]:
    rows = [
        (row.stream, str(fault.count), fault.reason, _clock(fault.last_at) if fault.last_at else "", fault.text)
        for row in streams
        for fault in (*row.faults, *_others(row))
    ]
    return ["", *_table(("STREAM", "REJECTED", "BECAUSE", "LAST", "ONE OF THEM"), rows)] if rows else []


def _others(stream: ServedStream) -> list[Fault]:
    """What the rejected messages come to beyond those that are listed: of more different faults, the last are kept."""
    count = stream.rejected - sum(fault.count for fault in stream.faults)
    return [Fault("others", "for reasons that were last seen before these", count, 0)] if count > 0 else []


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
