"""The link to the broker: paho-mqtt with a persistent session, a patient reconnect, and bounded memory."""

import contextlib
import hashlib
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from protocols.broker import BrokerAddress
from protocols.messages import Block, encode
from protocols.topics import ALL_UP, DeviceTopics
from registry.mqtt.secured import Secured

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
_FIRST_DELAY_S, _LONGEST_DELAY_S = 1, 30
#: Bytes of blocks that may be on their way to the broker.
ON_THEIR_WAY_BYTES = 8 * 1024 * 1024


class Link:
    """The registry's one session with the broker. Thread-safe.

    That the broker is away is one line in the log, and no error: it is tried again until it is back.

    Args:
        home: the registry's home; the session is named after it, so the broker keeps what comes while nobody listens.
        deliver: takes each message, in the network thread; it may block, and the broker then waits.
    """

    def __init__(self, home: Path, address: BrokerAddress, deliver: Callable[[mqtt.MQTTMessage], None]) -> None:
        self._address = address
        self._deliver = deliver
        self._on_their_way: deque[tuple[mqtt.MQTTMessageInfo, int]] = deque()
        self._on_their_way_bytes = 0
        self._sending = threading.Lock()
        self._subscribed = threading.Event()
        self._stopping = self._away = False
        self.sessions = 0
        name = "genba-registry-" + hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:12]
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, name, clean_session=False, manual_ack=True)
        self._client.max_inflight_messages_set(256)
        self._client.reconnect_delay_set(_FIRST_DELAY_S, _LONGEST_DELAY_S)
        self._secured = Secured(home) if address.secure else None
        if self._secured is not None:
            self._client.tls_set_context(self._secured.context)
            self._client.on_pre_connect = self._secured.renew
        self._client.on_connect, self._client.on_connect_fail = self._on_connect, self._on_connect_fail
        self._client.on_subscribe, self._client.on_disconnect = self._on_subscribe, self._on_disconnect
        self._client.on_message, self._client.on_publish = self._on_message, _acknowledge_at_once
        self._client.on_socket_open = _send_at_once

    @property
    def up(self) -> bool:
        """Connected and subscribed."""
        return self._subscribed.is_set()

    def start(self) -> None:
        """Connect in the background."""
        self._client.connect_async(self._address.host, self._address.port, keepalive=KEEPALIVE_S)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect in good order; what was not acknowledged comes again to the next service."""
        self._stopping = True
        self._client.disconnect()
        self._client.loop_stop()

    def acknowledge(self, message: mqtt.MQTTMessage) -> None:
        """Let the broker forget a message."""
        self._client.ack(message.mid, message.qos)

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> bool:
        """Hand a message over at QoS 1; False while there is no link."""
        if not self._client.is_connected():
            return False
        return self._client.publish(topic, payload, qos=1, retain=retain).rc == mqtt.MQTT_ERR_SUCCESS

    def send_block(self, site: str, device: str, block: Block) -> bool:
        """Publish a block, after waiting while too many bytes are on their way; False while there is no link."""
        with self._sending:
            while self._on_their_way and self._on_their_way[0][0].is_published():
                self._on_their_way_bytes -= self._on_their_way.popleft()[1]
            while self._on_their_way_bytes > ON_THEIR_WAY_BYTES:
                if self._stopping or not self._client.is_connected():
                    return False
                self._on_their_way[0][0].wait_for_publish(0.2)
                while self._on_their_way and self._on_their_way[0][0].is_published():
                    self._on_their_way_bytes -= self._on_their_way.popleft()[1]
            if not self._client.is_connected():
                return False
            sent = self._client.publish(DeviceTopics(site, device).down("blocks"), encode(block), qos=1)
            if sent.rc == mqtt.MQTT_ERR_SUCCESS:
                self._on_their_way.append((sent, len(block.data)))
                self._on_their_way_bytes += len(block.data)
            return sent.rc == mqtt.MQTT_ERR_SUCCESS

    def _on_connect(self, client: mqtt.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._lost(f"the connection is refused: {reason}")
        else:
            client.subscribe(ALL_UP, 1)

    def _on_subscribe(self, client: mqtt.Client, data: Any, mid: int, reasons: Any, properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self._lost(f"the subscription to {ALL_UP} is refused")
            return
        self._away = False
        self.sessions += 1
        self._subscribed.set()
        log.info("connected to the broker", extra={"broker": self._address.url})

    def _on_connect_fail(self, client: mqtt.Client, data: Any) -> None:
        self._lost(self._fault() or "nothing answers")

    def _on_disconnect(self, client: mqtt.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._lost(self._fault() or str(reason))

    def _fault(self) -> str | None:
        return self._secured.fault(self._address.host) if self._secured is not None else None

    def _lost(self, reason: str) -> None:
        self._subscribed.clear()
        if not self._away and not self._stopping:
            self._away = True  # said once: the next line says that it is back
            log.error("broker %s is away: %s; trying again until it is back", self._address.url, reason)

    def _on_message(self, client: mqtt.Client, data: Any, message: mqtt.MQTTMessage) -> None:
        self._deliver(message)


def _send_at_once(client: mqtt.Client, data: Any, connection: Any) -> None:
    """Without this a lone block waits up to 40 ms, until the broker's kernel has acknowledged what went before it."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _acknowledge_at_once(client: mqtt.Client, data: Any, mid: int, reason: Any, properties: Any) -> None:
    """Acknowledge the broker's acknowledgement at once: a broker may hold the next request for it (Nagle)."""
    connection: Any = client.socket()
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
