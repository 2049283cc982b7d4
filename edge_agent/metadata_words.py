"""What the agent and the process that reads its metadata say to each other: frames of MessagePack on two pipes.

The agent orders (`Begin`, `Refresh`, `Find`) and waits for the answer; until it comes, the child may ask back for a
resource (`Ask`) or for the time (`AskTime`), as often as it likes.
"""

import struct
from typing import Any, Literal

import msgspec

from edge_agent.signed_metadata import Refreshed, SignedTarget
from protocols.resources import Repository

#: Four bytes before each frame: its length.
HEAD = struct.Struct(">I")


class Begin(msgspec.Struct, frozen=True, tag=True):
    """Whose metadata is meant; nothing answers it."""

    folder: str
    image_root: bytes
    director_root: bytes


class Refresh(msgspec.Struct, frozen=True, tag=True):
    """Bring a repository's metadata up to date; `Fresh` or `Failed` answers."""

    repository: Repository


class Find(msgspec.Struct, frozen=True, tag=True):
    """Look for a target; `Found` or `Failed` answers."""

    repository: Repository
    path: str


class Data(msgspec.Struct, frozen=True, tag=True):
    """The resource that was asked for."""

    data: bytes


class NoData(msgspec.Struct, frozen=True, tag=True):
    """It cannot be had: `status` is HTTP's where the registry says so. `longer`: it is longer than it may be."""

    reason: str
    status: int = 0
    longer: bool = False


class Time(msgspec.Struct, frozen=True, tag=True):
    """The time by which expiry is judged, in seconds since 1970."""

    at: float


class Ask(msgspec.Struct, frozen=True, tag=True):
    """A resource is needed, of so many bytes at most; `Data` or `NoData` answers."""

    url: str
    limit_bytes: int


class AskTime(msgspec.Struct, frozen=True, tag=True):
    """The time is needed; `Time` answers."""

    repository: Repository
    root_version: int


class Fresh(msgspec.Struct, frozen=True, tag=True):
    refreshed: Refreshed


class Found(msgspec.Struct, frozen=True, tag=True):
    target: SignedTarget | None


class Failed(msgspec.Struct, frozen=True, tag=True):
    """An error of the agent's own kinds, or of the disk's."""

    kind: Literal["trust", "transfer", "final", "disk"]
    what: str
    reason: str
    status: int = 0


Said = Begin | Refresh | Find | Data | NoData | Time
Answered = Ask | AskTime | Fresh | Found | Failed


def packed(word: Any) -> bytes:
    """Return a word as a frame. What metadata may say has a form in MessagePack (`protocols.metadata_form`)."""
    body = msgspec.msgpack.encode(word)
    return HEAD.pack(len(body)) + body
