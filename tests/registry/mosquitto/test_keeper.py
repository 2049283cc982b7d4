"""The broker's files under faults: what mosquitto has not been told yet, it is told at a later call."""

import logging
import time
from pathlib import Path

import msgspec
import pytest

from registry.catalogue import Catalogue
from registry.mosquitto.keeper import RETRY_S, BrokerKeeper
from registry.mosquitto.place import BrokerPlace, write_place
from registry.revocation import revoke


@pytest.fixture
def place(home: Path, catalogue: Catalogue, tmp_path: Path) -> BrokerPlace:
    """A broker that is told to read its files again by a command of ours: it fails where `broken` is there."""
    (tmp_path / "broker").mkdir()
    command = ("sh", "-c", f"test ! -e {tmp_path}/broken && echo told >> {tmp_path}/told")
    found = BrokerPlace(folder=str(tmp_path / "broker"), hosts=("127.0.0.1",), port=1, reload=command)
    write_place(home, found)
    BrokerKeeper(home, catalogue, time.time).write(found)
    (tmp_path / "told").unlink()
    return found


def told(tmp_path: Path) -> int:
    path = tmp_path / "told"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_reload_that_failed_is_done_at_a_later_call(home, place, device, catalogue, tmp_path, caplog):
    now = [time.time()]
    keeper = BrokerKeeper(home, catalogue, lambda: now[0])
    device("press-a")
    assert keeper.keep()
    assert told(tmp_path) == 1
    (tmp_path / "broken").touch()
    revoke(home, catalogue, "press-a", time.time)
    assert not keeper.keep()
    assert "--reload" in caplog.text
    (tmp_path / "broken").unlink()
    now[0] += RETRY_S
    keeper.keep()
    assert told(tmp_path) == 2
    keeper.keep()
    assert told(tmp_path) == 2


def test_a_death_before_the_reload_is_made_good_by_another_process(home, place, device, catalogue, tmp_path, caplog):
    """And whom it had to throw out is known still."""
    caplog.set_level(logging.INFO)
    device("press-a")
    BrokerKeeper(home, catalogue, time.time).keep()
    (tmp_path / "broken").touch()
    revoke(home, catalogue, "press-a", time.time)
    BrokerKeeper(home, catalogue, time.time).keep()
    (tmp_path / "broken").unlink()
    serials = {serial for serial, _ in catalogue.certificates.revoked()}
    assert set(msgspec.json.decode((home / "run" / "broker-unread.json").read_bytes())) == serials
    BrokerKeeper(home, catalogue, time.time).keep()
    assert told(tmp_path) == 2
    assert not (home / "run" / "broker-unread.json").exists()


@pytest.mark.parametrize(("file", "data"), [("broker/plant.acl", b"user \xff\n"), ("registry/broker.json", b"{")])
def test_a_file_that_cannot_be_read_is_told_and_ends_nothing(
    place, device, keeper, tmp_path, caplog, file: str, data: bytes
):
    device("press-a")
    keeper.keep()
    (tmp_path / file).write_bytes(data)
    assert not keeper.keep()
    assert "the broker's files cannot be kept" in caplog.text
