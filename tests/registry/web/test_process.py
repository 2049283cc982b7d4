"""The web process: what it loads, how it starts and stops."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

HEAVY = ("pandas", "sklearn", "onnx", "onnxruntime", "skl2onnx", "optuna", "shap", "trainer", "edge_agent", "amqtt")


def test_the_web_process_stays_lean():
    code = f"import sys, registry.web.__main__; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_pandas_is_importable_after_the_catalogue_is():
    pytest.importorskip("pandas")
    code = "import registry.catalogue, sys; assert 'pandas' not in sys.modules; import pandas; print(pandas.DataFrame)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_it_serves_and_ends_on_sigterm(home):
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "registry.web", "--home", str(home), "--port", str(port)])
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as reply:
                    assert json.load(reply)["status"] == "ok"
                break
            except OSError:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def test_a_port_in_use_is_one_clear_line(home):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        arguments = [sys.executable, "-m", "registry.web", "--home", str(home), "--port", str(port)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr == f"genba: port {port} on 127.0.0.1 is in use by another process; choose another with --port\n"
