"""Jobs: long work that must survive a restart, as rows that workers claim."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from registry.catalogue._sqlite import Connections
from registry.errors import UnknownJobError

State = Literal["waiting", "running", "done", "failed"]
#: A job whose process died this often is not tried again.
MAX_ATTEMPTS = 3


class Job(msgspec.Struct, frozen=True):
    """One job. `fraction` of it is done (0 to 1); `text` says what it does while it runs. Times: seconds UTC."""

    id: int
    kind: str
    model: str | None
    state: State
    parameters: dict[str, Any]
    reason: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    worker: str | None
    attempts: int
    text: str
    fraction: float
    result: dict[str, Any] | None
    error: str | None


class Jobs:
    """The queue of jobs, oldest first, and what became of them."""

    def __init__(self, connections: Connections, clock: Callable[[], float]) -> None:
        self._connections = connections
        self._clock = clock

    def add(self, kind: str, parameters: Mapping[str, Any], reason: str) -> int:
        """Queue a job and return its number. `parameters` is JSON; its `model`, if any, is what the job is for."""
        row = {
            "kind": kind,
            "model": parameters.get("model"),
            "state": "waiting",
            "parameters": msgspec.json.encode(parameters).decode(),
            "reason": reason,
            "created_at": self._clock(),
        }
        with self._connections.transaction() as db:
            return int(db["jobs"].insert(row).last_pk)

    def claim(self, worker: str) -> Job | None:
        """Take the oldest waiting job; of two workers, one gets it. None where none waits."""
        with self._connections.transaction() as db:
            row = self._connections.row("SELECT id FROM jobs WHERE state = 'waiting' ORDER BY id LIMIT 1")
            if row is None:
                return None
            db.execute(
                "UPDATE jobs SET state = 'running', worker = ?, started_at = ?, attempts = attempts + 1,"
                " text = '', fraction = 0 WHERE id = ?",
                (worker, self._clock(), row["id"]),
            )
            return self.get(row["id"])

    def progress(self, job: int, text: str, fraction: float) -> None:
        """Say how far a running job is."""
        with self._connections.transaction() as db:
            db.execute(
                "UPDATE jobs SET text = ?, fraction = ? WHERE id = ? AND state = 'running'",
                (text, min(1.0, max(0.0, fraction)), job),
            )

    def finish(self, job: int, result: Mapping[str, Any]) -> None:
        """Close a running job with its result (JSON)."""
        with self._connections.transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'done', finished_at = ?, text = '', fraction = 1, result = ?"
                " WHERE id = ? AND state = 'running'",
                (self._clock(), msgspec.json.encode(result).decode(), job),
            )

    def amend(self, job: int, result: Mapping[str, Any]) -> None:
        """Replace the result of a job that is done: a person has gone on with it."""
        with self._connections.transaction() as db:
            encoded = msgspec.json.encode(result).decode()
            db.execute("UPDATE jobs SET result = ? WHERE id = ? AND state = 'done'", (encoded, job))

    def fail(self, job: int, reason: str) -> None:
        """Close a job that cannot be done; `reason` is one line."""
        with self._connections.transaction() as db:
            db.execute(
                "UPDATE jobs SET state = 'failed', finished_at = ?, text = '', error = ?"
                " WHERE id = ? AND state IN ('running', 'waiting')",
                (self._clock(), reason, job),
            )

    def requeue_lost(self, worker: str) -> list[int]:
        """Queue again what this worker was running when it died, and return those jobs.

        A job that was lost `MAX_ATTEMPTS` times fails instead: it would take the worker down for ever.
        """
        with self._connections.transaction() as db:
            rows = self._connections.rows(
                "SELECT id, attempts FROM jobs WHERE state = 'running' AND worker = ? ORDER BY id", (worker,)
            )
            for row in rows:
                if row["attempts"] >= MAX_ATTEMPTS:
                    self.fail(row["id"], f"its process died {row['attempts']} times")
                else:
                    db.execute(
                        "UPDATE jobs SET state = 'waiting', worker = NULL, text = '', fraction = 0 WHERE id = ?",
                        (row["id"],),
                    )
        return [row["id"] for row in rows if row["attempts"] < MAX_ATTEMPTS]

    def get(self, job: int) -> Job:
        """Return one job.

        Raises:
            UnknownJobError: there is none of that number.
        """
        row = self._connections.row("SELECT * FROM jobs WHERE id = ?", (min(job, 2**62),))
        if row is None:
            raise UnknownJobError(job)
        return _job(row)

    def list(
        self, *, state: State | None = None, kind: str | None = None, model: str | None = None, limit: int = 100
    ) -> list[Job]:
        """Return the newest jobs, newest first; of one state, kind or model where given."""
        rows = self._connections.rows(
            "SELECT * FROM jobs WHERE (? IS NULL OR state = ?) AND (? IS NULL OR kind = ?)"
            " AND (? IS NULL OR model = ?) ORDER BY id DESC LIMIT ?",
            (state, state, kind, kind, model, model, limit),
        )
        return [_job(row) for row in rows]


def _job(row: Mapping[str, Any]) -> Job:
    result = None if row["result"] is None else msgspec.json.decode(row["result"])
    return msgspec.convert({**row, "parameters": msgspec.json.decode(row["parameters"]), "result": result}, Job)
