"""Who may know whom: contracts over the source, and what a fresh interpreter really loads."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: For each package, the third-party packages that importing any of its modules may load. What a device installs.
PROTOCOLS = {"backports", "msgspec", "numpy", "datasketches", "_datasketches", "typing_extensions"}
DEVICES = PROTOCOLS
EDGE_AGENT = DEVICES | {
    "_brotli",  # urllib3 takes it where it is installed
    "_cffi_backend",
    "_openssl",
    "asn1crypto",  # of pkcs11
    "brotli",
    "cloudpickle",  # pyarrow takes it where it is installed
    "cryptography",
    "dns",  # paho looks brokers up by SRV record where it can; the agent never asks it to
    "google",  # securesystemslib looks for the cloud's key service; an empty namespace of protobuf answers
    "httptools",
    "idna",  # of dns
    "paho",
    "pkcs11",  # securesystemslib takes it where it is installed
    "psutil",
    "pyarrow",
    "securesystemslib",
    "tuf",
    "urllib3",
}
#: ONNX Runtime is the installer's choice, and takes half a second: it is loaded where a model is, and no earlier.
NEVER = {"flask", "sklearn", "pandas", "optuna", "shap", "sqlite_utils", "scipy", "onnx", "onnxruntime", "skl2onnx"}

#: Forks once a module, so that each is imported into an interpreter that has loaded nothing.
PROBE = """
import importlib, json, os, sys
sys.path[:0] = json.loads(sys.argv[1])
before = set(sys.modules)
report = {}
for name in json.loads(sys.argv[2]):
    inside, outside = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for part in name.split(","):
                importlib.import_module(part)
            names = sorted({key.partition(".")[0] for key in sys.modules.keys() - before})
            answer = [key for key in names if key not in sys.stdlib_module_names]
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(outside, json.dumps(answer).encode())
        os._exit(0)
    os.close(outside)
    with os.fdopen(inside, "rb") as pipe:
        report[name] = json.loads(pipe.read() or '"it died"')
    os.waitpid(child, 0)
print(json.dumps(report))
"""
#: What compiled modules and the interpreter put into sys.modules on their own account.
INTERPRETERS = re.compile(r"_cython_|cython_runtime$|_sysconfigdata_")
OURS = {"genba", "protocols", "devices", "edge_agent", "trainer", "registry", "rehearsal"}


def loaded(names: list[str], *paths: Path) -> dict[str, set[str]]:
    """Return module -> top-level third-party packages that importing it loads; `a,b` imports both into one."""
    arguments = [json.dumps([str(path) for path in paths]), json.dumps(names)]
    done = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    failed = {name: answer for name, answer in report.items() if isinstance(answer, str)}
    assert not failed
    return {
        name: {top for top in answer if top not in OURS and not INTERPRETERS.match(top)}
        for name, answer in report.items()
    }


def linted(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [*command, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )


def test_the_import_contracts_are_kept(root):
    done = linted(root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("protocols/names.py", "import devices.profiles", "protocols knows no sibling"),
        ("devices/fit.py", "import edge_agent.settings", "devices knows protocols alone"),
        ("edge_agent/rows.py", "import registry.errors", "the agent knows devices and protocols alone"),
        ("trainer/errors.py", "import registry.errors", "the trainer knows devices and protocols alone"),
        ("registry/errors.py", "import edge_agent.errors", "the registry never imports the agent"),
        ("registry/errors.py", "import rehearsal.fleet", "nobody knows the rehearsal"),
        ("registry/errors.py", "import trainer.errors", "only the worker's job process imports the trainer"),
    ],
)
def test_each_contract_fails_when_broken(root, tmp_path, module, line, contract):
    copy_packages(root, tmp_path)
    with (tmp_path / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = linted(tmp_path)
    assert done.returncode != 0
    assert f"{contract} BROKEN" in done.stdout


def copy_packages(root: Path, to: Path) -> None:
    for name in sorted(OURS - {"genba"}):
        shutil.copytree(root / name, to / name, ignore=shutil.ignore_patterns("__pycache__", "static", "templates"))
    for name in ("pyproject.toml", "genba.py"):
        shutil.copy(root / name, to / name)


@pytest.mark.parametrize(
    ("package", "allowed"), [("protocols", PROTOCOLS), ("devices", DEVICES), ("edge_agent", EDGE_AGENT)]
)
def test_modules_of_a_device_load_what_a_device_has(modules, package, allowed):
    assert not allowed & NEVER
    found = loaded(modules(package))
    assert found
    extra = {name: sorted(names - allowed) for name, names in found.items() if names - allowed}
    assert not extra


def test_the_front_door_loads_nothing_but_itself():
    assert loaded(["genba"]) == {"genba": set()}


def test_the_web_process_is_lean(modules):
    """The registry's pages come from a process that has neither pandas nor what training needs."""
    web = ",".join(name for name in modules("registry") if name.startswith("registry.web"))
    names = loaded([web])[web]
    assert "flask" in names
    assert not names & (NEVER - {"flask", "sqlite_utils"})


def test_the_live_probe_sees_what_source_does_not_show(tmp_path):
    """The probe itself can fail: an import made at run time is found."""
    (tmp_path / "sly.py").write_text("__import__('flask')\n")
    assert "flask" in loaded(["sly"], tmp_path)["sly"]


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("protocols", "import pandas"),
        ("protocols", "from time import time"),
        ("protocols", "import onnxruntime"),
        ("devices", "import flask"),
        ("devices", "from edge_agent import settings"),
        ("edge_agent", "from sklearn.linear_model import Ridge"),
        ("edge_agent", "import sqlite_utils"),
        ("edge_agent", "import trainer.train"),
    ],
)
def test_banned_imports_are_found_in_the_source(root, package, line):
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--no-cache", "-", "--stdin-filename"]
    done = subprocess.run(
        [*command, str(root / package / "new.py")], input=f"{line}\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "TID251" in done.stdout


def test_an_agent_with_no_stream_loads_no_numpy_and_nothing_that_verifies():
    loaded = "import sys, edge_agent.assembly, edge_agent.daemon; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert not {"numpy", "datasketches", "pyarrow", "onnxruntime"} & modules
    assert not {"cryptography", "securesystemslib.signer", "tuf.api.metadata", "urllib3"} & modules
