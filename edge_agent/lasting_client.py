"""paho's client, whose thread outlives what paho and its callbacks do not foresee."""

import logging
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTErrorCode

log = logging.getLogger(__name__)

_PAUSE_S = 1.0


class LastingClient(mqtt.Client):
    """Connects anew where paho's own thread would end, and nobody would notice: the agent would stay off for good.

    `failures` counts that. It goes on where `connect_async` pointed.
    """

    failures = 0

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        while True:
            try:
                return super().loop_forever(timeout, retry_first_connection)
            except Exception:  # the link's loop: whatever one packet or one connection does, there is another
                self.failures += 1
                log.exception("the link failed in an unforeseen way; it connects anew")
                threading.Event().wait(_PAUSE_S)
                self.connect_async(self.host, self.port, self.keepalive)
