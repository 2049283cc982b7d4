"""The MQTT topics that registry and agent share.

All lie under `genba/1/<site>/<device>/`: what the device writes under `up/`, what it reads under `down/`, so
that one ACL pattern confines a device. The `1` is the version of this layout: it changes only when an old
and a new side could no longer understand each other.
"""

from dataclasses import dataclass
from typing import Literal

from protocols.names import check_name

PREFIX = "genba/1"

Up = Literal["status", "telemetry", "event", "blocks", "renewal"]
Down = Literal["assignment", "blocks", "ack", "renewal", "measuring"]
UP_CHANNELS: tuple[Up, ...] = ("status", "telemetry", "event", "blocks", "renewal")
DOWN_CHANNELS: tuple[Down, ...] = ("assignment", "blocks", "ack", "renewal", "measuring")

#: What the registry's MQTT service subscribes to.
ALL_UP = f"{PREFIX}/+/+/up/#"
#: Where it speaks.
ALL_DOWN = f"{PREFIX}/+/+/down/#"


@dataclass(frozen=True, slots=True)
class DeviceTopics:
    """The topics of one device.

    Raises:
        NameRefusedError: site or device cannot be a topic level.
    """

    site: str
    device: str

    def __post_init__(self) -> None:
        check_name("site", self.site)
        check_name("device", self.device)

    @property
    def base(self) -> str:
        return f"{PREFIX}/{self.site}/{self.device}"

    def up(self, channel: Up) -> str:
        return f"{self.base}/up/{channel}"

    def down(self, channel: Down) -> str:
        return f"{self.base}/down/{channel}"

    @property
    def all_up(self) -> str:
        """Everything that the agent writes."""
        return f"{self.base}/up/#"

    @property
    def all_down(self) -> str:
        """What the agent subscribes to."""
        return f"{self.base}/down/#"


def parse_up(topic: str) -> tuple[str, str, str] | None:
    """Return (site, device, channel) of a topic that a device writes, or None if it is not one."""
    levels = topic.split("/")
    if len(levels) != 6 or "/".join(levels[:2]) != PREFIX or levels[4] != "up" or levels[5] not in UP_CHANNELS:
        return None
    return levels[2], levels[3], levels[5]
