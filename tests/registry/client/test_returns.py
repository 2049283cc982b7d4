"""What an air-gapped device recorded comes home on a stick: signed, counted once, forgotten after a receipt."""

import base64
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner
from simulators.agent_home import make_home
from simulators.broker_process import wait_until

from edge_agent.outbox import ALARM, EVENT, Outbox
from protocols.messages import Event, encode
from protocols.returns import RECEIPT_TYPE, Receipt, encode_signed
from protocols.topics import DeviceTopics
from registry.catalogue import Catalogue
from registry.mqtt.ingest import Ingest
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository

ROOT = Path(__file__).resolve().parents[3]
NOWHERE = "mqtt://127.0.0.1:1"


class Signed:
    """The roots that a device pins at enrolment."""

    def __init__(self, home):
        self.image, self.director = ImageRepository(home), DirectorRepository(home)


@pytest.fixture
def catalogue(home, token):
    opened = Catalogue.open(home)
    yield opened
    opened.close()


@pytest.fixture
def enrol(home, token, catalogue, tmp_path):
    """Enrol a device with a key of its own; return its home."""

    def do(name, site="osaka"):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{site}.{name}")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(Encoding.PEM).decode()
        catalogue.devices.add(name, site, "x86", pem, "1")
        made = make_home(tmp_path / name, Signed(home), NOWHERE, device=name, site=site)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        made.identity.write_bytes(pem.encode() + private)
        return made

    return do


def record(home, *texts):
    """Let a device record events; return their ids and payloads."""
    outbox = Outbox(home.outbox, limit_bytes=1 << 24, first_id=1000)
    payloads = {}
    for text in texts:

        def build(number, text=text):
            payloads[number] = encode(Event(number, 1.0, "test", "info", text))
            return payloads[number]

        outbox.add("event", ALARM if text == "worst" else EVENT, build)
    outbox.close()
    return payloads


def events(catalogue, device):
    return sorted(event.text for event in catalogue.events.list(device=device, limit=1000) if event.kind == "test")


def test_what_was_recorded_is_counted_once_even_where_mqtt_brought_part_of_it(enrol, command, catalogue, tmp_path):
    device, stick = enrol("kiln-1"), tmp_path / "usb"
    stick.mkdir()
    payloads = record(device, "first", "second", "worst")
    ingest = Ingest(catalogue, lambda: 1.0)
    ingest.take(DeviceTopics("osaka", "kiln-1").up("event"), next(iter(payloads.values())))
    assert command("bundle", "collect", stick, "--home", device.folder)[:2] == (0, "3 messages\n")
    assert command("bundle", "return", stick)[:2] == (0, "kiln-1: 3 messages\n")
    assert events(catalogue, "kiln-1") == ["first", "second", "worst"]
    again = tmp_path / "another"
    again.mkdir()
    assert command("bundle", "collect", again, "--home", device.folder)[:2] == (0, "3 messages\n"), "no receipt yet"
    assert command("bundle", "return", again)[:2] == (0, "kiln-1: 3 messages\n")
    assert events(catalogue, "kiln-1") == ["first", "second", "worst"]


def test_a_receipt_frees_the_outbox_at_the_next_visit(enrol, command, tmp_path):
    device, stick = enrol("kiln-2"), tmp_path / "usb"
    stick.mkdir()
    record(device, "first", "second")
    command("bundle", "collect", stick, "--home", device.folder)
    command("bundle", "return", stick)
    kept = record(device, "later")
    command("bundle", "collect", stick, "--home", device.folder)
    assert len(list(device.receipts.iterdir())) == 1
    run = [sys.executable, "-m", "genba", "agent", "run", "--home", str(device.folder)]
    with (device.folder / "stderr").open("ab") as errors:
        agent = subprocess.Popen(run, cwd=ROOT, stderr=errors, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        wait_until(lambda: device.status.exists() and not list(device.receipts.iterdir()), 20)
    finally:
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(15) == 0
    outbox = Outbox(device.outbox, limit_bytes=1 << 24, first_id=1)
    waiting = [item.payload for item in outbox.waiting(100)]
    outbox.close()
    assert all(payload in waiting for payload in kept.values())
    assert not [payload for payload in waiting if b"first" in payload or b"second" in payload]


def test_what_has_a_receipt_is_not_carried_again_though_no_agent_has_run(enrol, command, tmp_path):
    device, stick = enrol("kiln-9"), tmp_path / "usb"
    stick.mkdir()
    record(device, "first", "second")
    command("bundle", "collect", stick, "--home", device.folder)
    command("bundle", "return", stick)
    assert command("bundle", "collect", stick, "--home", device.folder)[:2] == (0, "0 messages\n")
    assert list(stick.glob("returns/*/*")) == []
    record(device, "later")
    assert command("bundle", "collect", stick, "--home", device.folder)[:2] == (0, "1 messages\n")


def part_of(stick):
    return next(stick.glob("returns/*/[0-9]*.json"))


def refused(command, stick):
    status, out, err = command("bundle", "return", stick)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert part_of(stick).exists(), "what was refused stays on the stick"
    return err


def test_what_another_device_signed_or_somebody_changed_is_refused(enrol, command, catalogue, tmp_path):
    device, thief, stick = enrol("kiln-3"), enrol("kiln-4"), tmp_path / "usb"
    stick.mkdir()
    record(device, "true")
    device.identity.write_bytes(thief.identity.read_bytes())
    command("bundle", "collect", stick, "--home", device.folder)
    assert "not signed with the key of device 'kiln-3'" in refused(command, stick)
    part_of(stick).write_text("{}")
    assert "it is no signed envelope" in refused(command, stick)
    assert events(catalogue, "kiln-3") == []


def test_a_changed_payload_is_refused(enrol, command, catalogue, tmp_path):
    device, stick = enrol("kiln-5"), tmp_path / "usb"
    stick.mkdir()
    record(device, "true")
    command("bundle", "collect", stick, "--home", device.folder)
    envelope = json.loads(part_of(stick).read_text())
    payload = base64.b64decode(envelope["payload"])
    envelope["payload"] = base64.b64encode(payload.replace(b"true", b"fake")).decode()
    part_of(stick).write_text(json.dumps(envelope))
    assert "not signed with the key of device 'kiln-5'" in refused(command, stick)
    assert events(catalogue, "kiln-5") == []


def test_a_receipt_that_the_director_did_not_sign_frees_nothing(enrol, command, tmp_path):
    device, stick = enrol("kiln-6"), tmp_path / "usb"
    stick.mkdir()
    record(device, "first")
    command("bundle", "collect", stick, "--home", device.folder)
    part = part_of(stick)
    forged = Envelope(encode_signed(Receipt("kiln-6", (1000,))), RECEIPT_TYPE, {})
    forged.sign(CryptoSigner.generate_ecdsa())
    part.with_name(f"receipt-{part.name}").write_text(json.dumps(forged.to_dict()))
    status, out, err = command("bundle", "collect", stick, "--home", device.folder)
    assert (status, out) == (1, "")
    assert "it is no receipt of this device's registry" in err
    assert not device.receipts.exists()


def test_a_receipt_that_nests_without_end_is_one_line(enrol, command, tmp_path):
    device, stick = enrol("kiln-6b"), tmp_path / "usb"
    stick.mkdir()
    record(device, "first")
    command("bundle", "collect", stick, "--home", device.folder)
    part = part_of(stick)
    part.with_name(f"receipt-{part.name}").write_bytes(b"[" * 100_000)
    status, out, err = command("bundle", "collect", stick, "--home", device.folder)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "it is no receipt of this device's registry" in err


def test_a_link_where_the_messages_go_is_refused(enrol, command, tmp_path):
    device, stick = enrol("kiln-7"), tmp_path / "usb"
    stick.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (stick / "returns").symlink_to(tmp_path / "elsewhere")
    record(device, "first")
    assert "there is a symbolic link on the way" in command("bundle", "collect", stick, "--home", device.folder)[2]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_stick_that_carries_nothing_says_so(command, tmp_path):
    assert "carries nothing home" in command("bundle", "return", tmp_path)[2]
