"""A registry's home, its mosquitto with mutual TLS, two enrolled devices, and clients that show certificates."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from simulators.secure_broker import SecureBroker, SecureClient, enrol_device

from genba import main
from registry.catalogue import Catalogue
from registry.cli import init
from registry.mosquitto.keeper import BrokerKeeper


@pytest.fixture
def home(tmp_path: Path) -> Path:
    init(tmp_path / "registry")
    return tmp_path / "registry"


@pytest.fixture
def catalogue(home: Path) -> Iterator[Catalogue]:
    opened = Catalogue.open(home)
    yield opened
    opened.close()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir()
    return folder


@pytest.fixture
def device(home: Path, keys: Path) -> Callable[..., Path]:
    """Enrol a device; returns where its key and certificate are."""
    return lambda name, **more: enrol_device(home, keys, name, **more)


@pytest.fixture
def system(home: Path, keys: Path) -> Callable[[str], Path]:
    """Make a certificate for a system of the plant."""

    def make(name: str) -> Path:
        assert main(["registry", "certificate", name, "--home", str(home), "--out", str(keys)]) == 0
        return keys / name

    return make


@pytest.fixture
def broker(home: Path, tmp_path: Path) -> Iterator[SecureBroker]:
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed (Debian: apt install mosquitto)")
    running = SecureBroker(home, tmp_path / "broker")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def keeper(home: Path, catalogue: Catalogue) -> BrokerKeeper:
    return BrokerKeeper(home, catalogue, time.time)


@pytest.fixture
def connect(broker: SecureBroker) -> Iterator[Callable[..., SecureClient]]:
    clients: list[SecureClient] = []

    def make(identity: Path | None, name: str = "", **options: Any) -> SecureClient:
        clients.append(SecureClient(broker, identity, name, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
