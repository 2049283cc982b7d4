"""The tree, as the architecture's tests read it."""

from collections.abc import Callable
from pathlib import Path

import pytest

PACKAGES = ("protocols", "devices", "edge_agent", "trainer", "registry", "rehearsal")


@pytest.fixture(scope="session")
def modules(root: Path) -> Callable[[str], list[str]]:
    """Package -> the dotted names of all its modules."""

    def found(package: str) -> list[str]:
        paths = sorted((root / package).rglob("*.py"))
        names = [".".join(path.relative_to(root).with_suffix("").parts) for path in paths]
        return [name.removesuffix(".__init__") for name in names]

    return found
