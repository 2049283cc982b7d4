"""A registry's home with a catalogue, and ways to wait."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from registry.catalogue import Catalogue
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository
from registry.signing.keys import create_keys


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "registry"
    Catalogue.create(folder).close()
    create_keys(folder)
    ImageRepository(folder).create()
    DirectorRepository(folder).create()
    return folder


@pytest.fixture
def catalogue(home):
    opened = Catalogue.open(home)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    def wait(condition: Callable[[], Any], what: str, timeout_s: float = 15.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"waited {timeout_s} s for {what}")

    return wait
