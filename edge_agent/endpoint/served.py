"""A release that serves, as the endpoint calls it."""

from collections.abc import Sequence

import numpy as np

from edge_agent.batch_costs import BatchCosts
from edge_agent.endpoint.answers import called_outputs
from edge_agent.endpoint.batch import Array, Batch
from edge_agent.endpoint.exchange import Request
from edge_agent.endpoint.intake import Intake, called_inputs
from edge_agent.endpoint.table_intake import TableIntake
from edge_agent.endpoint.tensors import JSON_LIMIT_BYTES, Asking, read_call, read_table_call
from edge_agent.errors import CallRefusedError
from edge_agent.inference import Model

#: What a model takes at once at most, in rows and in bytes: what is inside of it may be many times wider.
PART_ROWS, PART_BYTES = 4096, 4 * 1024 * 1024


class Served:
    """A release that serves, and what is known of calling it."""

    def __init__(self, model: Model) -> None:
        manifest = model.manifest
        self.model, self.ref, self.threads = model, manifest.release, model.plan.threads
        self.outputs = called_outputs(manifest)
        self.costs = BatchCosts()
        self._intake = Intake(manifest)
        plain = manifest.feeding is None and not manifest.state
        of_numbers = plain and all(spec.dtype == "float32" for spec in manifest.inputs)
        self._table = TableIntake(manifest.inputs) if of_numbers else None
        #: Whether calls may run as one batch: nothing but their rows is in what the graph takes and gives.
        self.joins = plain and all(spec.shape[:1] == (None,) for spec in (*manifest.inputs, *manifest.outputs))
        #: Whether one call may run in parts: it has rows, and each gives its own.
        self._parts = not manifest.state and all(
            spec.shape[:1] == (None,) for spec in (*called_inputs(manifest), *self.outputs)
        )
        self._last_s: dict[int, float] = {}

    def read(self, request: Request) -> tuple[Asking, Batch]:
        """Return what is asked, and the batch to run.

        Raises:
            CallRefusedError: the request does not fit the model.
        """
        headers = request.headers
        encoding = headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise CallRefusedError(415, f"Content-Encoding is {encoding[:20]!r}; send the body as it is")
        json_bytes = headers.get("inference-header-content-length")
        if self._table is not None and json_bytes is None and len(request.body) <= JSON_LIMIT_BYTES:
            call = read_table_call(request.body)
            batch = self._table.read(call) if call is not None else None
            if call is not None and batch is not None:
                return call, batch
        any_call, binary = read_call(request.body, json_bytes)
        batch = self._table.read_binary(any_call, binary) if self._table is not None and len(binary) else None
        return any_call, batch or self._intake.read(any_call, binary)

    def run(self, columns: Sequence[Array]) -> list[Array]:
        """Return the outputs for any number of rows, of which no more are run at once than take little memory.

        Raises:
            ModelRunError: the model fails on them.
        """
        if not self._parts:
            return self.model.run(columns)
        rows = len(columns[0])
        if rows == 1:
            return self.model.run(columns)
        most = self._most_rows(sum(column.nbytes for column in columns) // rows)
        if rows <= most:
            return self.model.run(columns)
        found = []
        for first in range(0, rows, most):
            part = [column[first : first + most] for column in columns]
            outputs = self.model.run(part)
            if any(output.shape[:1] != part[0].shape[:1] for output in outputs):
                self._parts = False
                return self.model.run(columns)
            found.append(outputs)
        return [np.concatenate(outputs) for outputs in zip(*found, strict=True)]

    def _most_rows(self, row_bytes: int) -> int:
        return max(1, min(PART_ROWS, self.model.plan.max_batch or PART_ROWS, PART_BYTES // row_bytes))

    #: Several threads may tell; what one loses, the next makes good.
    def learn(self, rows: int, seconds: float) -> None:
        """Take note of one call; of two that follow one another, the quicker: the machine was busy in the other."""
        size = (rows - 1).bit_length()
        last_s, self._last_s[size] = self._last_s.get(size, seconds), seconds
        self.costs.learn(rows, min(last_s, seconds))
