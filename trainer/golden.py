"""Golden vectors: inputs and the graph's own outputs, which every device must reproduce before it serves."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from protocols.manifest import Manifest
from trainer.cases import Case
from trainer.graphs import followed_output, run_graph

#: Rows of each case.
SHARES = {"held-out": 32, "missing": 10, "unseen": 10, "edges": 12}
#: How many rows are of the case `held-out`; in the file where rows were left out, since the manifest tells it else.
HELD_OUT = "held_out"


def golden_bytes(session: Any, names: Sequence[str], cases: Sequence[Case]) -> bytes:
    """Return `golden.npz`: input_0 ... and output_0 ... in the manifest's order, text as fixed-width Unicode.

    Args:
        session: the graph, opened; its outputs are what is expected.
        names: of the inputs, in the order of a case's columns.
    """
    parts = [case.take(SHARES[case.name]) for case in cases if case.name in SHARES]
    columns = [np.concatenate([part.columns[index] for part in parts]) for index in range(len(names))]
    feed = {name: values.reshape(-1, 1) for name, values in zip(names, columns, strict=True)}
    outputs = run_graph(session, feed)
    # NaN equals nothing, so a row that a foreign model answers with NaN proves nothing on a device.
    followed = followed_output(outputs).reshape(len(columns[0]), -1)
    told = np.isfinite(followed).all(axis=1)
    arrays = {f"input_{index}": _plain(feed[name][told]) for index, name in enumerate(names)}
    arrays |= {f"output_{index}": _plain(values[told]) for index, values in enumerate(outputs)}
    if not told.all():
        cases_of_rows = np.repeat([part.name for part in parts], [part.rows for part in parts])
        arrays[HELD_OUT] = np.array(int((told & (cases_of_rows == "held-out")).sum()))
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def held_out_rows(manifest: Manifest, rows: int, told: int | None) -> int:
    """Return how many rows of a release's golden vectors are held-out ones, which come first.

    Args:
        rows: of all cases.
        told: what the file itself says, under `HELD_OUT`. Without it, rows that an older Genba left out count as
            held-out ones: the rows that are returned are so in any case.
    """
    if told is not None:
        return told
    taken = {case.name: min(SHARES[case.name], case.rows) for case in manifest.parity.cases if case.name in SHARES}
    left_out = max(0, sum(taken.values()) - rows)
    return max(0, min(taken.get("held-out", 0) - left_out, rows))


def _plain(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Objects would need a pickle, and a pickle is code."""
    return values.astype(np.str_) if values.dtype == object else values
