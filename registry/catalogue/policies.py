"""Policies: what makes each model retrain."""

from collections.abc import Callable

import msgspec

from registry.catalogue._sqlite import Connections
from registry.monitoring.policy import Policy

_decoder = msgspec.json.Decoder(Policy)


class Policies:
    """One policy per model; the default where none was set."""

    def __init__(self, connections: Connections, clock: Callable[[], float]) -> None:
        self._connections = connections
        self._clock = clock

    def get(self, model: str) -> Policy:
        row = self._connections.row("SELECT body FROM policies WHERE model = ?", (model,))
        return Policy() if row is None else _decoder.decode(row["body"])

    def set(self, model: str, policy: Policy) -> None:
        body = {"model": model, "changed_at": self._clock(), "body": msgspec.json.encode(policy)}
        with self._connections.transaction() as db:
            db["policies"].insert(body, pk="model", replace=True)
