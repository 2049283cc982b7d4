"""The link to the broker: paho-mqtt, with a persistent session, a last will, TLS and a patient reconnect."""

import contextlib
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.errors import LinkError
from edge_agent.lasting_client import LastingClient
from edge_agent.latency import Latency
from edge_agent.receipts import Receipt
from protocols.broker import BrokerAddress
from protocols.handshake import Faults, explain

log = logging.getLogger(__name__)

_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 60.0
#: Predictions that may be on their way to the broker without its acknowledgement. More than any broker's window of
#: sensor messages, so that a prediction is always sent before the message that it answers is acknowledged.
_IN_FLIGHT = 20_000
KEEPALIVE_S = 30


#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME.
_NO_CHECK_TIME = 0x200000
_RENEW = "enrol it anew (`genba registry token ... --replace`)"


@dataclass(frozen=True, slots=True)
class Identity:
    """The device's key and certificate (one PEM file), and the authority that signed the broker's.

    `begins_at` is when the certificate begins: a clock that is before it is wrong for certain.
    """

    pair: Path
    ca: Path
    begins_at: float = 0.0


@dataclass(slots=True)
class Traffic:
    """What went over a link since it was made: messages, and the bytes of their payloads."""

    sent: int = 0
    sent_bytes: int = 0
    heard: int = 0
    heard_bytes: int = 0


class LinkListener(Protocol):
    """What the link tells, from its own thread; nothing here may block or raise."""

    def link_up(self) -> None:
        """Connected; subscriptions are asked for."""

    def link_down(self, reason: str) -> None:
        """Not connected, or no longer."""

    def message(self, topic: str, payload: bytes) -> None:
        """A message on a subscribed topic."""

    def unreadable(self, topic: bytes) -> None:
        """A message whose topic is no text."""


class Link:
    """One persistent MQTT session. Thread-safe: paho queues what is published from any thread.

    Args:
        client_id: `<site>.<device>`; the broker keeps this session's messages while the device is away.
        will: topic and payload that the broker publishes, retained, when the device vanishes.
        first_delay_s: wait before the first reconnect, doubled up to a minute, half of it random.
        keep: offered each message before the listener; where it returns True, the message stays with the broker until
            its receipt is settled. All others are acknowledged as they come.
    """

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        will: tuple[str, bytes],
        listener: LinkListener,
        *,
        identity: Identity | None = None,
        first_delay_s: float = _FIRST_DELAY_S,
        jitter: Callable[[], float] = random.random,
        keep: Callable[[str, bytes, Receipt], bool] = lambda topic, payload, receipt: False,
    ) -> None:
        self._address, self._listener = address, listener
        self._identity, self._faults, self._taken = identity, Faults(), False
        self._first_delay_s, self._jitter = first_delay_s, jitter
        self._keep = keep
        self._connection = 0
        self._failures = 0
        self._paused = False
        self.latency = Latency()
        self._topics: frozenset[str] = frozenset()
        self._lock, self._receipts = threading.Lock(), threading.Lock()
        self.traffic = Traffic()
        self._last: mqtt.MQTTMessageInfo | None = None
        self._client = LastingClient(CallbackAPIVersion.VERSION2, client_id, clean_session=False, manual_ack=True)
        self._client.max_inflight_messages_set(_IN_FLIGHT)
        self._client.will_set(will[0], will[1], qos=1, retain=True)
        if address.secure:
            if identity is None:
                raise LinkError("mqtts:// needs the device's key and certificate; enrol the device again")
            self._set_identity(identity)
        self._client.on_socket_open = _send_at_once
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish

    def _set_identity(self, identity: Identity) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._faults.watch(context)
        self._strict = context.verify_flags
        try:
            context.load_verify_locations(identity.ca)
            context.load_cert_chain(identity.pair)
            self._client.tls_set_context(context)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise LinkError(f"the device's key or certificate cannot be used: {error}; enrol it again") from error

        self._context = context
        self._client.on_pre_connect = self._on_pre_connect

    def renewed(self) -> None:
        """Show the certificate that is in the file now, from the next connection on."""
        if self._identity is not None and self._address.secure:
            self._context.load_cert_chain(self._identity.pair)
            self._faults.last = None

    @property
    def turned_away(self) -> bool:
        """Whether the broker says that the device's certificate has expired."""
        return "CERTIFICATE_EXPIRED" in (getattr(self._faults.last, "reason", None) or "")

    @property
    def errors(self) -> int:
        """Unforeseen faults that were outlived."""
        return self._client.failures

    @property
    def connected(self) -> bool:
        return self._client.is_connected()

    def start(self) -> None:
        """Connect in the background, and again whenever the link is lost. A broker that is not there is no error."""
        self._back_off()
        self._client.connect_async(self._address.host, self._address.port, keepalive=KEEPALIVE_S)
        self._client.loop_start()

    def pause(self) -> None:
        """Take no more messages; the broker keeps them for the agent that comes after this one."""
        self._paused = True

    def stop(self, timeout_s: float) -> None:
        """Wait until the broker has what was published, at most `timeout_s`, then disconnect in good order."""
        last = self._last
        if last is not None and self.connected:
            try:
                last.wait_for_publish(timeout_s)
            except (ValueError, RuntimeError):
                log.debug("the last message was not taken by the broker")
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hand a message over at QoS 1; while the link is down it waits in memory."""
        with self._lock:
            self.traffic.sent += 1
            self.traffic.sent_bytes += len(payload)
        self._last = self._client.publish(topic, payload, qos=1, retain=retain)
        self.latency.sent(self._last)

    def ask(self, topic: str, payload: bytes) -> bool:
        """Publish what is of use only now, at QoS 0, and return whether there is a link."""
        return self.connected and self._client.publish(topic, payload, qos=0).rc == mqtt.MQTT_ERR_SUCCESS

    def subscribe(self, topics: frozenset[str]) -> None:
        """Make these the subscriptions, now and after every reconnect."""
        with self._lock:
            gone, self._topics = self._topics - topics, topics
            if self.connected:
                self._ask(topics)
                if gone:
                    self._client.unsubscribe(sorted(gone))

    def _ask(self, topics: frozenset[str]) -> None:
        if topics:
            self._client.subscribe([(topic, 1) for topic in sorted(topics)])

    def _on_pre_connect(self, client: mqtt.Client, data: Any) -> None:
        """A clock that is before the device's own certificate would take every broker's for one of the future."""
        self._taken = False
        wrong = self._identity is not None and time.time() < self._identity.begins_at
        self._context.verify_flags = ssl.VerifyFlags(self._strict | (_NO_CHECK_TIME if wrong else 0))

    def _fault(self, reason: str) -> str:
        """Return why there is no connection: what TLS says, where it says anything."""
        if not self._address.secure:
            return reason
        error = self._faults.last
        said = None if error is None else explain(error, self._address.host, who="this device", renew=_RENEW)
        if said is None and isinstance(error, ConnectionError) and not self._taken:
            said = f"it ends the connection before it takes this device; if that goes on, {_RENEW}"
        return said or reason

    def _on_connect(self, client: mqtt.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            return  # on_disconnect follows, with the reason
        self._connection += 1
        self._failures, self._taken = 0, True
        self.latency.forget()
        with self._lock:
            self._ask(self._topics)
        self._listener.link_up()

    def _on_connect_fail(self, client: mqtt.Client, data: Any) -> None:
        self._back_off()
        fault = self._fault("")
        where = f"{self._address.host}:{self._address.port}"
        self._listener.link_down(f"broker {where}: {fault}" if fault else f"no broker answers at {where}")

    def _on_disconnect(self, client: mqtt.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._back_off()
        self._listener.link_down(f"broker {self._address.host}:{self._address.port}: {self._fault(_ending(reason))}")

    def _on_publish(self, client: mqtt.Client, data: Any, mid: int, reason: Any, properties: Any) -> None:
        """Acknowledge the broker's acknowledgement at once: a broker may hold the next message for it (Nagle)."""
        self.latency.acknowledged(mid)
        connection: Any = client.socket()
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _on_message(self, client: mqtt.Client, data: Any, message: mqtt.MQTTMessage) -> None:
        if self._paused:
            return  # not acknowledged: the broker keeps it for the next session
        self.traffic.heard += 1
        self.traffic.heard_bytes += len(message.payload)
        payload = bytes(message.payload)
        try:
            topic = message.topic  # decoded now: paho passes on whatever bytes the broker sent
        except UnicodeDecodeError as error:
            self._listener.unreadable(error.object)
            client.ack(message.mid, message.qos)
            return
        receipt = Receipt(self._connection, message.mid, again=message.dup)
        if message.qos and self._keep(topic, payload, receipt):
            return
        if not self._wanted(topic):
            client.unsubscribe(topic)  # left over from a session that was cut off
        else:
            self._listener.message(topic, payload)
        client.ack(message.mid, message.qos)

    def _wanted(self, topic: str) -> bool:
        return topic in self._topics or any(mqtt.topic_matches_sub(wanted, topic) for wanted in self._topics)

    def settle(self, receipts: Sequence[Receipt]) -> None:
        """Acknowledge messages that were kept, from any thread. Those of an earlier connection come again."""
        with self._receipts:
            due = []
            for receipt in receipts:
                receipt.shares -= 1
                if receipt.shares == 0 and receipt.connection == self._connection:
                    due.append(receipt)
        for receipt in due:
            self._client.ack(receipt.number, 1)

    def _back_off(self) -> None:
        """Set how long paho waits before it tries again: doubling, and never in step with the other devices."""
        delay_s = min(self._first_delay_s * 2 ** min(self._failures, 16), _LONGEST_DELAY_S)
        self._failures += 1
        delay_s *= 0.5 + 0.5 * self._jitter()
        self._client.reconnect_delay_set(delay_s, delay_s)


def _ending(reason: Any) -> str:
    """Return why a connection ended; paho has no words for one that simply broke."""
    return "the connection is lost" if reason == "Unspecified error" else str(reason)


def _send_at_once(client: mqtt.Client, data: Any, connection: Any) -> None:
    """Without this a prediction waits up to 40 ms, until the broker's kernel has acknowledged what went before it."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
