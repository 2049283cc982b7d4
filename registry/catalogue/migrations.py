"""Numbered migrations: each commits together with the record that it ran, so none runs twice or by half."""

from collections.abc import Callable
from typing import Any

from registry.catalogue._sqlite import Connections
from registry.errors import CatalogueError

Migration = Callable[[Any], None]


def migrate(connections: Connections, now: float) -> None:
    """Bring the file to the newest layout.

    Raises:
        CatalogueError: a newer Genba has written it.
    """
    with connections.transaction() as db:
        db.execute("CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT, applied_at REAL)")
        done = {row["number"] for row in db.query("SELECT number FROM migrations")}
        if done and max(done) > len(MIGRATIONS):
            raise CatalogueError(
                f"the catalogue is at migration {max(done)} and this Genba knows {len(MIGRATIONS)}; update Genba here"
            )
        for number, migration in enumerate(MIGRATIONS, start=1):
            if number not in done:
                migration(db)
                db["migrations"].insert({"number": number, "name": migration.__name__, "applied_at": now})


def fleet(db: Any) -> None:
    """Tokens, enrolments, devices and what they are assigned."""
    db.execute("CREATE TABLE tokens (sha256 TEXT PRIMARY KEY, label TEXT NOT NULL, created_at REAL NOT NULL)")
    db.execute(
        """CREATE TABLE enrolments (sha256 TEXT PRIMARY KEY, device TEXT NOT NULL, site TEXT NOT NULL,
        created_at REAL NOT NULL, expires_at REAL NOT NULL, used_at REAL)"""
    )
    db.execute(
        """CREATE TABLE devices (name TEXT PRIMARY KEY, site TEXT NOT NULL, profile TEXT NOT NULL,
        certificate TEXT NOT NULL, serial TEXT NOT NULL, enrolled_at REAL NOT NULL,
        online INTEGER NOT NULL DEFAULT 0, seen_at REAL, status BLOB)"""
    )
    db.execute(
        """CREATE TABLE assignments (device TEXT PRIMARY KEY REFERENCES devices(name), revision INTEGER NOT NULL,
        changed_at REAL NOT NULL, body BLOB NOT NULL)"""
    )
    db.execute("CREATE UNIQUE INDEX assignments_revision ON assignments(revision)")


def models(db: Any) -> None:
    """Models, their releases and their policies. A version number is given once, even if its release fails."""
    db.execute(
        """CREATE TABLE models (name TEXT PRIMARY KEY, last_version INTEGER NOT NULL, created_at REAL NOT NULL,
        champion INTEGER)"""
    )
    db.execute(
        """CREATE TABLE releases (model TEXT NOT NULL REFERENCES models(name), version INTEGER NOT NULL,
        digest TEXT NOT NULL, manifest BLOB NOT NULL, manifest_sha256 TEXT NOT NULL, published_at REAL NOT NULL,
        published_by TEXT NOT NULL, report BLOB, PRIMARY KEY (model, version))"""
    )
    db.execute("CREATE TABLE policies (model TEXT PRIMARY KEY, changed_at REAL NOT NULL, body BLOB NOT NULL)")


def monitoring(db: Any) -> None:
    """What devices send back, and what is concluded from it."""
    db.execute(
        """CREATE TABLE telemetry (device TEXT NOT NULL, id INTEGER NOT NULL, site TEXT NOT NULL,
        stream TEXT NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL, start REAL NOT NULL, "end" REAL NOT NULL,
        size_bytes INTEGER NOT NULL, received_at REAL NOT NULL, body BLOB NOT NULL, PRIMARY KEY (device, id))"""
    )
    db.execute('CREATE INDEX telemetry_release ON telemetry(model, version, "end")')
    db.execute('CREATE INDEX telemetry_device ON telemetry(device, "end")')
    db.execute(
        """CREATE TABLE events (number INTEGER PRIMARY KEY, device TEXT, id INTEGER NOT NULL, at REAL NOT NULL,
        kind TEXT NOT NULL, level TEXT NOT NULL, text TEXT NOT NULL, model TEXT, version INTEGER,
        detail TEXT NOT NULL, UNIQUE (device, id))"""
    )
    db.execute("CREATE INDEX events_model ON events(model)")
    db.execute(
        """CREATE TABLE drift_reports (id INTEGER PRIMARY KEY, model TEXT NOT NULL, version INTEGER NOT NULL,
        start REAL NOT NULL, "end" REAL NOT NULL, drifted INTEGER NOT NULL, body BLOB NOT NULL)"""
    )
    db.execute('CREATE INDEX drift_reports_model ON drift_reports(model, "end")')


def work(db: Any) -> None:
    """Datasets, labelled rows and jobs."""
    db.execute(
        """CREATE TABLE datasets (sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, size_bytes INTEGER NOT NULL,
        added_at REAL NOT NULL)"""
    )
    db.execute(
        """CREATE TABLE labelled_rows (id INTEGER PRIMARY KEY, model TEXT NOT NULL, arrived_at REAL NOT NULL,
        body BLOB NOT NULL)"""
    )
    db.execute("CREATE INDEX labelled_rows_model ON labelled_rows(model, id)")
    db.execute(
        """CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, model TEXT,
        state TEXT NOT NULL, parameters TEXT NOT NULL, reason TEXT NOT NULL, created_at REAL NOT NULL,
        started_at REAL, finished_at REAL, worker TEXT, attempts INTEGER NOT NULL DEFAULT 0,
        text TEXT NOT NULL DEFAULT '', fraction REAL NOT NULL DEFAULT 0, result TEXT, error TEXT)"""
    )
    db.execute("CREATE INDEX jobs_state ON jobs(state, id)")


def replacements(db: Any) -> None:
    """Whether an enrolment token may take the place of a device that is enrolled. Tokens of before could."""
    db.execute("ALTER TABLE enrolments ADD COLUMN replaces INTEGER NOT NULL DEFAULT 1")


def identities(db: Any) -> None:
    """Every certificate that was issued; which devices are locked out, and which are there twice."""
    db.execute(
        """CREATE TABLE certificates (serial TEXT PRIMARY KEY, holder TEXT NOT NULL, pem TEXT NOT NULL,
        issued_at REAL NOT NULL, expires_at REAL NOT NULL, revoked_at REAL)"""
    )
    db.execute("CREATE INDEX certificates_holder ON certificates(holder, issued_at)")
    db.execute(
        "INSERT OR IGNORE INTO certificates (serial, holder, pem, issued_at, expires_at)"
        " SELECT serial, site || '.' || name, certificate, enrolled_at, enrolled_at + 31536000 FROM devices"
    )
    for column in ("revoked_at REAL", "cloned_at REAL", "instance TEXT", "rivals TEXT"):
        db.execute(f"ALTER TABLE devices ADD COLUMN {column}")


def retention(db: Any) -> None:
    """What is old is found without reading all."""
    db.execute('CREATE INDEX telemetry_end ON telemetry("end")')
    db.execute("CREATE INDEX events_at ON events(at)")


def measuring(db: Any) -> None:
    """Graphs that devices are asked to time. `signed`: the director lists the job for the device."""
    db.execute(
        """CREATE TABLE measurements (id INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, files TEXT NOT NULL,
        created_at REAL NOT NULL, expires_at REAL NOT NULL, seconds REAL NOT NULL, asked_by TEXT NOT NULL)"""
    )
    db.execute(
        """CREATE TABLE measured_devices (measurement INTEGER NOT NULL REFERENCES measurements(id) ON DELETE CASCADE,
        device TEXT NOT NULL, profile TEXT NOT NULL, signed INTEGER NOT NULL DEFAULT 1, figures TEXT, answered_at REAL,
        PRIMARY KEY (measurement, device))"""
    )
    db.execute("CREATE INDEX measured_devices_open ON measured_devices(device) WHERE figures IS NULL OR signed = 1")
    db.execute("CREATE INDEX measurements_expiry ON measurements(expires_at)")


#: Append only: a number that has run anywhere keeps its meaning for ever.
MIGRATIONS: tuple[Migration, ...] = (fleet, models, monitoring, work, replacements, identities, retention, measuring)
