"""A registry's home with both repositories, and a clock that the tests move."""

import time
from pathlib import Path

import pytest
from simulators.home_fetcher import Clock

from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository
from registry.signing.keys import create_keys


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
def home(tmp_path: Path, clock: Clock) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    create_keys(folder)
    ImageRepository(folder, clock).create()
    DirectorRepository(folder, clock).create()
    return folder
