"""Enrolment: the key stays on the device, the registry proves itself, each refusal is one clear line."""

import datetime
import http.server
import json
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID

from edge_agent.enrolment import enrol
from edge_agent.errors import EnrolmentError, HomeError
from edge_agent.settings import AgentHome
from genba import main
from protocols.enrolment import EnrolmentReply, EnrolmentRequest, Trust, format_token
from protocols.errors import MessageRefusedError, NameRefusedError

SECRET = "s" * 32
Answer = Callable[[EnrolmentRequest], tuple[int, bytes]]


def authority(key: Any) -> str:
    """An authority's certificate, PEM."""
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM).decode()


class Registry:
    """The registry's /api/v1/enrol on loopback, with a certificate authority of its own."""

    def __init__(self) -> None:
        self.ca_key = ec.generate_private_key(ec.SECP256R1())
        self.trust = Trust(b"image root", b"director root", authority(self.ca_key))
        self.names = ""
        self.requests: list[EnrolmentRequest] = []
        self.answer: Answer = self.accept
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = msgspec.json.decode(body, type=EnrolmentRequest)
                registry.requests.append(request)
                self.reply(*registry.answer(request))

            def do_GET(self) -> None:
                assert self.path == "/api/v1/trust"
                self.reply(200, msgspec.json.encode(registry.trust))

            def reply(self, status: int, reply: bytes) -> None:
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def accept(self, request: EnrolmentRequest) -> tuple[int, bytes]:
        return 200, msgspec.json.encode(self.reply(request))

    def reply(self, request: EnrolmentRequest, **changes: Any) -> EnrolmentReply:
        asked = x509.load_pem_x509_csr(request.csr.encode())
        assert asked.is_signature_valid
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.names)]) if self.names else asked.subject
            )
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]))
            .public_key(asked.public_key())
            .serial_number(1)
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(self.ca_key, hashes.SHA256())
        )
        reply = EnrolmentReply(certificate.public_bytes(Encoding.PEM).decode(), self.trust, "mqtt://127.0.0.1:1883")
        return msgspec.structs.replace(reply, **changes)

    @property
    def token(self) -> str:
        return format_token(SECRET, self.trust.fingerprint)

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry()
    yield registry
    registry.close()


def run(server: Registry, home: AgentHome, **changes: Any) -> None:
    given = {"registry": server.url, "token": server.token, "device": "press-1", "site": "osaka", "profile": "x86"}
    enrol(home, probe={"cores": 4}, **{**given, **changes})


def problem(detail: str) -> bytes:
    return json.dumps({"type": "about:blank", "title": "Refused", "detail": detail}).encode()


def test_a_device_gets_an_identity_and_pins_what_it_trusts(registry: Registry, tmp_path: Path) -> None:
    home = AgentHome(tmp_path / "home")
    run(registry, home)
    settings = home.settings()
    assert (settings.device, settings.site, settings.profile) == ("press-1", "osaka", "x86")
    assert settings.broker_url == "mqtt://127.0.0.1:1883"
    assert (home.image_root.read_bytes(), home.director_root.read_bytes()) == (b"image root", b"director root")
    assert home.ca.read_text() == registry.trust.ca
    assert settings.registry_url == registry.url
    assert stat.S_IMODE(home.identity.stat().st_mode) == 0o600
    key = load_pem_private_key(home.identity.read_bytes(), None)
    certificate = x509.load_pem_x509_certificate(home.identity.read_bytes())
    assert certificate.public_key() == key.public_key()
    assert certificate.subject.rfc4514_string() == "CN=osaka.press-1"
    assert (registry.requests[0].secret, registry.requests[0].probe) == (SECRET, {"cores": 4})


def test_another_registry_than_the_tokens_is_refused_and_nothing_is_written(registry: Registry, tmp_path: Path) -> None:
    home = AgentHome(tmp_path / "home")
    token = registry.token
    registry.trust = Trust(b"image root", b"director root", "an attacker's CA")
    with pytest.raises(EnrolmentError, match="is not the registry that made this token"):
        run(registry, home, token=token)
    assert not home.folder.exists()
    assert registry.requests == []  # the token has not left this machine


def test_a_certificate_for_another_key_is_refused(registry: Registry, tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "osaka.press-1")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(other, hashes.SHA256())
    pem = csr.public_bytes(Encoding.PEM).decode()
    registry.answer = lambda request: registry.accept(msgspec.structs.replace(request, csr=pem))
    with pytest.raises(EnrolmentError, match="another key"):
        run(registry, AgentHome(tmp_path / "home"))


def test_a_certificate_for_another_name_or_from_another_authority_is_refused(
    registry: Registry, tmp_path: Path
) -> None:
    registry.names = "osaka.press-9"
    with pytest.raises(EnrolmentError, match="is for"):
        run(registry, AgentHome(tmp_path / "home"))
    registry.names = ""
    registry.ca_key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(EnrolmentError, match="not from its own authority"):
        run(registry, AgentHome(tmp_path / "home"))
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(("status", "detail"), [(401, "unknown token"), (403, "used token"), (410, "expired token")])
def test_a_token_that_the_registry_refuses_is_one_clear_line(
    registry: Registry, tmp_path: Path, status: int, detail: str
) -> None:
    registry.answer = lambda request: (status, problem(detail))
    with pytest.raises(EnrolmentError) as caught:
        run(registry, AgentHome(tmp_path / "home"))
    assert str(caught.value) == f"the token was refused: {detail}"


@pytest.mark.parametrize(("status", "body"), [(500, b"<html>oops"), (400, problem("profile is unknown")), (200, b"[]")])
def test_an_odd_answer_is_one_clear_line(registry: Registry, tmp_path: Path, status: int, body: bytes) -> None:
    registry.answer = lambda request: (status, body)
    with pytest.raises(EnrolmentError) as caught:
        run(registry, AgentHome(tmp_path / "home"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "home").exists()


def test_a_redirect_is_not_followed_with_the_token(registry: Registry, tmp_path: Path) -> None:
    registry.answer = lambda request: (302, b"")
    with pytest.raises(EnrolmentError, match="302"):
        run(registry, AgentHome(tmp_path / "home"))


def test_a_registry_that_is_not_there_is_named(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(EnrolmentError, match=r"cannot be reached: .*refused"):
        run(registry, AgentHome(tmp_path / "home"), registry="http://127.0.0.1:9")


@pytest.mark.parametrize("url", ["http://registry.example", "ftp://x", "registry", ""])
def test_a_token_never_travels_unencrypted(registry: Registry, tmp_path: Path, url: str) -> None:
    with pytest.raises(EnrolmentError, match="https://"):
        run(registry, AgentHome(tmp_path / "home"), registry=url)
    assert registry.requests == []


def test_a_wrong_token_is_refused_before_anything_is_asked(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(MessageRefusedError, match="copy it whole"):
        run(registry, AgentHome(tmp_path / "home"), token="genba1-short")
    with pytest.raises(NameRefusedError):
        run(registry, AgentHome(tmp_path / "home"), device="Press 1")
    assert registry.requests == []


def test_an_enrolled_home_is_left_alone(registry: Registry, tmp_path: Path) -> None:
    home = AgentHome(tmp_path / "home")
    run(registry, home)
    before = home.identity.read_bytes()
    with pytest.raises(EnrolmentError, match="is enrolled already"):
        run(registry, home, device="press-2")
    assert home.identity.read_bytes() == before
    assert len(registry.requests) == 1


def test_the_command_enrols_and_says_what_comes_next(registry: Registry, tmp_path: Path, capsys: Any) -> None:
    home = str(tmp_path / "home")
    words = ["agent", "enrol", "--registry", registry.url, "--token", registry.token, "--device", "press-1"]
    assert main([*words, "--site", "osaka", "--profile", "x86", "--home", home]) == 0
    assert f"genba agent run --home {home}" in capsys.readouterr().out
    assert main([*words, "--site", "osaka", "--profile", "x87", "--home", str(tmp_path / "other")]) == 1
    assert "no device profile 'x87'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('providers = ["OpenVINO"]', "providers has 'OpenVINO', and there are TensorrtExecutionProvider, CUDA"),
        ('[provider_options.GPU]\ndevice_type = "x"', "provider_options has 'GPU', and there are"),
        ("build_s = 0", "build_s"),
    ],
)
def test_a_wrong_provider_in_the_settings_is_one_clear_line(tmp_path: Path, line: str, text: str) -> None:
    home = AgentHome(tmp_path)
    home.write_settings({"device": "press-1", "site": "osaka", "profile": "x86", "broker_url": "mqtt://127.0.0.1:1"})
    home.settings_path.write_text(home.settings_path.read_text() + line)
    with pytest.raises(HomeError) as caught:
        home.settings()
    assert text in str(caught.value)


@pytest.mark.parametrize("text", ["", "device = 1", "device = [", 'device="a"\nsite="b"\nprofile="x86"\nbrokr_url="x"'])
def test_a_damaged_home_is_one_clear_line(tmp_path: Path, text: str) -> None:
    home = AgentHome(tmp_path)
    home.settings_path.write_text(text)
    with pytest.raises(HomeError, match=r"agent\.toml"):
        home.settings()


def test_running_or_asking_without_an_enrolled_home_says_what_to_do(tmp_path: Path, capsys: Any) -> None:
    for command in ("run", "status"):
        assert main(["agent", command, "--home", str(tmp_path / "none")]) == 1
        assert "run `genba agent enrol" in capsys.readouterr().err
