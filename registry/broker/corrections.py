"""amqtt 0.11 and 0.12 with the corrections without which messages are lost.

Each override names the behaviour that it corrects; drop it when amqtt does. What amqtt lacks and this does not
add: sessions and retained messages live in memory, so they end with the process; MQTT 5; flow control of fast
publishers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from amqtt import broker as amqtt_broker
from amqtt.broker import Broker, RetainedApplicationMessage
from amqtt.mqtt.constants import QOS_1
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import OUTGOING, ApplicationMessage, Session

log = logging.getLogger(__name__)

#: Messages kept for a session whose client is away; beyond it the oldest is dropped.
OFFLINE_LIMIT = 50_000


class LosslessHandler(BrokerProtocolHandler):  # type: ignore[misc]
    """One client's connection."""

    _stopping = False

    def attach(self, session: Session, reader: Any, writer: Any) -> None:
        """amqtt: a client that takes over its own session stays marked as away, and is sent nothing any more."""
        super().attach(session, reader, writer)
        if not session.transitions.is_connected():
            session.transitions.connect()

    async def stop(self) -> None:
        self._stopping = True
        await super().stop()

    async def _handle_qos1_message_flow(self, message: Any) -> None:
        """amqtt: a message is forgotten when its acknowledgement takes 5 s, or when the client goes away first.

        Here it stays in flight until it is acknowledged, and is sent again when the client comes back.
        """
        session = self.session
        if message.direction != OUTGOING or session is None:
            await super()._handle_qos1_message_flow(message)
            return
        session.inflight_out[message.packet_id] = message
        if self._stopping:
            return
        packet = message.build_publish_packet(dup=message.publish_packet is not None)
        message.publish_packet = packet
        waiter = self._puback_waiters[message.packet_id] = asyncio.get_running_loop().create_future()
        try:
            await self._send_packet(packet)
            message.puback_packet = await waiter
        except (asyncio.CancelledError, OSError):
            return
        finally:
            self._puback_waiters.pop(message.packet_id, None)
        session.inflight_out.pop(message.packet_id, None)

    async def _retry_deliveries(self) -> None:
        """amqtt: the client is not served until each old message is acknowledged, and they are dropped after 10 s."""
        session = self.session
        if session is not None:
            self._retries = [
                asyncio.ensure_future(self._handle_message_flow(message)) for message in session.inflight_out.values()
            ]

    def handle_read_timeout(self) -> None:
        """amqtt: a client that has fallen silent is kept as connected for ever, and its will is never sent."""
        self._silence = asyncio.ensure_future(self.handle_connection_closed())


class _Subscriptions(dict[str, Any]):
    """amqtt: iterates over the subscriptions while others change them, which ends the connection of whoever asked."""

    def __iter__(self) -> Iterator[str]:
        return iter(list(super().__iter__()))

    def items(self) -> Any:
        return dict(self).items()


class LosslessBroker(Broker):  # type: ignore[misc]
    """The broker. Whoever can connect may do all: it is bound to the loopback interface."""

    def __init__(self, config: dict[str, Any]) -> None:
        # amqtt makes its handlers by this name and offers no other way to choose their class.
        amqtt_broker.BrokerProtocolHandler = LosslessHandler
        super().__init__(config)
        self._subscriptions = _Subscriptions()
        self.dropped = 0

    async def _authenticate(self, session: Session, _: Any) -> bool:
        """amqtt: its anonymous log-in also takes away the persistent session."""
        return True

    async def _topic_filtering(self, session: Session, topic: str, action: Any) -> bool:
        return True

    async def _client_message_loop(self, client_session: Session, handler: BrokerProtocolHandler) -> None:
        """amqtt: what a client published and was acknowledged is dropped if it disconnects at once."""

        async def deliver(message: ApplicationMessage) -> None:
            if not await self._handle_message_delivery(client_session, handler, _done(message)):
                await handler.handle_connection_closed()

        async def subscribe(request: Any) -> None:
            await self._handle_subscription(client_session, handler, _done(request))

        async def unsubscribe(request: Any) -> None:
            await self._handle_unsubscription(client_session, handler, _done(request))

        gone = asyncio.ensure_future(handler.wait_disconnect())
        queue = client_session.delivered_message_queue
        pumps = [
            asyncio.ensure_future(_pump(queue.get, deliver)),
            asyncio.ensure_future(_pump(handler.get_next_pending_subscription, subscribe)),
            asyncio.ensure_future(_pump(handler.get_next_pending_unsubscription, unsubscribe)),
        ]
        try:
            await asyncio.wait([gone, *pumps], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        while not queue.empty():
            await deliver(queue.get_nowait())
        if not gone.done():
            gone.cancel()
        await self._handle_disconnect(client_session, handler, gone if gone.done() else _done(None))

    async def _handle_disconnect(self, client_session: Session, handler: Any, disconnect_waiter: Any) -> None:
        """amqtt: the end of a connection that was taken over marks the new one as away."""
        await super()._handle_disconnect(client_session, handler, disconnect_waiter)
        current = self._sessions.get(client_session.client_id)
        if current is not None and current[0] is client_session and current[1] is not handler:
            client_session.transitions.connect()

    async def _publish_retained_messages_for_subscription(self, subscription: Any, session: Session) -> None:
        """amqtt: sends a client that connects all that is retained for the subscriptions of the others."""
        if any(held.client_id == session.client_id for held, _ in self._subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)

    async def _publish_session_retained_messages(self, session: Session) -> None:
        """amqtt: marks what had waited for a client as retained, and waits for each before it serves the client."""
        handler = self._get_handler(session)
        while handler is not None and not session.retained_messages.empty():
            waiting = session.retained_messages.get_nowait()
            self._tasks_queue.append(
                asyncio.ensure_future(handler.mqtt_publish(waiting.topic, waiting.data, waiting.qos, retain=False))
            )

    async def _retain_broadcast_message(self, broadcast: dict[str, Any], qos: int, target_session: Session) -> None:
        """amqtt: keeps messages for a client that is away without bound."""
        queue = target_session.retained_messages
        if queue.qsize() >= OFFLINE_LIMIT:
            queue.get_nowait()
            self.dropped += 1
            if self.dropped % OFFLINE_LIMIT == 1:
                log.warning("the oldest message for a client that is away was dropped")
        queue.put_nowait(RetainedApplicationMessage(broadcast["session"], broadcast["topic"], broadcast["data"], QOS_1))


async def _pump(take: Callable[[], Awaitable[Any]], give: Callable[[Any], Awaitable[None]]) -> None:
    while True:
        await give(await take())


def _done(value: Any) -> "asyncio.Future[Any]":
    future = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future
