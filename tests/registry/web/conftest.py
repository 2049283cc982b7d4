"""An initialised registry behind the application, and what a device would send it."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from flask.testing import FlaskClient
from simulators.plant_history import write_history

from registry.catalogue import Catalogue
from registry.cli import init
from registry.publication import publish
from registry.web import create_app

NOW = 1_800_000_000.0


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Api:
    """The REST API as a program sees it."""

    def __init__(self, client: FlaskClient, token: str | None) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        headers = {**self._headers, **more.pop("headers", {})}
        if isinstance(body, dict | list) and "content_type" not in more:
            more["json"] = body
        elif body is not None:
            more["data"] = body
        return self._client.open(f"/api/v1{path}", method=method, headers=headers, buffered=True, **more)


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def initialised(tmp_path):
    """(home, API token) of a new registry."""
    home = tmp_path / "registry"
    return home, init(home)


@pytest.fixture
def home(initialised):
    return initialised[0]


@pytest.fixture
def catalogue(home, clock):
    opened = Catalogue.open(home, clock)
    yield opened
    opened.close()


@pytest.fixture
def app(home, clock, catalogue):
    return create_app(home, clock=clock, broker_url="mqtt://127.0.0.1:1883")


@pytest.fixture
def client(app) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def api(client, initialised) -> Api:
    return Api(client, initialised[1])


@pytest.fixture
def anonymous(client) -> Api:
    return Api(client, None)


@pytest.fixture
def published(home, catalogue, clock, make_candidate):
    """`ccpp@1` is published."""
    return publish(home, catalogue, make_candidate(), clock, published_by="test")


@pytest.fixture
def certificate_request() -> Callable[..., str]:
    """Make a PEM certificate request for a common name."""

    def make(name: str, key: Any = None) -> str:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject)
        signed = request.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        return signed.public_bytes(Encoding.PEM).decode()

    return make


@pytest.fixture
def enrol(api, anonymous, certificate_request) -> Callable[..., dict[str, Any]]:
    """Enrol a device through the API and return the registry's reply."""

    def do(device: str, site: str = "osaka", profile: str = "x86", **more: Any) -> dict[str, Any]:
        token = api("POST", "/devices/tokens", {"device": device, "site": site, **more}).json["token"]
        body = {
            "secret": token[len("genba1-") :][:32],
            "device": device,
            "site": site,
            "profile": profile,
            "csr": certificate_request(f"{site}.{device}"),
        }
        answer = anonymous("POST", "/enrol", body)
        assert answer.status_code == 200, answer.text
        return answer.json

    return do


@pytest.fixture
def filled(home, catalogue, clock, tmp_path):
    """A registry with a past: one model on three devices, drifted."""
    write_history(home, catalogue, clock, tmp_path / "workshop")
