"""What every suite may use: a real broker, the real data, the repository's root."""

import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import MQTTErrorCode
from simulators.broker_process import Broker

ROOT = Path(__file__).resolve().parents[1]

# Debian puts daemons where a user's PATH may not look.
os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])

# A shell ignores Ctrl-C for what it runs in the background, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Two slow cores say nothing of a property; the number of examples keeps the suite short.
hypothesis.settings.register_profile("genba", deadline=None, max_examples=60, database=None)
hypothesis.settings.load_profile("genba")

_loop_stop = mqtt.Client.loop_stop


def _loop_stop_and_close(client: mqtt.Client) -> MQTTErrorCode:
    """paho leaves its thread's own pair of sockets to the garbage collector, which may warn of them as not closed."""
    code = _loop_stop(client)
    if client._thread is None:
        client._reset_sockets(sockpair_only=True)
    return code


mqtt.Client.loop_stop = _loop_stop_and_close  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """A command that a test runs in this process sets up logging for good: the next test begins as this one did."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:], logger.level = handlers, level


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real data sets beside the repository, ../shared/data."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the repository")
    return folder


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Broker]:
    """A running mosquitto on a free port of 127.0.0.1; `stop` and `start` make it go and come back."""
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed (Debian: apt install mosquitto)")
    folder = tmp_path / "mosquitto"
    folder.mkdir()
    broker = Broker(folder)
    broker.start()
    yield broker
    broker.stop()
