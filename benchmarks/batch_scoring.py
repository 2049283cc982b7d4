"""Batch scoring, Parquet to Parquet, of 30 columns: rows a second and peak memory, beside ONNX Runtime alone.

The limit is ONNX Runtime's own `run` over the same record batches, with as many threads, with and without spinning,
whichever is faster: reading, checking, sketching and writing are ours to hide behind it. They take turns; medians are
compared. The model is a gradient-boosted forest of 100 trees, which `genba import` made a candidate of.

--full: 10 million rows (default one million).  --rounds N: of each (default 3).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]
os.environ["PYTHONPATH"] = str(ROOT)

COLUMNS = [f"sensor_{index:02d}" for index in range(30)]
BATCH_ROWS = 16_384
ROW_GROUP = 1_000_000


def make_candidate(folder: Path) -> Path:
    import joblib
    import numpy as np
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingRegressor

    source = np.random.default_rng(0)
    table = pd.DataFrame(source.normal(size=(20_000, len(COLUMNS))).astype(np.float32), columns=COLUMNS)
    target = table["sensor_00"] * 2 + np.sin(table["sensor_01"] * 3) + table["sensor_02"] * table["sensor_03"]
    joblib.dump(HistGradientBoostingRegressor(max_iter=100, random_state=0).fit(table, target), folder / "m.joblib")
    table.assign(target=target).to_csv(folder / "sample.csv", index=False)
    command = [sys.executable, "-m", "genba", "import", "--trust", str(folder / "m.joblib"), "--model", "bench"]
    command += ["--sample", str(folder / "sample.csv"), "--target", "target", "--out", str(folder / "candidate")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / "candidate"


def write_input(path: Path, rows: int) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet

    source = np.random.default_rng(1)
    schema = pa.schema([("id", pa.int64()), *((name, pa.float32()) for name in COLUMNS)])
    with pyarrow.parquet.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for first in range(0, rows, ROW_GROUP):
            count = min(ROW_GROUP, rows - first)
            values = [source.standard_normal(count, dtype=np.float32) for _ in COLUMNS]
            writer.write_table(pa.table([np.arange(first, first + count), *values], schema=schema), ROW_GROUP)


def measure_limit(model: Path, path: Path, threads: int, spinning: str) -> float:
    """Return the rows a second of `run` alone."""
    import onnxruntime
    import pyarrow.parquet

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    session = onnxruntime.InferenceSession(str(model), options)
    rows, spent = 0, 0.0
    for batch in pyarrow.parquet.ParquetFile(path, pre_buffer=False).iter_batches(BATCH_ROWS, columns=COLUMNS):
        feed = {name: batch[name].to_numpy().reshape(-1, 1) for name in COLUMNS}
        began = time.perf_counter()
        session.run(None, feed)
        spent += time.perf_counter() - began
        rows += batch.num_rows
    return rows / spent


class PeakMemory(threading.Thread):
    """The largest RSS and PSS of a process, looked at five times a second; of RSS, the kernel keeps the peak."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._folder = Path(f"/proc/{process}")
        self.rss_mb = self.pss_mb = 0.0
        self.start()

    def run(self) -> None:
        while True:
            try:
                text = (self._folder / "smaps_rollup").read_text() + (self._folder / "status").read_text()
            except OSError:
                return
            kept = {line.split(":")[0]: line.split()[1] for line in text.splitlines() if line.endswith("kB")}
            if "VmHWM" not in kept:
                return
            self.rss_mb = int(kept["VmHWM"]) / 1024
            self.pss_mb = max(self.pss_mb, int(kept["Pss"]) / 1024)
            time.sleep(0.2)


def measure_ours(candidate: Path, path: Path, out: Path, threads: int, keep: list[str]) -> tuple[float, float, float]:
    """Return rows a second, peak RSS and peak PSS in MB."""
    summary = out.with_suffix(".json")
    command = [sys.executable, "-m", "genba", "score", str(candidate), str(path), "--out", str(out)]
    command += ["--threads", str(threads), "--batch-rows", str(BATCH_ROWS), "--summary", str(summary)]
    command += ["--keep", *keep] if keep else []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = PeakMemory(process.pid)
    assert process.wait() == 0
    out.unlink()
    return json.loads(summary.read_bytes())["rows_a_second"], peak.rss_mb, peak.pss_mb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="10 million rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.limit:
        model, path, threads, spinning = arguments.limit
        print(measure_limit(Path(model), Path(path), int(threads), spinning))
        return
    rows, threads = 10_000_000 if arguments.full else 1_000_000, len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        candidate = make_candidate(folder)
        write_input(folder / "in.parquet", rows)
        limits, ours = {"0": [], "1": []}, {"key column kept": [], "all columns kept": []}
        for _ in range(arguments.rounds):
            again = [sys.executable, __file__, "--limit", str(candidate / "model.onnx"), str(folder / "in.parquet")]
            for spinning, found in limits.items():
                told = subprocess.run([*again, str(threads), spinning], check=True, capture_output=True).stdout
                found.append(float(told))
            for what, keep in (("key column kept", ["id"]), ("all columns kept", [])):
                found = measure_ours(candidate, folder / "in.parquet", folder / "out.parquet", threads, keep)
                ours[what].append(found)
    limit = max(map(statistics.median, limits.values()))
    print(f"{rows} rows x {len(COLUMNS)} columns, {threads} threads, medians of {arguments.rounds}")
    print(f"ONNX Runtime alone: {limit:.0f} rows a second")
    for what, found in ours.items():
        rate = statistics.median(each[0] for each in found)
        memory = f"peak RSS {max(each[1] for each in found):.0f} MB, PSS {max(each[2] for each in found):.0f} MB"
        print(f"genba score, {what}: {rate:.0f} rows a second, ratio {rate / limit:.2f} (target 0.8); {memory}")


if __name__ == "__main__":
    main()
