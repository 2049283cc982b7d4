"""The kits: what they hold is judged by the tools that will read it."""

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import genba
from devices.kits.kit import memory_limit_mb, render, write_kit
from devices.profiles import list_profiles, load_profile

PROFILES = [profile.name for profile in list_profiles()]


@pytest.fixture(params=PROFILES)
def kit(request, tmp_path) -> Path:
    write_kit(load_profile(request.param), tmp_path / request.param)
    return tmp_path / request.param


def tool(name: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def judged(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip() + ("" if done.returncode == 0 else f" [status {done.returncode}]")


def test_systemd_takes_the_unit(kit, tmp_path):
    program = tmp_path / "genba"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = kit / "genba-agent.service"
    assert "ExecStart=/opt/genba/bin/genba agent run" in unit.read_text()
    unit.write_text(unit.read_text().replace("/opt/genba/bin/genba", str(program)))
    assert judged(tool("systemd-analyze"), "verify", "--man=no", unit) == ""


def test_systemd_finds_little_that_the_unit_could_reach(kit):
    version = int(judged(tool("systemd-analyze"), "--version").split()[1])
    if version < 252:
        pytest.skip(f"systemd {version} cannot rate a unit offline")
    command = ["security", "--offline=true", "--threshold=35", "--no-pager", kit / "genba-agent.service"]
    assert "[status" not in judged(tool("systemd-analyze"), *command)


def test_hadolint_finds_nothing_in_the_dockerfile(kit):
    assert judged(tool("hadolint"), "--failure-threshold", "style", kit / "Dockerfile") == ""


def test_shellcheck_finds_nothing_in_the_script(kit):
    assert judged(tool("shellcheck"), "--severity=style", kit / "wheelhouse.sh") == ""
    assert os.access(kit / "wheelhouse.sh", os.X_OK)


def test_nothing_is_left_to_fill_in(kit):
    assert not [path.name for path in kit.iterdir() if re.search(r"@\{", path.read_text())]


def test_the_container_runs_as_nobody_special_without_a_compiler(kit):
    text = (kit / "Dockerfile").read_text()
    final = text[text.rindex("FROM ") :]
    assert "USER 10001" in final
    assert '"agent", "status", "--check"' in final
    assert not re.search(r"gcc|build-essential|g\+\+|python3-dev", text)


def test_each_architecture_of_an_image_gets_its_own_wheels(kit):
    """A default for TARGETARCH would hold for every platform that is built, whatever it is."""
    text = (kit / "Dockerfile").read_text()
    assert "ARG TARGETARCH" not in text
    assert 'wheels="/wheelhouse/$(dpkg --print-architecture)"' in text


@pytest.mark.parametrize(
    ("profile", "build"),
    [
        ("raspberry-pi-4", "genba[cpu]"),
        ("x86", "genba[cpu]"),
        ("x86-openvino", "genba[openvino]"),
        ("x86-cuda", "genba[gpu]"),
        ("jetson-orin", "NVIDIA's onnxruntime-gpu"),
    ],
)
def test_the_readme_names_the_one_runtime_build(profile, build):
    assert build in render(load_profile(profile))["README.md"]


def test_only_an_accelerator_opens_device_files():
    assert "PrivateDevices=yes" in render(load_profile("x86"))["genba-agent.service"]
    openvino = render(load_profile("x86-openvino"))
    assert "SupplementaryGroups=render video" in openvino["genba-agent.service"]
    assert "70-genba-accelerator.rules" in openvino


@pytest.mark.parametrize("name", PROFILES)
def test_the_readme_says_what_the_memory_limits_need_of_the_kernel(name):
    text = render(load_profile(name))["README.md"]
    assert "/sys/fs/cgroup/cgroup.controllers" in text
    assert ("cgroup_enable=memory" in text) == name.startswith("raspberry-pi")


def test_a_raspberry_pi_gets_wheels_for_its_own_python():
    kit = render(load_profile("raspberry-pi-5"))
    assert "python_version=${PYTHON_VERSION:-3.13}" in kit["wheelhouse.sh"]
    assert "python:3.13-slim-trixie" in kit["Dockerfile"]
    assert "needs Python 3.13" in kit["README.md"]


@pytest.mark.parametrize("name", PROFILES)
def test_the_memory_limit_holds_a_model_and_its_proof_and_leaves_the_machine_some(name):
    profile = load_profile(name)
    assert profile.model_memory_mb + 512 < memory_limit_mb(profile) < profile.memory_mb


def test_the_verb_writes_a_kit_and_says_which_runtime(tmp_path, capsys):
    assert genba.main(["devices", "kit", "x86", "--out", str(tmp_path / "kit")]) == 0
    assert "ONNX Runtime for x86: onnxruntime" in capsys.readouterr().out
    assert {"README.md", "Dockerfile", "genba-agent.service", "wheelhouse.sh"} == {
        path.name for path in (tmp_path / "kit").iterdir()
    }


def test_what_is_there_is_written_over_by_force_alone(tmp_path, capsys):
    (tmp_path / "README.md").write_text("mine")
    assert genba.main(["devices", "kit", "x86", "--out", str(tmp_path)]) == 1
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "README.md").read_text() == "mine"
    assert genba.main(["devices", "kit", "x86", "--out", str(tmp_path), "--force"]) == 0
    assert (tmp_path / "README.md").read_text() != "mine"


def test_an_unknown_profile_lists_the_known_ones(tmp_path, capsys):
    assert genba.main(["devices", "kit", "abacus", "--out", str(tmp_path / "kit")]) == 1
    said = capsys.readouterr().err
    assert all(name in said for name in PROFILES)


def test_the_script_says_what_is_missing(kit, tmp_path):
    done = subprocess.run([kit / "wheelhouse.sh", "install", tmp_path / "venv"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "wheelhouse.sh download" in done.stderr or "no wheels for" in done.stderr
    assert subprocess.run([kit / "wheelhouse.sh"], capture_output=True).returncode == 2


def test_the_script_says_which_python_is_missing(tmp_path):
    write_kit(load_profile("x86"), tmp_path / "kit")
    for arch in ("amd64", "arm64"):
        (tmp_path / "kit" / "wheelhouse" / arch).mkdir(parents=True)
        (tmp_path / "kit" / "wheelhouse" / arch / "requirements.txt").touch()
    command, environment = (
        [tmp_path / "kit" / "wheelhouse.sh", "install", tmp_path / "venv"],
        {"PYTHON_VERSION": "3.99"},
    )
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 1
    assert "no python3.99 here" in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wheels_are_downloaded_and_installed_without_a_network(root, tmp_path):
    """The whole of the README's steps 1 and 2 for x86; needs a package index."""
    if os.uname().machine != "x86_64":
        pytest.skip("the wheels are for x86_64")
    if not (root / "genba.py").exists():
        pytest.skip("these tests run without the source that a wheel is made from")
    try:
        urllib.request.urlopen("https://pypi.org/simple/msgspec/", timeout=10).close()
    except OSError as error:
        pytest.skip(f"no package index can be reached: {error}")
    folder = tmp_path / "kit"
    write_kit(load_profile("x86"), folder)
    source = tmp_path / "source"
    left_out = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(root, source, ignore=left_out)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    environment = {**os.environ, "GENBA": str(source), "PYTHON_VERSION": python}
    run = [str(folder / "wheelhouse.sh")]
    done = subprocess.run([*run, "download"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    venv = tmp_path / "venv"
    environment |= {"HTTPS_PROXY": "http://127.0.0.1:1", "PIP_INDEX_URL": "http://127.0.0.1:1"}  # no way out
    done = subprocess.run([*run, "install", str(venv)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(f"genba {genba.__version__}")
    wheel = next((folder / "wheelhouse" / "amd64").glob("paho_mqtt-*.whl"))
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    again = subprocess.run(
        [*run, "install", str(tmp_path / "other")], env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode != 0
    assert "HASH" in again.stderr.upper()
