"""What all calls need, as files that a worker opens once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class FromFolder:
    """A setup that reads a folder: `load(folder)` is the material.

    Workers of this machine read the folder itself; workers elsewhere get a copy of it. A `load` that maps the
    files (`np.load(..., mmap_mode="r")`, Feather without compression) lets workers of one machine share their pages.
    """

    load: Callable[[Path], Any]
    folder: Path

    def __call__(self) -> Any:
        return self.load(self.folder)
