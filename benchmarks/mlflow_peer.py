"""The HTTP endpoint beside MLflow's scoring server, and `genba score` beside `mlflow models predict`: one ONNX file.

MLflow lives in a virtual environment of its own (about 800 MB), which the first run makes under ~/.cache/genba. Both
servers are one process, validate their input, and are asked by the same client over kept connections, in turns. MLflow
is asked in both of its formats: `inputs` by its ONNX flavour, and `dataframe_split` by a few lines of Python around the
same file, since the flavour feeds a table without the second dimension that each of the graph's inputs has. Whole files
are scored with two models: 100 boosted trees, where ONNX Runtime's own time bounds both sides, and a linear one.
`genba score` runs without pandas, as on a device; pyarrow loads it where it is installed.

What bounds us is measured in the same rounds: servers that parse a request and answer with fixed bytes, without any
prediction or after `run` on a fixed row, asked by the same client; and ONNX Runtime alone over the same rows in memory.
CPU time is told beside the time that passed, since other programs of a busy machine lengthen only the latter.
"""

import argparse
import json
import os
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import psutil
from _bare_server import bare
from _raw_runtime import raw_rows_a_second

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests")]

MLFLOW = "3.17.2"
CONNECTIONS = (1, 16)
#: Rows of one request when rows count, and not requests.
BATCH = 1000
#: Of the bare servers: as large as ours for one row.
ANSWER_BYTES = 120

#: Run by MLflow's interpreter: saves the models.
SAVE = '''
import sys
import mlflow, numpy as np, onnx, pandas as pd

path, folder, names = sys.argv[1], sys.argv[2], sys.argv[3:]
table = pd.DataFrame({name: np.ones(2) for name in names})
tensors = {name: np.ones((2, 1), np.float32) for name in names}
answer = np.ones((2, 1), np.float32)
mlflow.onnx.save_model(
    onnx.load(path), folder + "/inputs", signature=mlflow.models.infer_signature(tensors, {"prediction": answer})
)

class Columns(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        import onnxruntime
        self.session = onnxruntime.InferenceSession(context.artifacts["model"], providers=["CPUExecutionProvider"])
        self.names = [node.name for node in self.session.get_inputs()]

    def predict(self, context, model_input, params=None):
        feeds = {name: model_input[name].to_numpy(np.float32).reshape(-1, 1) for name in self.names}
        return self.session.run(["prediction"], feeds)[0].ravel()

mlflow.pyfunc.save_model(
    folder + "/dataframe_split", python_model=Columns(), artifacts={"model": path},
    signature=mlflow.models.infer_signature(table, answer.ravel()),
)
'''  # fmt: skip


def mlflow_environment() -> Path:
    """Return the interpreter of MLflow's own environment, made if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "genba" / f"mlflow-{MLFLOW}-onnxruntime-{version('onnxruntime')}"
    python, done = folder / "bin" / "python", folder / ".installed"
    if not done.exists():
        print(f"installing MLflow {MLFLOW} (once) ...", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        needs = [f"mlflow=={MLFLOW}", "onnx", f"onnxruntime=={version('onnxruntime')}"]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *needs], check=True)
        done.touch()
    return python


def mlflow_variables(python: Path) -> dict[str, str]:
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def serve(release: Path) -> None:
    """Serve a release as the daemon does, until killed."""
    from edge_agent.endpoint.assembly import Endpoint
    from edge_agent.inference import Model
    from edge_agent.releases import read_release
    from edge_agent.session_plan import SessionPlan
    from edge_agent.streams import StreamEngine

    manifest = read_release(release)
    cores = len(os.sched_getaffinity(0))
    engine = StreamEngine(lambda *_: None, lambda *_: None, cores=cores)
    engine.serve(manifest.model, Model(release, manifest, SessionPlan(threads=cores)))
    engine.start()
    endpoint = Endpoint(0, engine, lambda: None, "0")
    endpoint.open()
    print(endpoint.port, flush=True)
    time.sleep(1e6)


@contextmanager
def genba(release: Path) -> Iterator[tuple[int, int]]:
    """Yield the server's port and process."""
    server = subprocess.Popen([sys.executable, __file__, "--serve", str(release)], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline()), server.pid
    finally:
        server.kill()
        server.wait()


@contextmanager
def mlflow(python: Path, model: Path) -> Iterator[tuple[int, int]]:
    """Yield the server's port and process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [str(python), "-m", "mlflow", "models", "serve", "-m", str(model), "-p", str(port)]
    server = subprocess.Popen(
        [*command, "--env-manager", "local", "--workers", "1"],
        env=mlflow_variables(python), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not answers(port):
            assert server.poll() is None, "MLflow's server ended"
            assert time.monotonic() < deadline, "MLflow's server does not answer"
            time.sleep(0.2)
        yield port, server.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, 9)
        server.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            return False
        probe.settimeout(10)
        probe.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return probe.recv(100).startswith(b"HTTP/1.1 200")


def post(path: str, body: bytes, more: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def bodies(columns: dict[str, list[float]]) -> dict[str, bytes]:
    """Return the same rows in each format, as a whole request."""
    import numpy as np

    names, rows = list(columns), len(next(iter(columns.values())))
    tensors = [{"name": n, "datatype": "FP32", "shape": [rows, 1], "data": values} for n, values in columns.items()]
    raw = [np.array(values, "<f4").tobytes() for values in columns.values()]
    binary = [
        {"name": n, "datatype": "FP32", "shape": [rows, 1], "parameters": {"binary_data_size": len(data)}}
        for n, data in zip(names, raw, strict=True)
    ]
    head = json.dumps({"inputs": binary, "parameters": {"binary_data_output": True}}).encode()
    nested = {name: [[value] for value in values] for name, values in columns.items()}
    split = {"columns": names, "data": [list(row) for row in zip(*columns.values(), strict=True)]}
    infer = "/v2/models/bench/infer"
    return {
        "genba json": post(infer, json.dumps({"inputs": tensors}).encode()),
        "genba binary": post(infer, b"".join([head, *raw]), f"Inference-Header-Content-Length: {len(head)}\r\n"),
        "mlflow inputs": post("/invocations", json.dumps({"inputs": nested}).encode()),
        "mlflow dataframe_split": post("/invocations", json.dumps({"dataframe_split": split}).encode()),
    }


class Client:
    """Keeps one request on its way on each of some connections."""

    def __init__(self, port: int, connections: int, request: bytes) -> None:
        self._request = request
        self._selector = selectors.DefaultSelector()
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        for each in self._sockets:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            each.setblocking(True)
            self._selector.register(each, selectors.EVENT_READ, bytearray())

    def run(self, requests: int) -> float:
        """Return the requests a second."""
        began, left, sent = time.perf_counter(), requests, 0
        for each in self._sockets[:requests]:
            each.sendall(self._request)
            sent += 1
        while left:
            for key, _ in self._selector.select(60):
                if self._whole(key):
                    left -= 1
                    if sent < requests:
                        key.fileobj.sendall(self._request)  # type: ignore[union-attr]
                        sent += 1
        return requests / (time.perf_counter() - began)

    def _whole(self, key: selectors.SelectorKey) -> bool:
        """Take in what came; return whether an answer is whole."""
        part = key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
        assert part, "the server closed the connection"
        key.data.extend(part)
        head, found, body = key.data.partition(b"\r\n\r\n")
        if not found:
            return False
        assert head.startswith(b"HTTP/1.1 200"), bytes(key.data[:600])
        length = next(
            int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        if len(body) < length:
            return False
        key.data.clear()
        return True

    def close(self) -> None:
        for each in self._sockets:
            each.close()


def measure(server: tuple[int, int], connections: int, request: bytes, requests: int) -> tuple[float, float]:
    """Return the requests a second, and what each cost the server in microseconds of CPU time."""
    port, process = server
    client = Client(port, connections, request)
    client.run(max(20, requests // 10))
    before = cpu_s(process)
    try:
        return client.run(requests), (cpu_s(process) - before) / requests * 1e6
    finally:
        client.close()


def cpu_s(process: int) -> float:
    """Return the CPU time that a process and its children have taken."""
    tree = [psutil.Process(process), *psutil.Process(process).children(recursive=True)]
    times = [one.cpu_times() for one in tree]
    return sum(one.user + one.system for one in times)


def compare_servers(release: Path, models: Path, python: Path, rounds: int, requests: int) -> None:
    columns = columns_of(release, BATCH)
    one, many = bodies({name: values[:1] for name, values in columns.items()}), bodies(columns)
    sides: dict[str, Callable[[], object]] = {
        "genba json": lambda: genba(release),
        "genba binary": lambda: genba(release),
        "mlflow inputs": lambda: mlflow(python, models / "inputs"),
        "mlflow dataframe_split": lambda: mlflow(python, models / "dataframe_split"),
        "bare asyncio": lambda: bare("asyncio", ANSWER_BYTES),
        "bare asyncio and run": lambda: bare("asyncio", ANSWER_BYTES, release / "model.onnx"),
        "bare socket": lambda: bare("socket", ANSWER_BYTES),
    }
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for side, start in sides.items():
            share = 20 if side.startswith("mlflow") else 1
            with start() as server:  # type: ignore[attr-defined]
                for connections in CONNECTIONS[:1] if side == "bare socket" else CONNECTIONS:
                    rate, cost_us = measure(server, connections, one.get(side, one["genba json"]), requests // share)
                    found.setdefault((side, f"requests a second, {connections} at once"), []).append(rate)
                    found.setdefault((side, f"CPU us a request, {connections} at once"), []).append(cost_us)
                if side in many:
                    rate, _ = measure(server, 2, many[side], max(10, requests // share // 20))
                    found.setdefault((side, f"rows a second, {BATCH} a request"), []).append(rate * BATCH)
    figures = {key: statistics.median(values) for key, values in found.items()}
    labels = list(dict.fromkeys(label for _, label in figures))
    print("the ratios are json by inputs and json by dataframe_split; of CPU time, the other way round")
    print(f"{'':34}" + "".join(f"{side:>24}" for side in sides) + f"{'ratio':>8}{'ratio':>8}")
    for label in labels:
        row = [figures.get((side, label)) for side in sides]
        ours, _, *peers = [value or 0.0 for value in row[:4]]
        by_inputs, by_split = (ours / peer if label[:3] != "CPU" else peer / ours for peer in peers)
        shown = "".join(f"{'':>24}" if value is None else f"{value:24,.0f}" for value in row)
        print(f"{label:34}{shown}{by_inputs:8.1f}{by_split:8.1f}")
    print_limits(figures)


def print_limits(figures: dict[tuple[str, str], float]) -> None:
    """Set ours, and 20 times MLflow's requests a second, beside those of the servers that do nothing."""
    for connections in CONNECTIONS:
        label = f"requests a second, {connections} at once"
        for side in ("bare asyncio", "bare asyncio and run", "bare socket"):
            limit = figures.get((side, label))
            if limit is not None:
                of_peers = ", ".join(
                    f"20 x mlflow {name} {20 * figures[f'mlflow {name}', label] / limit:.0%}"
                    for name in ("inputs", "dataframe_split")
                )
                ours = figures["genba json", label] / limit
                print(f"{label}, as a share of {side}: genba json {ours:.0%}, {of_peers}")


def columns_of(release: Path, rows: int) -> dict[str, list[float]]:
    """Return rows within the ranges that the release was trained on."""
    import numpy as np

    from edge_agent.releases import read_release

    random = np.random.default_rng(7)
    return {
        spec.name: random.uniform(spec.low, spec.high, rows).round(2).tolist() for spec in read_release(release).inputs
    }


def compare_batches(label: str, release: Path, models: Path, python: Path, rounds: int, rows: int) -> None:
    """Time both commands from start to end on one CSV."""
    import pandas as pd

    columns = columns_of(release, rows)
    source, out, peer_out = (models / name for name in ("rows.csv", "ours.csv", "theirs.json"))
    pd.DataFrame(columns).to_csv(source, index=False)
    ours = [sys.executable, "-m", "genba", "score", str(release), str(source), "--out", str(out)]
    theirs = [str(python), "-m", "mlflow", "models", "predict", "-m", str(models / "dataframe_split")]
    theirs += ["-i", str(source), "-o", str(peer_out), "-t", "csv", "--env-manager", "local"]
    (models / "device" / "pandas").mkdir(parents=True)
    (models / "device" / "pandas" / "__init__.py").write_text("raise ImportError\n")
    device = {**os.environ, "PYTHONPATH": os.pathsep.join([str(models / "device"), str(ROOT)])}
    took: dict[str, list[tuple[float, float]]] = {"genba score": [], "mlflow models predict": []}
    raw = []
    for _ in range(rounds):
        out.unlink(missing_ok=True)
        for side, command, variables in (
            ("genba score", [*ours, "--keep", next(iter(columns))], device),
            ("mlflow models predict", theirs, mlflow_variables(python)),
        ):
            took[side].append(timed(command, variables, models))
        raw.append(rows / raw_rows_a_second(release / "model.onnx", source))
    check_answers(out, peer_out, rows)
    ours_s, theirs_s = (statistics.median(passed for passed, _ in found) for found in took.values())
    ours_cpu_s, theirs_cpu_s = (statistics.median(cpu for _, cpu in found) for found in took.values())
    raw_s = statistics.median(raw)
    print(f"{label}: genba score {rows / ours_s:,.0f}, mlflow models predict {rows / theirs_s:,.0f}, ", end="")
    cpu = f"CPU time {ours_cpu_s:.2f} s, {theirs_cpu_s:.2f} s: {theirs_cpu_s / ours_cpu_s:.1f}"
    print(f"ratio {theirs_s / ours_s:.1f} ({cpu})")
    print(f"    ONNX Runtime alone {rows / raw_s:,.0f}: genba score {raw_s / ours_s:.0%} of it, ", end="")
    print(f"5 x mlflow {5 * raw_s / theirs_s:.0%}")


def timed(command: list[str], variables: dict[str, str], folder: Path) -> tuple[float, float]:
    """Run a command; return the seconds that passed, and those of CPU time."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=variables, capture_output=True, cwd=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def check_answers(ours: Path, theirs: Path, rows: int) -> None:
    """Both answered every row, and alike."""
    import numpy as np
    import pandas as pd

    mine = pd.read_csv(ours)["prediction"].to_numpy()
    peer = np.array(
        [row if isinstance(row, float) else row["0"] for row in json.loads(theirs.read_text())["predictions"]]
    )
    assert len(mine) == len(peer) == rows
    assert np.allclose(mine, peer, rtol=1e-5)


def import_trees(folder: Path) -> Path:
    """Make a candidate of 100 boosted trees on the power plant's readings."""
    import joblib
    from sklearn.ensemble import HistGradientBoostingRegressor

    from registry.demo.plant import power_plant

    table, target = power_plant(), "power [MW]"
    inputs = table.drop(columns=target).astype("float32")
    joblib.dump(
        HistGradientBoostingRegressor(max_iter=100, random_state=0).fit(inputs, table[target]), folder / "m.joblib"
    )
    table.to_csv(folder / "plant.csv", index=False)
    command = [sys.executable, "-m", "genba", "import", "--trust", str(folder / "m.joblib"), "--model", "bench"]
    command += ["--sample", str(folder / "plant.csv"), "--target", target, "--out", str(folder / "trees")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return folder / "trees"


def save(python: Path, release: Path, models: Path) -> None:
    """Save a release's ONNX file as MLflow's two models."""
    models.mkdir()
    command = [str(python), "-c", SAVE, str(release / "model.onnx"), str(models), *columns_of(release, 1)]
    subprocess.run(command, check=True, env=mlflow_variables(python), stderr=subprocess.DEVNULL, cwd=models)


def main(rounds: int, requests: int, rows: int) -> None:
    from simulators.small_models import write_release

    python = mlflow_environment()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trees, linear = import_trees(folder), folder / "linear"
        write_release(linear, version=0)
        for release in (trees, linear):
            save(python, release, folder / f"mlflow-{release.name}")
        compare_servers(trees, folder / "mlflow-trees", python, rounds, requests)
        print(f"\nwhole commands on {rows:,} rows of CSV, rows a second")
        compare_batches("boosted trees", trees, folder / "mlflow-trees", python, rounds, rows)
        compare_batches("linear model ", linear, folder / "mlflow-linear", python, rounds, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    else:
        main(options.rounds, options.requests, options.rows)
