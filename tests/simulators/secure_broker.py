"""A mosquitto with mutual TLS, configured by the product's own command, and clients with certificates of their own."""

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion
from simulators.broker_process import wait_until

from protocols.enrolment import EnrolmentRequest, parse_token


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Write a private key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def signing_request(key: Any, name: str, **more: Any) -> str:
    """Return a PEM certificate request for a common name; `extensions` are asked for too."""
    request = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    for extension in more.get("extensions", ()):
        request = request.add_extension(extension, critical=True)
    return request.sign(more.get("signer", key), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def enrol_device(home: Path, folder: Path, device: str, site: str = "osaka", clock: Any = time.time) -> Path:
    """Enrol a device with the registry's own rules; return the path of key and certificate, less `.key` and `.crt`."""
    from registry.catalogue import Catalogue
    from registry.enrolment import create_token, enrol

    catalogue = Catalogue.open(home, clock)
    secret, _ = parse_token(create_token(home, catalogue, device, site, 60.0, clock, replace=True))
    key = make_key(folder / f"{device}.key")
    csr = signing_request(key, f"{site}.{device}")
    reply = enrol(home, catalogue, EnrolmentRequest(secret, device, site, "x86", csr), "mqtts://127.0.0.1:1", clock)
    (folder / f"{device}.crt").write_text(reply.certificate)
    catalogue.close()
    return folder / device


class SecureBroker:
    """The mosquitto of a registry's home."""

    def __init__(self, home: Path, folder: Path, hosts: Sequence[str] = ("127.0.0.1",)) -> None:
        from genba import main

        self.home, self.folder, self.port = home, folder, free_port()
        named = [word for host in hosts for word in ("--host", host)]
        where = ["--home", str(home), "--out", str(folder), "--port", str(self.port), "--bind", "127.0.0.1"]
        assert main(["registry", "broker-config", "mosquitto", *where, *named]) == 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["mosquitto", "-v", "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=log
            )
        wait_until(self._answers, what="a broker with TLS")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    @property
    def url(self) -> str:
        return f"mqtts://127.0.0.1:{self.port}"


class SecureClient:
    """A plain MQTT client that shows a certificate; `refused` says why the broker did not take it."""

    def __init__(
        self,
        broker: SecureBroker,
        identity: Path | None,
        name: str = "",
        *,
        ca: Path | None = None,
        clean: bool = True,
        reconnect: bool = False,
    ) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.refused = ""
        self.ended = threading.Event()
        self._up, self._subscribed = threading.Event(), threading.Event()
        name = name or (identity.name if identity else "nobody")
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, name, clean_session=clean, reconnect_on_failure=reconnect
        )
        context = ssl.create_default_context(cafile=str(ca or broker.folder / "ca.crt"))
        if identity is not None:
            context.load_cert_chain(f"{identity}.crt", f"{identity}.key")
        self.client.tls_set_context(context)
        self.client.on_message = lambda client, data, message: self.messages.append((message.topic, message.payload))
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        try:
            self.client.connect("127.0.0.1", broker.port)
        except OSError as error:
            self.refused = str(error)
            return
        self.client.loop_start()
        wait_until(lambda: self._up.is_set() or self.refused, what="an answer of the broker")

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        if not reason.is_failure:
            self._up.set()

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.refused = self.refused or str(reason)
        self.ended.set()

    def subscribe(self, topic: str) -> None:
        self._subscribed.clear()
        self.client.subscribe(topic, 1)
        assert self._subscribed.wait(10)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def heard(self, topic: str) -> list[bytes]:
        return [payload for at, payload in list(self.messages) if at == topic]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        with contextlib.suppress(OSError, AttributeError):
            self.client._reset_sockets()  # type: ignore[attr-defined]  # paho leaves its own pair to the collector
