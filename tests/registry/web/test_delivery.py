"""Delivery over HTTP: the agent's own client against the registry's own server, over links good and bad."""

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from simulators.agent_home import make_home
from simulators.bad_link import BadLink, cutting
from simulators.registry_side import SignedReleases
from simulators.small_models import write_release
from simulators.web_server import WebServer

from edge_agent.assembly import build_parts
from edge_agent.errors import HomeError, ReleaseRefusedError, ResourceFinalError, TransferError
from edge_agent.fetchers import ResumingFetcher
from edge_agent.http_transfer import HttpLimits, RangeClient
from edge_agent.key_pairs import write_pair
from edge_agent.releases import ReleaseStore
from edge_agent.request_signer import RequestSigner
from edge_agent.signed_metadata import PinnedRoots
from edge_agent.trusted_time import TrustedTime
from edge_agent.verification import Verifier
from protocols.names import ReleaseRef
from protocols.signed_request import DELIVERY_PATH
from registry.catalogue import Catalogue
from registry.certificates import Holder
from registry.cli import init
from registry.identity import Authority
from registry.web import create_app

REF = ReleaseRef("large", 1)
MODEL = random.Random(4).randbytes(3_000_001)
LIMITS = HttpLimits(timeout_s=5.0, patience_s=0.01, longest_patience_s=0.05, tries=8)


class Registry:
    """A registry that serves on a port of its own, with one enrolled device."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "registry"
        init(self.home)
        self.catalogue = Catalogue.open(self.home, time.time)
        self.signed = SignedReleases(self.home)
        write_release(folder / "release", name=REF.model, version=REF.version)
        (folder / "release" / "model.onnx").write_bytes(MODEL)
        self.signed.publish(REF, folder / "release")
        self.key = self.enrol("press-1", folder / "press-1.key")
        self.other_key = self.enrol("press-2", folder / "press-2.key")
        self.signed.assign("press-1", REF)
        app = create_app(self.home)
        self._server = WebServer(app, threads=4)
        self.port = self._server.port

    def enrol(self, device: str, path: Path) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        issued = Authority(self.home, time.time).issue(Holder(f"osaka.{device}"), key.public_key(), timedelta(days=30))
        self.catalogue.devices.add(device, "osaka", "x86", issued.pem, issued.serial)
        self.catalogue.certificates.add(f"osaka.{device}", issued.serial, issued.pem, issued.expires_at)
        return path

    def resource(self) -> str:
        return f"image/targets/large/1/{hashlib.sha256(MODEL).hexdigest()}.model.onnx"

    def close(self) -> None:
        self._server.close()
        self.catalogue.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    made = Registry(tmp_path_factory.mktemp("delivery"))
    yield made
    made.close()


_clients: list[RangeClient] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _clients:
        _clients.pop().close()


def client(
    registry: Registry, folder: Path, *, port: int = 0, keyid: str = "osaka.press-1", **more: Any
) -> RangeClient:
    signer = RequestSigner(more.pop("key", registry.key), keyid, **more)
    _clients.append(RangeClient(f"http://127.0.0.1:{port or registry.port}", signer, folder / "partial", LIMITS))
    return _clients[-1]


def test_a_release_arrives_over_http_with_the_same_checks(registry: Registry, tmp_path: Path) -> None:
    roots = PinnedRoots(registry.signed.image.root, registry.signed.director.root)
    store = ReleaseStore(tmp_path / "releases")
    fetcher = ResumingFetcher(client(registry, tmp_path))
    verifier = Verifier(
        tmp_path / "metadata", roots, fetcher, device="press-1", profile="x86", time=TrustedTime(tmp_path / "time.json")
    )
    assignment = verifier.assignment()
    assert assignment is not None
    assert assignment.releases[0].ref == REF
    verifier.fetch(REF, store)
    assert (store.path(REF) / "model.onnx").read_bytes() == MODEL
    assert list((tmp_path / "partial").iterdir()) == []
    with pytest.raises(ReleaseRefusedError, match="not signed it for this device"):
        verifier.fetch(ReleaseRef("large", 2), store)


def test_a_download_goes_on_where_each_connection_was_cut(registry: Registry, tmp_path: Path) -> None:
    link = BadLink(registry.port, rate_bytes_s=2_000_000)
    chance = random.Random(5)
    try:
        with cutting(link, lambda: chance.uniform(0.1, 0.3)):
            path = client(registry, tmp_path, port=link.port).fetch(registry.resource(), len(MODEL))
    finally:
        link.close()
    assert path.read_bytes() == MODEL
    assert link.cuts >= 2
    assert link.passed_bytes < 1.5 * len(MODEL)


def test_a_range_brings_only_what_is_missing(registry: Registry, tmp_path: Path) -> None:
    fetching = client(registry, tmp_path)
    partial = fetching.partials.open(registry.resource(), len(MODEL))
    partial.expect(len(MODEL))
    partial.write(0, MODEL[: 4096 * 500])
    partial.close()
    link = BadLink(registry.port)
    try:
        path = client(registry, tmp_path, port=link.port).fetch(registry.resource(), len(MODEL))
    finally:
        link.close()
    assert path.read_bytes() == MODEL
    assert link.passed_bytes < len(MODEL) - 4096 * 500 + 4096


def test_a_device_whose_clock_is_years_off_is_served(registry: Registry, tmp_path: Path) -> None:
    for clock in (lambda: 0.0, lambda: 4e9):
        path = client(registry, tmp_path, clock=clock).fetch("director/metadata/timestamp.json", 100_000)
        assert b"timestamp" in path.read_bytes()


def test_only_the_device_itself_may_read_what_is_directed_to_it(registry: Registry, tmp_path: Path) -> None:
    refused = [
        client(registry, tmp_path, key=registry.other_key),
        client(registry, tmp_path, keyid="osaka.nobody"),
        client(registry, tmp_path, keyid="kyoto.press-1"),
    ]
    for each in refused:
        with pytest.raises(TransferError, match="401"):
            each.fetch(registry.resource(), len(MODEL))
    with pytest.raises(ResourceFinalError, match="404"):
        client(registry, tmp_path, key=registry.other_key, keyid="osaka.press-2").fetch(registry.resource(), len(MODEL))


def test_a_revoked_device_is_served_no_more(registry: Registry, tmp_path: Path) -> None:
    key = registry.enrol("press-3", tmp_path / "press-3.key")
    registry.signed.assign("press-3", REF)
    fetching = client(registry, tmp_path, key=key, keyid="osaka.press-3")
    assert fetching.fetch("director/metadata/timestamp.json", 100_000).exists()
    registry.catalogue.devices.revoke("press-3")
    with pytest.raises(TransferError, match="401"):
        fetching.fetch("director/metadata/1.snapshot.json", 100_000)


def test_more_than_is_allowed_is_refused_before_it_is_stored(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="at most 1000 are expected"):
        client(registry, tmp_path).fetch(registry.resource(), 1000)
    assert sum(path.stat().st_size for path in (tmp_path / "partial").iterdir()) == 0


def test_an_interruption_takes_effect_in_the_middle(registry: Registry, tmp_path: Path) -> None:
    link = BadLink(registry.port, rate_bytes_s=200_000)
    fetching = client(registry, tmp_path, port=link.port)
    timer = threading.Timer(0.5, fetching.interrupt)
    timer.start()
    with pytest.raises(TransferError, match="interrupted"):
        fetching.fetch(registry.resource(), len(MODEL))
    link.rate_bytes_s = 0
    fetching.proceed()
    assert fetching.fetch(registry.resource(), len(MODEL)).read_bytes() == MODEL
    timer.join()
    link.close()


def test_a_registry_that_does_not_answer_is_given_up_for_now(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(TransferError, match=r"8 tries; the last: .*refused"):
        client(registry, tmp_path, port=1).fetch("director/metadata/timestamp.json", 1000)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "registry", "http://registry.example"])
def test_an_address_that_would_leak_or_lead_nowhere_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(HomeError, match="registry_url"):
        RangeClient(url, RequestSigner(tmp_path / "key", "osaka.press-1"), tmp_path / "partial")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Signature-Input": "x", "Signature": "y"},
        {"Signature-Input": 'genba=("@method");created=1;keyid="osaka.press-1"', "Signature": "genba=:AA==:"},
    ],
)
def test_a_request_that_nobody_signed_is_refused(registry: Registry, headers: dict[str, str]) -> None:
    reply = create_app(registry.home).test_client().get(f"/api/v1/delivery/{registry.resource()}", headers=headers)
    assert reply.status_code == 401
    assert "signature is refused" in reply.get_json()["detail"]


def test_the_daemon_is_put_together_for_http(registry: Registry, tmp_path: Path) -> None:
    home = make_home(
        tmp_path / "agent",
        registry.signed,
        "mqtt://127.0.0.1:1",
        transport="http",
        registry_url=f"http://127.0.0.1:{registry.port}",
    )
    key = load_pem_private_key(registry.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    write_pair(home, key, registry.catalogue.devices.get("press-1").certificate)
    parts = build_parts(home)
    assert isinstance(parts.downloads, RangeClient)
    assert b"timestamp" in parts.downloads.fetch("director/metadata/timestamp.json", 100_000).read_bytes()
    parts.downloads.cancel()
    parts.downloads.close()


def test_http_without_the_registrys_address_is_refused(registry: Registry, tmp_path: Path) -> None:
    home = make_home(tmp_path / "agent", registry.signed, "mqtt://127.0.0.1:1", transport="http")
    with pytest.raises(HomeError, match="needs registry_url"):
        build_parts(home)


def test_a_home_that_was_named_from_the_working_folder_serves_too(registry: Registry, monkeypatch) -> None:
    monkeypatch.chdir(registry.home.parent)
    path = DELIVERY_PATH + registry.resource()
    headers = RequestSigner(registry.key, "osaka.press-1").headers(path)
    with create_app(Path(registry.home.name)).test_client().get(path, headers=headers) as answer:
        assert (answer.status_code, answer.get_data()) == (200, MODEL)
