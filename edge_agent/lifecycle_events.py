"""What can happen to releases on a device, and what is to be done about it: the vocabulary of `lifecycle`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from protocols.assignment import Assignment
from protocols.messages import Level
from protocols.names import ReleaseRef


@dataclass(frozen=True, slots=True)
class Started:
    """The daemon has started. `clean`: the one before it stopped in good order."""

    clean: bool


@dataclass(frozen=True, slots=True)
class Steady:
    """The daemon has run for a while since its start."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """The director has signed this for the device."""

    assignment: Assignment


@dataclass(frozen=True, slots=True)
class Fetched:
    """All files of the release are on disk, each with the length and hashes that both repositories signed."""

    ref: ReleaseRef
    attempt: int


@dataclass(frozen=True, slots=True)
class Postponed:
    """Fetching, checking or proving it failed for a reason that may pass (no link, expired metadata, a full disk)."""

    ref: ReleaseRef
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Verified:
    """Its manifest agrees with its name and with every file."""

    ref: ReleaseRef
    attempt: int


@dataclass(frozen=True, slots=True)
class Proving:
    """Its preflight has begun."""

    ref: ReleaseRef
    attempt: int


@dataclass(frozen=True, slots=True)
class Proven:
    """Its preflight passed on this hardware."""

    ref: ReleaseRef
    attempt: int
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """It must not run here: signatures disagree, files differ, it does not fit, the preflight failed."""

    ref: ReleaseRef
    attempt: int
    reason: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Activated:
    """Its session serves the model's streams now."""

    ref: ReleaseRef
    attempt: int


@dataclass(frozen=True, slots=True)
class ActivationFailed:
    """Its session could not be made in the daemon.

    `damaged`: because its files are not what they were. `unbuilt`: because it was proven with an engine that this
    device, as it is now, no longer has: a driver or ONNX Runtime has changed.
    """

    ref: ReleaseRef
    attempt: int
    reason: str
    damaged: bool = False
    unbuilt: bool = False


@dataclass(frozen=True, slots=True)
class ConfirmDue:
    """It has served for as long as the assignment asks, and nobody complained."""

    ref: ReleaseRef
    attempt: int


@dataclass(frozen=True, slots=True)
class Failing:
    """It fails on live messages, one after another."""

    ref: ReleaseRef
    reason: str


Event = (
    Started
    | Steady
    | Assigned
    | Fetched
    | Postponed
    | Verified
    | Proving
    | Proven
    | Refused
    | Activated
    | ActivationFailed
    | ConfirmDue
    | Failing
)


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring its files here, if it fits; after `tries` failures, not at once."""

    ref: ReleaseRef
    attempt: int
    tries: int = 0
    allow_fallback: bool = False


@dataclass(frozen=True, slots=True)
class Verify:
    """Check its manifest against its files; after `tries` failures, not at once."""

    ref: ReleaseRef
    attempt: int
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Prove:
    """Run its preflight; after `tries` failures, not at once."""

    ref: ReleaseRef
    attempt: int
    allow_fallback: bool
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Activate:
    """Load it and let it take over the model's streams between two batches."""

    ref: ReleaseRef
    attempt: int
    allow_fallback: bool


@dataclass(frozen=True, slots=True)
class Deactivate:
    """Nothing serves this model any more."""

    model: str


@dataclass(frozen=True, slots=True)
class Bind:
    """Make the streams those of the assignment."""

    assignment: Assignment


@dataclass(frozen=True, slots=True)
class ConfirmAfter:
    """Tell when it has served this long."""

    ref: ReleaseRef
    attempt: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Settle:
    """Its trial is over: it serves for good."""

    ref: ReleaseRef


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the registry and the log."""

    kind: str
    level: Level
    text: str
    ref: ReleaseRef | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Collect:
    """Delete every release on disk that is not among these."""

    kept: frozenset[ReleaseRef]


Action = Fetch | Verify | Prove | Activate | Deactivate | Bind | ConfirmAfter | Settle | Report | Collect
