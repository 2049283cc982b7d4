"""Run on a release of ours: the size of its graph, and one row's latency in ONNX Runtime, warm."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from _automl_peer import latency_ms, versions


def first_row(release: Path) -> dict[str, np.ndarray]:
    """Return the first of the release's golden vectors, as the graph takes it."""
    manifest = json.loads((release / "release.json").read_text())
    with np.load(release / "golden.npz", allow_pickle=False) as golden:
        rows = [golden[f"input_{index}"][:1] for index in range(len(manifest["inputs"]))]
    texts = [row.astype(object) if row.dtype.kind == "U" else row for row in rows]
    return {spec["name"]: row for spec, row in zip(manifest["inputs"], texts, strict=True)}


def main(release: Path) -> None:
    graph = release / "model.onnx"
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    figures = {
        "size_bytes": graph.stat().st_size,
        "latency_ms": latency_ms(lambda row, _: session.run(None, row), first_row(release), ""),
        "packages": versions("genba"),
    }
    Path("figures.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
