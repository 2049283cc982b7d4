"""Where what the link hears goes: blocks to the download, control messages to the daemon, the rest to the streams."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.streams import StreamEngine
from edge_agent.transfer import BlockClient
from protocols.errors import MessageRefusedError
from protocols.messages import DOWN, Ack, AssignmentChanged, Block, MeasuringChanged, decode
from protocols.renewal import RenewalReply
from protocols.topics import DOWN_CHANNELS, DeviceTopics

log = logging.getLogger(__name__)

#: Events that may wait for the daemon before further control messages are dropped; the registry repeats them.
MOST_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The broker took us."""


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The broker is not there, or no longer."""

    reason: str


@dataclass(frozen=True, slots=True)
class Heard:
    """A message of the registry for the daemon."""

    message: Ack | AssignmentChanged | MeasuringChanged | RenewalReply


class Switchboard:
    """Listens to the link, in the link's thread. What is no message of ours goes no further: it is counted.

    `refused` counts by reason: the channel whose message could not be read, `unknown-topic`, `unreadable-topic`
    (no UTF-8), `overrun`.

    Args:
        tell: takes what is for the daemon; `waiting` says how much it has not come to yet.
    """

    def __init__(
        self,
        topics: DeviceTopics,
        tell: Callable[[LinkUp | LinkDown | Heard], None],
        waiting: Callable[[], int],
        engine: StreamEngine,
        blocks: BlockClient,
    ) -> None:
        self._channels = {topics.down(channel): channel for channel in DOWN_CHANNELS}
        self._ours = topics.base + "/"
        self._tell, self._waiting, self._engine, self._blocks = tell, waiting, engine, blocks
        self.refused: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, int]:
        """Return what was refused here, and the blocks that were of no use to the download, by reason."""
        return {**self.refused, **{f"block-{reason}": count for reason, count in self._blocks.counts.items()}}

    def link_up(self) -> None:
        self._blocks.link_up()
        self._tell(LinkUp())

    def link_down(self, reason: str) -> None:
        self._tell(LinkDown(reason))

    def message(self, topic: str, payload: bytes) -> None:
        channel = self._channels.get(topic)
        if channel is not None:
            try:
                self._pass_on(decode(DOWN[channel], payload))  # type: ignore[type-var]
            except MessageRefusedError as error:
                self._refuse(channel, str(error))
        elif topic.startswith(self._ours):
            self._refuse("unknown-topic", topic[:200])
        else:
            self._engine.offer(topic, payload)

    def unreadable(self, topic: bytes) -> None:
        self._refuse("unreadable-topic", repr(topic[:200]))

    def _pass_on(self, message: Block | AssignmentChanged | MeasuringChanged | Ack | RenewalReply) -> None:
        if isinstance(message, Block):
            self._blocks.arrived(message)
        elif self._waiting() >= MOST_WAITING:
            self._refuse("overrun", f"{MOST_WAITING} events wait already")
        else:
            self._tell(Heard(message))

    def _refuse(self, reason: str, text: str) -> None:
        self.refused[reason] += 1
        count = self.refused[reason]
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th ...: a flood of them fills no log
            log.warning("a message was refused: %s", text, extra={"reason": reason, "refused": count})
