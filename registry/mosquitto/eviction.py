"""Eviction: the end of a connection that its client has no right to any more.

The broker keeps one connection a client id, and a client's id is its certificate's name. The authority can make a
certificate of any name: it connects by that name for a moment, with a clean session, which ends the other connection
and forgets what waited for it.
"""

import contextlib
import ssl
import tempfile
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.enums import CallbackAPIVersion

from protocols.broker import BrokerAddress
from registry.certificates import Holder
from registry.identity import Authority
from registry.mosquitto.place import BrokerPlace

_LIFE = timedelta(minutes=5)
_WITHIN_S = 5.0


def evict(home: Path, place: BrokerPlace, authority: Authority, holder: str) -> bool:
    """Take over a client's session and drop it; False where the broker cannot be reached."""
    address = BrokerAddress.parse(place.url)
    taken = threading.Event()

    def on_connect(client: mqtt.Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if not reason.is_failure:
            taken.set()

    client = mqtt.Client(CallbackAPIVersion.VERSION2, holder, clean_session=True, reconnect_on_failure=False)
    client.on_connect = on_connect
    client.tls_set_context(_context(home, authority, holder))
    with contextlib.suppress(OSError):
        client.connect(address.host, address.port, keepalive=10)
        client.loop_start()
        taken.wait(_WITHIN_S)
        client.disconnect()
        client.loop_stop()
    return taken.is_set()


def _context(home: Path, authority: Authority, holder: str) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    certificate = authority.issue(Holder(holder), key.public_key(), _LIFE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=authority.pem)
    with tempfile.NamedTemporaryFile("w", dir=home / "run") as file:  # readable by the owner alone; gone at once
        file.write(pem + certificate.pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context
