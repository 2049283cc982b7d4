"""The registry's own link: it believes its broker alone, and says in one line what is wrong with another."""

import logging
import shutil
import time

import pytest
from simulators.broker_process import wait_until

from protocols.broker import BrokerAddress
from registry.cli import init
from registry.errors import SettingsError
from registry.identity import Authority
from registry.mqtt.link import Link
from registry.mqtt.secured import Secured


@pytest.fixture
def away(caplog):
    """Connect as a registry's service; return the line that it logs, or `up`."""

    def connect(home, host, port):
        caplog.set_level(logging.ERROR, "registry.mqtt.link")
        link = Link(home, BrokerAddress(host, port, True), lambda message: None)
        link.start()
        said = wait_until(lambda: (link.up and "up") or (caplog.messages and caplog.messages[-1]), what="a word")
        link.stop()
        return said

    return connect


def test_it_connects_and_subscribes_with_its_own_certificate(home, broker, away):
    assert away(home, "127.0.0.1", broker.port) == "up"


def test_a_broker_of_another_authority_is_refused_and_named(broker, away, tmp_path):
    init(tmp_path / "another")
    said = away(tmp_path / "another", "127.0.0.1", broker.port)
    assert "its certificate is of another authority than the registry's; check the address" in said


def test_a_broker_under_another_name_is_refused_and_named(home, broker, away):
    said = away(home, "localhost", broker.port)
    assert "its certificate is not for the name 'localhost'" in said
    assert "with --host" in said


def test_a_broker_that_does_not_know_the_registry_is_named(home, broker, away, tmp_path):
    init(tmp_path / "another")
    shutil.copy(home / "ca" / "ca.pem", tmp_path / "another" / "ca" / "broker-ca.pem")
    said = away(tmp_path / "another", "127.0.0.1", broker.port)
    assert "does not know the authority of the registry's certificate" in said or "is away" in said


def test_its_certificate_is_made_anew_in_time_and_a_damaged_authority_is_named(home):
    path = home / "ca" / "registry.pem"
    first = path.read_bytes()
    secured = Secured(home)
    secured.renew()
    assert path.read_bytes() == first
    path.unlink()
    secured.renew()
    assert path.read_bytes() != first
    assert Authority(home, time.time).renew_service() is False
    (home / "ca" / "broker-ca.pem").write_text("nothing")
    with pytest.raises(SettingsError, match="broker-ca"):
        Secured(home)
