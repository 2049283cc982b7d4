"""A real mosquitto, configured by `genba registry broker-config`: who gets in, and what each may do there."""

import shutil
import stat
import time
from datetime import timedelta

import pytest
from cryptography import x509
from simulators.broker_process import wait_until
from simulators.secure_broker import enrol_device, make_key

from genba import main
from protocols.assignment import AssignedRelease, Assignment, StreamBinding
from protocols.errors import MessageRefusedError
from protocols.topics import DeviceTopics
from registry.assigning import assign
from registry.certificates import Holder, Use
from registry.identity import Authority
from registry.revocation import revoke

A, B = DeviceTopics("osaka", "press-a"), DeviceTopics("osaka", "press-b")


@pytest.fixture
def service(home, keys):
    """The registry's own certificate, as its MQTT service shows it."""
    shutil.copy(home / "ca" / "registry.pem", keys / "registry.crt")
    shutil.copy(home / "ca" / "registry.key", keys / "registry.key")
    return keys / "registry"


def test_device_a_can_neither_read_nor_write_what_is_device_bs(device, keeper, connect, service):
    a, b = device("press-a"), device("press-b")
    assert keeper.keep()
    registry, one, other = connect(service), connect(a), connect(b)
    registry.subscribe("genba/1/+/+/up/#")
    registry.publish(B.down("assignment"), b"for b", retain=True)
    for topic in (B.all_down, B.all_up, "genba/#", "#", "$SYS/#", "+/+/+/+/+/+"):
        one.subscribe(topic)
    other.subscribe(B.all_down)
    wait_until(lambda: other.heard(B.down("assignment")), what="what is for b")
    for topic in (B.up("event"), B.down("ack"), A.down("ack"), "plant/anything", "genba/1/osaka/other/up/event"):
        one.publish(topic, b"by a")
    one.publish(A.up("event"), b"of a")
    registry.publish(A.down("ack"), b"for a")
    registry.publish(B.down("ack"), b"the last for b")
    wait_until(lambda: one.heard(A.down("ack")) and registry.heard(A.up("event")), what="what is for a")
    wait_until(lambda: b"the last for b" in other.heard(B.down("ack")), what="the last for b")
    assert {topic for topic, _ in one.messages} == {A.down("ack")}
    assert registry.messages == [(A.up("event"), b"of a")]
    assert other.heard(B.down("ack")) == [b"the last for b"]


def test_the_registrys_own_certificate_does_what_it_must_and_no_more(device, keeper, connect, service, system, broker):
    device("press-a")
    line = system("line")
    (broker.folder / "plant.acl").write_text("user line\ntopic readwrite plant/#\n")
    keeper.keep()
    registry, plant = connect(service), connect(line)
    plant.subscribe("plant/#")
    registry.subscribe("plant/#")
    registry.publish("plant/sensors", b"by the registry")
    registry.publish(A.up("event"), b"by the registry")
    plant.publish("plant/sensors", b"by the line")
    wait_until(lambda: plant.messages, what="the line's own message")
    assert plant.messages == [("plant/sensors", b"by the line")]
    assert registry.messages == []


def test_a_device_reads_and_writes_the_topics_of_its_streams(device, keeper, connect, system, broker, home, catalogue):
    a, b, line = device("press-a"), device("press-b"), system("line")
    (broker.folder / "plant.acl").write_text("user line\ntopic readwrite plant/#\n")
    keeper.keep()
    plant, one, other = connect(line), connect(a), connect(b)
    plant.subscribe("plant/#")
    for client in (one, other):
        client.subscribe("plant/a/sensors")
    stream = StreamBinding("main", "press", "plant/a/sensors", "plant/a/out")
    catalogue.assignments.set(Assignment("press-a", 0, (AssignedRelease("press", 1),), (stream,)))
    assert keeper.keep()

    def reading_heard() -> list[bytes]:
        plant.publish("plant/a/sensors", b"reading")  # again and again: mosquitto takes a moment to read its list
        return one.heard("plant/a/sensors")

    wait_until(reading_heard, what="the reading")
    other.publish("plant/a/out", b"not mine")
    one.publish("plant/a/sensors", b"not mine to write")
    one.publish("plant/a/out", b"prediction")
    wait_until(lambda: plant.heard("plant/a/out"), what="the prediction")
    assert set(plant.messages) == {("plant/a/sensors", b"reading"), ("plant/a/out", b"prediction")}
    assert other.messages == []


@pytest.mark.parametrize("topic", ["plant/a\nuser osaka.press-b", "$SYS/broker", " plant/a", "plant/\x07"])
def test_a_topic_that_would_change_the_access_list_is_refused(home, catalogue, device, topic):
    device("press-a")
    assignment = Assignment("press-a", 0, (), (StreamBinding("main", "press", topic, "plant/out"),))
    with pytest.raises(MessageRefusedError):
        assign(home, catalogue, assignment, time.time)


def test_who_has_no_good_certificate_is_refused(home, keys, device, keeper, connect, broker, tmp_path, catalogue):
    a = device("press-a")
    keeper.keep()
    assert connect(None).refused
    foreign = tmp_path / "foreign"
    Authority(foreign, time.time).create()
    uses: dict[str, Use] = {"a-servers": "server", "a-model-signers": "model-signature"}
    for name, authority, at in (
        ("of-another-authority", Authority(foreign, time.time), 0.0),
        ("expired", Authority(home, lambda: time.time() - 7200), 3600.0),
        ("not-yet", Authority(home, lambda: time.time() + 86_400 * 2), 3600.0),
        ("a-servers", Authority(home, time.time), 0.0),
        ("a-model-signers", Authority(home, time.time), 0.0),
    ):
        key = make_key(keys / f"{name}.key")
        holder = Holder("osaka.press-a", use=uses.get(name, "client"))
        made = authority.issue(holder, key.public_key(), timedelta(seconds=at or 3600))
        (keys / f"{name}.crt").write_text(made.pem)
        assert connect(keys / name).refused, name
    assert not connect(a).refused
    revoke(home, catalogue, "press-a", time.time)
    keeper.keep()
    wait_until(lambda: connect(a).refused, what="the end of the certificate")


def test_a_revoked_device_is_thrown_out_and_stays_out(home, device, keeper, connect, service, catalogue, capsys):
    a, b = device("press-a"), device("press-b")
    keeper.keep()
    registry, one, other = connect(service), connect(a, reconnect=True, clean=False), connect(b)
    registry.subscribe("genba/1/+/+/up/#")
    one.subscribe(A.all_down)
    began = time.monotonic()
    assert main(["registry", "revoke", "press-a", "--home", str(home)]) == 0
    assert one.ended.wait(60)
    took_s = time.monotonic() - began
    print(f"revoked: out after {took_s:.2f} s")
    assert "press-a is locked out (1 certificate revoked)" in capsys.readouterr().out
    one.client.publish(A.up("event"), b"too late", qos=1)
    other.publish(B.up("event"), b"still in")
    wait_until(lambda: registry.heard(B.up("event")), what="the other device")
    assert registry.messages == [(B.up("event"), b"still in")]
    assert connect(a).refused
    assert not other.ended.is_set()


def test_a_device_that_is_away_keeps_its_messages_when_the_lists_change(device, keeper, connect, service):
    a = device("press-a")
    keeper.keep()
    registry, one = connect(service), connect(a, clean=False)
    one.subscribe(A.all_down)
    one.close()
    registry.publish(A.down("ack"), b"while away")
    device("press-b")
    assert keeper.keep()
    again = connect(a, clean=False)
    wait_until(lambda: again.heard(A.down("ack")) == [b"while away"], what="what was kept")


def test_a_device_that_is_enrolled_anew_gets_in_and_its_old_key_does_not(home, keys, tmp_path, device, keeper, connect):
    old = device("press-a")
    keeper.keep()
    (tmp_path / "anew").mkdir()
    new = enrol_device(home, tmp_path / "anew", "press-a")
    keeper.keep()
    wait_until(lambda: connect(old).refused, what="the end of the old certificate")
    assert not connect(new).refused


def test_the_client_id_is_the_certificates_name_whatever_the_client_says(device, keeper, connect):
    a, b = device("press-a"), device("press-b")
    keeper.keep()
    one = connect(a, "osaka.press-a")
    connect(b, "osaka.press-a")
    one.subscribe(A.all_down)
    assert not one.ended.is_set()


def test_the_files_say_what_they_are_and_hide_what_is_secret(home, tmp_path, capsys):
    folder = tmp_path / "broker"
    words = ["registry", "broker-config", "mosquitto", "--home", str(home), "--out", str(folder)]
    assert main([*words, "--host", "broker.example", "--host", "10.0.0.7"]) == 0
    said = capsys.readouterr().out
    assert f"mosquitto -c {folder}/mosquitto.conf" in said
    assert "--broker mqtts://broker.example:8883" in said
    assert stat.S_IMODE((folder / "broker.key").stat().st_mode) == 0o600
    certificate = x509.load_pem_x509_certificate((folder / "broker.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7"]
    text = (folder / "mosquitto.conf").read_text()
    for line in ("tls_version tlsv1.2", "require_certificate true", "use_identity_as_username true"):
        assert f"\n{line}\n" in text
    assert text.count("\nlistener ") == 1
    key = (folder / "broker.key").read_bytes()
    assert main([*words, "--host", "broker.example", "--host", "10.0.0.7"]) == 0
    assert (folder / "broker.key").read_bytes() == key


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [("--out", "a folder", "no space"), ("--user", "nobody\nlistener 1883", "no space"), ("--host", "a/b", "broker")],
)
def test_what_mosquittos_file_cannot_hold_is_refused(home, tmp_path, capsys, option, value, says):
    given = {"--out": str(tmp_path / "b"), "--host": "x", "--user": "root"} | {option: value}
    words = [word for pair in given.items() for word in pair]
    assert main(["registry", "broker-config", "mosquitto", "--home", str(home), *words]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
