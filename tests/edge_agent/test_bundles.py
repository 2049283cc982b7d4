"""`genba bundle install`: the checks of MQTT on what a stick brings, and every stick that is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from simulators.agent_home import make_home
from simulators.broker_process import wait_until
from simulators.registry_side import SignedReleases
from simulators.small_models import write_release
from simulators.stick import relist, write_stick

import genba
from edge_agent.bundles import read_bundle
from edge_agent.releases import read_release
from edge_agent.settings import AgentHome
from protocols.bundles import BUNDLE_FILE
from protocols.names import ReleaseRef
from protocols.resources import RELEASE_FILES

ROOT = Path(__file__).resolve().parents[2]
ONE = ReleaseRef("ccpp", 1)
NOWHERE = "mqtt://127.0.0.1:1"


@pytest.fixture
def home(tmp_path: Path, signed: SignedReleases) -> AgentHome:
    """A device whose broker does not exist."""
    return make_home(tmp_path / "agent", signed, NOWHERE)


@pytest.fixture
def stick(tmp_path: Path, signed: SignedReleases) -> Path:
    write_release(tmp_path / "made", name="ccpp", version=1)
    signed.publish(ONE, tmp_path / "made")
    signed.assign("press-1", ONE)
    return write_stick(tmp_path / "usb", signed, "press-1", ONE)


def install(stick: Path, home: AgentHome, capsys: Any) -> tuple[int, str, str]:
    status = genba.main(["bundle", "install", str(stick), "--home", str(home.folder)])
    said = capsys.readouterr()
    return status, said.out, said.err


def refused(stick: Path, home: AgentHome, capsys: Any) -> str:
    """Return the one line that an installation is refused with; nothing was changed."""
    before = sorted(home.folder.rglob("*"))
    status, out, err = install(stick, home, capsys)
    assert (status, out) == (1, "")
    assert err.startswith("genba: ")
    assert err.count("\n") == 1
    assert sorted(home.folder.rglob("*")) == before
    return err


def start(home: AgentHome) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "genba", "agent", "run", "--home", str(home.folder)]
    with (home.folder / "stderr").open("ab") as errors:
        return subprocess.Popen(command, cwd=ROOT, stderr=errors, env={**os.environ, "PYTHONPATH": str(ROOT)})


def serving(home: AgentHome) -> list[str]:
    if not home.status.exists():
        return []
    page = json.loads(home.status.read_text())
    return [f"{one['model']}@{one['version']} {one['state']}" for one in page.get("releases", [])]


def finish(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0


def test_a_device_without_network_installs_at_its_next_start(stick: Path, home: AgentHome, capsys: Any) -> None:
    status, out, err = install(stick, home, capsys)
    assert (status, out) == (0, "ccpp@1 (revision 1)\n")
    assert err == "verified; the agent installs it when it starts\n"
    process = start(home)
    try:
        wait_until(lambda: any(line.startswith("ccpp@1 active") for line in serving(home)), 30)
        wait_until(lambda: not home.stick.exists(), 10)
    finally:
        finish(process)
    assert read_release(home.releases / "ccpp" / "1").release == ONE
    assert not [path for path in home.folder.iterdir() if path.name.startswith(".")]


def test_a_running_agent_installs_at_once(stick: Path, home: AgentHome, capsys: Any) -> None:
    process = start(home)
    try:
        wait_until(home.status.exists, 15)
        status, _, err = install(stick, home, capsys)
        assert status == 0
        assert f"the running agent (process {process.pid}) installs it" in err
        wait_until(lambda: any(line.startswith("ccpp@1 active") for line in serving(home)), 30)
    finally:
        finish(process)


def test_the_agent_makes_every_check_again_itself(
    stick: Path, home: AgentHome, signed: SignedReleases, capsys: Any
) -> None:
    install(stick, home, capsys)
    for file in home.stick.glob("image/targets/**/*.model.onnx"):
        file.write_bytes(b"x" * file.stat().st_size)
    process = start(home)
    try:
        wait_until(lambda: any(line.startswith("ccpp@1 refused") for line in serving(home)), 30)
    finally:
        finish(process)
    assert not (home.releases / "ccpp" / "1").exists()


def test_a_folder_that_is_no_bundle(tmp_path: Path, signed: SignedReleases, home: AgentHome, capsys: Any) -> None:
    assert "none: there is no such folder; give" in refused(tmp_path / "none", home, capsys)
    (tmp_path / "file").write_text("")
    assert "file: it is a file; give" in refused(tmp_path / "file", home, capsys)
    (tmp_path / "empty").mkdir()
    assert "empty: is not a bundle: it has no bundle.json" in refused(tmp_path / "empty", home, capsys)
    (tmp_path / "empty" / BUNDLE_FILE).write_text("{]")
    assert "not a bundle's list" in refused(tmp_path / "empty", home, capsys)
    (tmp_path / "empty" / BUNDLE_FILE).write_text("[" * 100_000)
    assert "not a bundle's list" in refused(tmp_path / "empty", home, capsys)


@pytest.mark.parametrize("name", ["../outside", "image/targets/../../x", "/etc/passwd", "image/metadata/a\\b", "x"])
def test_a_name_that_leads_elsewhere(stick: Path, home: AgentHome, capsys: Any, name: str) -> None:
    relist(stick, **{name: 1})
    assert f"names {name!r}, which no file of a bundle is called" in refused(stick, home, capsys)


def model_of(stick: Path) -> Path:
    return next(stick.glob("image/targets/ccpp/1/*.model.onnx"))


def test_a_symbolic_link(stick: Path, home: AgentHome, capsys: Any, tmp_path: Path) -> None:
    model = model_of(stick)
    model.rename(tmp_path / "elsewhere")
    model.symlink_to(tmp_path / "elsewhere")
    assert f"{model}: it is a symbolic link" in refused(stick, home, capsys)


def test_a_symbolic_link_to_a_folder(stick: Path, home: AgentHome, capsys: Any, tmp_path: Path) -> None:
    (stick / "image").rename(tmp_path / "elsewhere")
    (stick / "image").symlink_to(tmp_path / "elsewhere")
    assert f"{stick / 'image'}: it is a symbolic link" in refused(stick, home, capsys)


def test_a_hard_link(stick: Path, home: AgentHome, capsys: Any, tmp_path: Path) -> None:
    model = model_of(stick)
    (tmp_path / "secret").hardlink_to(model)
    assert f"{model}: it is a hard link" in refused(stick, home, capsys)


def test_a_pipe_in_a_files_place(stick: Path, home: AgentHome, capsys: Any) -> None:
    model = model_of(stick)
    model.unlink()
    os.mkfifo(model)
    assert f"{model}: it is not a plain file" in refused(stick, home, capsys)


@pytest.mark.parametrize("size", [0, 10, 10**15])
def test_a_size_that_lies(stick: Path, home: AgentHome, capsys: Any, size: int) -> None:
    model = model_of(stick)
    name = str(model.relative_to(stick))
    relist(stick, **{name: size})
    assert f"it is {model.stat().st_size} bytes, and bundle.json says {size}" in refused(stick, home, capsys)


def test_a_file_that_was_cut_short(stick: Path, home: AgentHome, capsys: Any) -> None:
    model = model_of(stick)
    model.write_bytes(model.read_bytes()[:-1])
    assert "and bundle.json says" in refused(stick, home, capsys)


def test_a_missing_file(stick: Path, home: AgentHome, capsys: Any) -> None:
    model = model_of(stick)
    model.unlink()
    assert f"{model}: is missing" in refused(stick, home, capsys)


@pytest.mark.parametrize("name", RELEASE_FILES)
def test_a_tampered_file(stick: Path, home: AgentHome, capsys: Any, name: str) -> None:
    file = next(stick.glob(f"image/targets/ccpp/1/*.{name}"))
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert f"ccpp/1/{name}: what arrived is not what was signed" in refused(stick, home, capsys)


@pytest.mark.parametrize("name", ["director/metadata/timestamp.json", "image/metadata/timestamp.json"])
def test_tampered_metadata(stick: Path, home: AgentHome, capsys: Any, name: str) -> None:
    found = json.loads((stick / name).read_text())
    found["signed"]["version"] += 9
    relist(stick, **{name: (stick / name).write_text(json.dumps(found))})
    assert "signed by" in refused(stick, home, capsys)


def test_a_bundle_for_another_device(signed: SignedReleases, stick: Path, tmp_path: Path, capsys: Any) -> None:
    other = make_home(tmp_path / "other", signed, NOWHERE, device="press-2")
    said = refused(stick, other, capsys)
    assert "is for device 'press-1'; this is 'press-2': export one with --device press-2" in said


def test_another_devices_bundle_under_this_ones_name(
    signed: SignedReleases, stick: Path, tmp_path: Path, capsys: Any
) -> None:
    other = make_home(tmp_path / "other", signed, NOWHERE, device="press-2")
    listed = json.loads((stick / BUNDLE_FILE).read_text())
    (stick / BUNDLE_FILE).write_text(json.dumps({**listed, "device": "press-2"}))
    assert "signed it for device 'press-1', not 'press-2'" in refused(stick, other, capsys)


def test_a_stick_of_another_registry(stick: Path, tmp_path: Path, capsys: Any) -> None:
    stranger = make_home(tmp_path / "stranger", SignedReleases(tmp_path / "theirs"), NOWHERE)
    assert "signed by" in refused(stick, stranger, capsys)


def test_expired_metadata(tmp_path: Path, capsys: Any) -> None:
    signed = SignedReleases(tmp_path / "past", clock=lambda: time.time() - 9 * 86_400)
    write_release(tmp_path / "made", name="ccpp", version=1)
    signed.publish(ONE, tmp_path / "made")
    signed.assign("press-1", ONE)
    stick = write_stick(tmp_path / "usb", signed, "press-1", ONE, days=7)
    home = make_home(tmp_path / "agent", signed, NOWHERE)
    assert "expired" in refused(stick, home, capsys)


def test_older_metadata_than_the_device_has_seen(
    signed: SignedReleases, stick: Path, home: AgentHome, tmp_path: Path, capsys: Any
) -> None:
    signed.assign("press-1")
    newer = write_stick(tmp_path / "newer", signed, "press-1")
    assert install(newer, home, capsys)[0] == 0
    process = start(home)
    try:
        wait_until(lambda: not home.stick.exists() and home.status.exists(), 20)
    finally:
        finish(process)
    assert "version" in refused(stick, home, capsys)


def test_a_device_that_is_not_enrolled(stick: Path, tmp_path: Path, capsys: Any) -> None:
    assert genba.main(["bundle", "install", str(stick), "--home", str(tmp_path / "none")]) == 1
    assert "is not an enrolled agent's home" in capsys.readouterr().err


def test_an_installation_that_is_killed_leaves_nothing_half(stick: Path, home: AgentHome, capsys: Any) -> None:
    """Killed before each fsync and rename in turn, as a power cut would."""
    code = (
        "import os, pathlib, signal, sys, genba\n"
        "left = int(sys.argv[1])\n"
        "def dying(real):\n"
        "    def call(*arguments):\n"
        "        global left\n"
        "        left -= 1\n"
        "        if left < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return real(*arguments)\n"
        "    return call\n"
        "os.fsync, pathlib.Path.rename = dying(os.fsync), dying(pathlib.Path.rename)\n"
        "sys.exit(genba.main(sys.argv[2:]))\n"
    )
    command = ["bundle", "install", str(stick), "--home", str(home.folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    outcomes = []
    for calls in (0, 5, 12, 25, 40, 60):
        arguments = [sys.executable, "-c", code, str(calls), *command]
        outcomes.append(subprocess.run(arguments, env=environment, check=False, capture_output=True).returncode)
        if home.stick.exists():
            read_bundle(home.stick)
    assert outcomes[0] == -signal.SIGKILL
    assert install(stick, home, capsys)[0] == 0
    assert [path.name for path in home.folder.iterdir() if path.name.startswith(".")] == []
