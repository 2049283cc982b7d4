"""An emulated Raspberry Pi 4, and a registry with its broker beside it on this machine."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulators.board import Board, NoBoardError, make_board
from simulators.factory import Factory, Programs
from simulators.secure_broker import SecureBroker

from registry.catalogue import Catalogue
from registry.cli import init


@pytest.fixture(scope="session")
def board() -> Board:
    try:
        return make_board()
    except NoBoardError as error:
        pytest.skip(str(error))


@pytest.fixture
def factory(board: Board, tmp_path: Path) -> Iterator[Factory]:
    """The board comes first: where there is none, nothing else need start."""
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed (Debian: apt install mosquitto)")
    home = tmp_path / "registry"
    init(home)
    catalogue = Catalogue.open(home)
    broker = SecureBroker(home, tmp_path / "broker")
    broker.start()
    programs = Programs(tmp_path)
    yield Factory(home, broker, catalogue, programs, tmp_path)
    programs.close()
    broker.stop()
    catalogue.close()
