"""The catalogue itself: one SQLite file in the registry's home, and the nouns in it."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from registry.blobs import Blobs
from registry.catalogue._sqlite import Connections
from registry.catalogue.assignments import Assignments
from registry.catalogue.certificates import Certificates
from registry.catalogue.datasets import Datasets
from registry.catalogue.devices import Devices
from registry.catalogue.drift import DriftReports
from registry.catalogue.enrolments import Enrolments
from registry.catalogue.events import Events
from registry.catalogue.jobs import Jobs
from registry.catalogue.measurements import Measurements
from registry.catalogue.migrations import migrate
from registry.catalogue.models import Models
from registry.catalogue.policies import Policies
from registry.catalogue.releases import Releases
from registry.catalogue.rows import LabelledRows
from registry.catalogue.telemetry import TelemetryWindows
from registry.catalogue.tokens import Tokens
from registry.errors import NotInitialisedError

FILE = "catalogue.db"


class Catalogue:
    """Everything the registry knows.

    Thread-safe and usable from several processes at the same time: each thread has its own connection, and writers
    wait for one another.
    """

    def __init__(self, home: Path, clock: Callable[[], float]) -> None:
        self._connections = connections = Connections(home / FILE)
        self.home = home
        self.tokens = Tokens(connections, clock)
        self.enrolments = Enrolments(connections, clock)
        self.devices = Devices(connections, clock)
        self.certificates = Certificates(connections, clock)
        self.models = Models(connections, clock)
        self.releases = Releases(connections, clock)
        self.assignments = Assignments(connections, clock)
        self.telemetry = TelemetryWindows(connections, clock)
        self.events = Events(connections, clock)
        self.drift = DriftReports(connections)
        self.policies = Policies(connections, clock)
        self.rows = LabelledRows(connections)
        self.datasets = Datasets(connections, clock, Blobs(home))
        self.jobs = Jobs(connections, clock)
        self.measurements = Measurements(connections, clock)
        migrate(connections, clock())

    @classmethod
    def open(cls, home: Path, clock: Callable[[], float] = time.time) -> "Catalogue":
        """Open the catalogue of a registry's home, brought to the newest layout.

        Raises:
            NotInitialisedError: the home has no catalogue.
            CatalogueError: it cannot be read, or a newer Genba has written it.
        """
        if not (home / FILE).is_file():
            raise NotInitialisedError(home)
        return cls(home, clock)

    @classmethod
    def create(cls, home: Path, clock: Callable[[], float] = time.time) -> "Catalogue":
        """Make the catalogue of a new home; one that is there already is opened."""
        home.mkdir(parents=True, exist_ok=True)
        return cls(home, clock)

    def transaction(self) -> AbstractContextManager[Any]:
        """Everything that this thread changes in the block is kept, or nothing is."""
        return self._connections.transaction()

    def close(self) -> None:
        """Close this thread's connection."""
        self._connections.close()
