"""A broker that sends any bytes: no real one passes on a topic that is no text, and a rogue one may."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

_CONNECT, _PUBLISH, _PUBACK, _SUBSCRIBE, _PINGREQ = 1, 3, 4, 8, 12


class RawBroker:
    """Takes one client after the other, agrees to all that it asks, and sends it what `send` is given.

    Attributes:
        acknowledged: the numbers of messages that were acknowledged.
        connections: clients that subscribed, so far.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.acknowledged: list[int] = []
        self.connections = 0
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="raw-broker", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def publish(self, topic: bytes, payload: bytes, number: int = 0) -> None:
        """Send a message: at QoS 1 under this number, or at QoS 0 where it is none."""
        body = struct.pack("!H", len(topic)) + topic + (struct.pack("!H", number) if number else b"") + payload
        self.send(bytes([_PUBLISH << 4 | (2 if number else 0)]) + _length(len(body)) + body)

    def send(self, data: bytes) -> None:
        assert self._client is not None
        self._client.sendall(data)

    def close(self) -> None:
        for each in (self._listener, self._client):
            if each is not None:
                with contextlib.suppress(OSError):  # it went first
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
        self._thread.join(5)

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                self._client, _ = self._listener.accept()
                with self._client, contextlib.suppress(ConnectionError):
                    for kind, body in _packets(self._client):
                        self._answer(kind, body)

    def _answer(self, kind: int, body: bytes) -> None:
        if kind == _CONNECT:
            self.send(b"\x20\x02\x00\x00")
        elif kind == _SUBSCRIBE:
            self.send(b"\x90\x03" + body[:2] + b"\x01")
            self.connections += 1
        elif kind == _PUBLISH:
            (length,) = struct.unpack_from("!H", body)
            self.send(b"\x40\x02" + body[2 + length : 4 + length])  # all that our side publishes here is QoS 1
        elif kind == _PUBACK:
            self.acknowledged.append(struct.unpack("!H", body)[0])
        elif kind == _PINGREQ:
            self.send(b"\xd0\x00")


def _packets(client: socket.socket) -> Iterator[tuple[int, bytes]]:
    with client.makefile("rb") as stream:
        while head := stream.read(1):
            length = shift = 0
            while (byte := stream.read(1)[0]) & 0x80:
                length |= (byte & 0x7F) << shift
                shift += 7
            yield head[0] >> 4, stream.read(length | byte << shift)


def _length(number: int) -> bytes:
    coded = bytearray()
    while number >= 0x80:
        coded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*coded, number])
