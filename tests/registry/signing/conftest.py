"""A registry's home with both repositories, and a clock that the tests move."""

import time
from pathlib import Path

import pytest

from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository
from registry.signing.keys import create_keys


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


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
