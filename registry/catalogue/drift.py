"""Drift reports: one per judged interval of a release."""

import msgspec

from registry.catalogue._sqlite import Connections
from registry.monitoring.reports import DriftReport

_decoder = msgspec.msgpack.Decoder(DriftReport)


class DriftReports:
    """The drift reports."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def add(self, report: DriftReport) -> None:
        with self._connections.transaction() as db:
            db["drift_reports"].insert(
                {
                    "model": report.model,
                    "version": report.version,
                    "start": report.start,
                    "end": report.end,
                    "drifted": report.drifted,
                    "body": msgspec.msgpack.encode(report),
                }
            )

    def list(self, model: str, limit: int = 100) -> list[DriftReport]:
        """Return a model's reports over all of its releases, newest first."""
        rows = self._connections.rows(
            'SELECT body FROM drift_reports WHERE model = ? ORDER BY "end" DESC, id DESC LIMIT ?', (model, limit)
        )
        return [_decoder.decode(row["body"]) for row in rows]
