"""Enrolment over REST: one token, one device, once."""

import hashlib
import threading

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import genba
from protocols.enrolment import EnrolmentReply, parse_token
from protocols.messages import Status
from registry.enrolment import trust


@pytest.fixture
def token(api):
    return api("POST", "/devices/tokens", {"device": "press-1", "site": "osaka"}).json["token"]


@pytest.fixture
def request_body(certificate_request):
    def make(token, **changes):
        body = {
            "secret": parse_token(token)[0],
            "device": "press-1",
            "site": "osaka",
            "profile": "x86",
            "csr": certificate_request("osaka.press-1"),
        }
        return {**body, **changes}

    return make


def test_a_device_gets_certificate_trust_and_broker(anonymous, token, request_body, home, clock, catalogue):
    answer = anonymous("POST", "/enrol", request_body(token))
    assert answer.status_code == 200
    reply = msgspec.json.decode(answer.data, type=EnrolmentReply)
    assert reply.trust.fingerprint == parse_token(token)[1]
    assert reply.trust == trust(home, clock)
    assert reply.broker_url == "mqtt://127.0.0.1:1883"
    certificate = x509.load_pem_x509_certificate(reply.certificate.encode())
    authority = x509.load_pem_x509_certificate(reply.trust.ca.encode())
    certificate.verify_directly_issued_by(authority)
    assert certificate.subject.rfc4514_string() == "CN=osaka.press-1"
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 90
    assert catalogue.devices.get("press-1").profile == "x86"


def test_a_used_token_is_refused_and_says_when(anonymous, token, request_body):
    anonymous("POST", "/enrol", request_body(token))
    again = anonymous("POST", "/enrol", request_body(token))
    assert again.status_code == 403
    assert "it was used at 2027-01-15 08:00:00 UTC" in again.json["detail"]


def test_an_expired_token_is_refused(anonymous, token, request_body, clock):
    clock.now += 3601
    answer = anonymous("POST", "/enrol", request_body(token))
    assert answer.status_code == 403
    assert "it expired at" in answer.json["detail"]


def test_an_unknown_token_is_refused(anonymous, token, request_body):
    answer = anonymous("POST", "/enrol", request_body(token, secret="x" * 32))
    assert answer.status_code == 403
    assert "never made it" in answer.json["detail"]
    assert "x" * 32 not in answer.text


def test_another_devices_token_is_refused(anonymous, token, request_body, certificate_request):
    body = request_body(token, device="press-2", csr=certificate_request("osaka.press-2"))
    answer = anonymous("POST", "/enrol", body)
    assert answer.status_code == 403
    assert "it is for device 'press-1' at site 'osaka'" in answer.json["detail"]


@pytest.mark.parametrize(
    ("name", "key", "says"),
    [
        ("osaka.press-2", None, "its common name is ['osaka.press-2']"),
        ("osaka.press-1", "rsa1024", "its key must be"),
        ("osaka.press-1", "p192", "its key must be"),
    ],
)
def test_a_bad_request_does_not_use_up_the_token(anonymous, token, request_body, certificate_request, name, key, says):
    keys = {
        None: None,
        "rsa1024": rsa.generate_private_key(65537, 1024) if key == "rsa1024" else None,  # noqa: S505
        "p192": ec.generate_private_key(ec.SECP256K1()) if key == "p192" else None,
    }
    refused = anonymous("POST", "/enrol", request_body(token, csr=certificate_request(name, keys[key])))
    assert refused.status_code == 400
    assert says in refused.json["detail"]
    assert anonymous("POST", "/enrol", request_body(token)).status_code == 200


def test_a_request_that_is_no_request_is_refused(anonymous, token, request_body):
    answer = anonymous("POST", "/enrol", request_body(token, csr="hello"))
    assert answer.status_code == 400
    assert "not a PEM certificate request" in answer.json["detail"]


def test_of_many_who_use_a_token_at_once_one_gets_through(app, token, request_body):
    body, codes, lock = request_body(token), [], threading.Lock()

    def enrol() -> None:
        answer = app.test_client().post("/api/v1/enrol", json=body)
        with lock:
            codes.append(answer.status_code)

    threads = [threading.Thread(target=enrol) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200, *[403] * 7]


def test_the_catalogue_never_holds_a_secret(api, home, token):
    secret = parse_token(token)[0]
    stored = b"".join(path.read_bytes() for path in home.glob("catalogue.db*"))
    assert secret.encode() not in stored
    assert hashlib.sha256(secret.encode()).hexdigest().encode() in stored


def test_a_token_for_an_enrolled_name_must_be_asked_for(api, enrol, catalogue, clock):
    enrol("press-1")
    clock.now += 3600
    catalogue.devices.update_status("press-1", Status(clock.now, True, revision=1))
    refused = api("POST", "/devices/tokens", {"device": "press-1", "site": "osaka"})
    assert refused.status_code == 409
    assert "is enrolled since 2027-01-15 08:00:00 UTC" in refused.json["detail"]
    assert "last heard at 2027-01-15 09:00:00 UTC" in refused.json["detail"]
    assert "--replace" in refused.json["detail"]
    assert api("POST", "/devices/tokens", {"device": "press-1", "site": "osaka", "replace": True}).status_code == 201


def test_a_second_token_from_before_the_enrolment_replaces_nobody(
    api, anonymous, enrol, token, request_body, catalogue
):
    enrol("press-1")
    serial = catalogue.devices.get("press-1").serial
    refused = anonymous("POST", "/enrol", request_body(token))
    assert refused.status_code == 409
    assert "never heard" in refused.json["detail"]
    assert catalogue.devices.get("press-1").serial == serial


def test_a_replaced_identity_is_told_on_the_devices_page(client, enrol, catalogue):
    enrol("press-1")
    before = catalogue.devices.get("press-1").serial
    enrol("press-1", replace=True)
    after = catalogue.devices.get("press-1").serial
    assert after != before
    page = client.get("/devices/press-1").text
    assert f"its certificate {after} takes the place of {before}" in page
    assert page.index("takes the place of") < page.index("was enrolled at osaka")


def test_the_command_asks_for_a_replacement_too(home, enrol, capsys):
    enrol("press-1")
    arguments = ["registry", "token", "--home", str(home), "--device", "press-1", "--site", "osaka"]
    assert genba.main(arguments) == 1
    assert "--replace" in capsys.readouterr().err
    assert genba.main([*arguments, "--replace"]) == 0
    assert capsys.readouterr().out.startswith("genba1-")


def test_a_token_for_nobody_is_wrong_usage(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        genba.main(["registry", "token", "--home", str(tmp_path)])
    assert caught.value.code == 2
    assert "--device NAME and --site SITE" in capsys.readouterr().err
