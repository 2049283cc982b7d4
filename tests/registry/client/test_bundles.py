"""`genba bundle export` against a registry that really serves, and a device that installs what it wrote."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from simulators.agent_home import make_home
from simulators.small_models import write_release

from edge_agent.bundles import install, read_bundle
from protocols.names import ReleaseRef
from registry.revocation import revoke
from registry.signing.ceremony import trust_state
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository

ROOT = Path(__file__).resolve().parents[3]


class Signed:
    """The roots that a device pins at enrolment."""

    def __init__(self, home):
        self.image, self.director = ImageRepository(home), DirectorRepository(home)


@pytest.fixture
def assigned(command, devices, tmp_path):
    """`press@N` is published, and press-1 is to run it. Returns the release."""
    write_release(tmp_path / "candidate", name="press", version=0)
    published = command("publish", tmp_path / "candidate")[1].strip()
    assert command("assign", published, "press-1", "--topic", "a", "--output-topic", "b")[0] == 0
    return ReleaseRef.parse(published)


def test_a_device_installs_what_was_exported_for_it(command, assigned, home, tmp_path):
    status, out, err = command("bundle", "export", "--device", "press-1", "--out", tmp_path / "usb")
    assert (status, out) == (0, f"{tmp_path / 'usb'}\n")
    assert f"{assigned} for press-1; install it before " in err
    assert err.count("\n") == 1, "no progress where no terminal watches"
    device = make_home(tmp_path / "agent", Signed(home), "mqtt://127.0.0.1:1")
    assignment = install(tmp_path / "usb", device)
    assert [one.ref for one in assignment.releases][-1:] == [assigned]


def test_metadata_on_a_stick_lives_as_long_as_was_asked(command, assigned, home, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert command("bundle", "export", "--device", "press-1", "--out", first, "--valid-days", "20")[0] == 0
    assert command("bundle", "export", "--device", "press-1", "--out", second, "--valid-days", "30")[0] == 0
    assert read_bundle(first).expires_at - time.time() == pytest.approx(20 * 86_400, abs=600)
    versions = [json.loads((one / "director/metadata/timestamp.json").read_text())["signed"]["version"]
                for one in (first, second)]  # fmt: skip
    assert versions[0] < versions[1]


def test_one_release_is_written_without_a_director_and_installs_nowhere(command, assigned, home, tmp_path):
    for name in (str(assigned), "press@latest"):
        assert command("bundle", "export", name, "--out", tmp_path / "usb")[0] == 0
        assert not (tmp_path / "usb" / "director").exists()
        assert len(list((tmp_path / "usb").glob(f"image/targets/press/{assigned.version}/*"))) == 4
    make_home(tmp_path / "agent", Signed(home), "mqtt://127.0.0.1:1")
    status, _, err = command("bundle", "install", tmp_path / "usb", "--home", tmp_path / "agent")
    assert status == 1
    assert "is to score with, for no device; this is 'press-1'" in err


def test_a_newer_bundle_takes_the_place_of_an_older_one_and_keeps_what_is_on_its_way_home(command, assigned, tmp_path):
    out = tmp_path / "usb"
    assert command("bundle", "export", "--device", "press-1", "--out", out)[0] == 0
    (out / "returns").mkdir()
    (out / "returns" / "note").write_text("recorded")
    (out / "stray").write_text("from the older one")
    assert command("bundle", "export", "--device", "press-1", "--out", out)[0] == 0
    assert (out / "returns" / "note").read_text() == "recorded"
    assert not (out / "stray").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--device", "ghost"), "device 'ghost' is not known"),
        (("--device", "press-2"), "nothing is assigned to device 'press-2' yet"),
        (("press@999",), "release press@999 is not known"),
        (("--device", "press-1", "--valid-days", "31"), "valid_days: 31 is not from 1 to 30"),
    ],
)
def test_what_cannot_be_exported_is_one_clear_line(command, assigned, tmp_path, arguments, says):
    status, out, err = command("bundle", "export", *arguments, "--out", tmp_path / "usb")
    assert (status, out) == (1, "")
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "usb").exists()


def test_a_device_that_was_revoked_gets_no_bundle_and_no_release(command, assigned, home, devices, tmp_path):
    devices.devices.add("press-9", "osaka", "x86", "PEM", "9")
    assert command("assign", assigned, "press-9", "--topic", "a", "--output-topic", "b")[0] == 0
    revoke(home, devices, "press-9", time.time)
    for asked in (
        ("bundle", "export", "--device", "press-9", "--out", tmp_path / "usb"),
        ("assign", assigned, "press-9"),
    ):
        status, out, err = command(*asked)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert "device 'press-9' is locked out since 2" in err
        assert "enrol it anew: `genba registry token" in err
    assert not (tmp_path / "usb").exists()


def test_a_folder_that_is_something_else_is_left_alone(command, assigned, tmp_path):
    (tmp_path / "photos").mkdir()
    status, _, err = command("bundle", "export", "--device", "press-1", "--out", tmp_path / "photos")
    assert (status, "is there already and is no bundle" in err) == (1, True)
    assert list((tmp_path / "photos").iterdir()) == []


def test_an_export_that_is_killed_leaves_nothing_half_and_the_next_cleans_up(command, assigned, url, token, tmp_path):
    """Stopped before the first byte of each file in turn, as a power cut would."""
    out = tmp_path / "usb"
    code = (
        "import os, signal, sys, genba, registry.client.bundles as b\n"
        "left, write = int(sys.argv[1]), b._write\n"
        "def dying(path, chunks):\n"
        "    global left\n"
        "    left -= 1\n"
        "    if left < 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    yield from write(path, chunks)\n"
        "b._write = dying\n"
        "sys.exit(genba.main(sys.argv[2:]))\n"
    )
    command_line = ["bundle", "export", str(assigned), "--out", str(out), "--registry", url]
    environment = {**os.environ, "GENBA_TOKEN": token, "PYTHONPATH": str(ROOT)}
    for files in (0, 3, 7):
        done = subprocess.run([sys.executable, "-c", code, str(files), *command_line], env=environment, check=False)
        assert done.returncode == -signal.SIGKILL
        assert not out.exists()
    assert command("bundle", "export", str(assigned), "--out", out)[0] == 0
    read_bundle(out)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_registrys_release_scores_from_a_cache(command, assigned, url, home, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "in.csv").write_text("AT,V\n1,2\n")
    for named in (str(assigned), "press@latest"):
        arguments = (named, tmp_path / "in.csv", "--out", tmp_path / "out.csv", "--registry", url)
        status, _, err = command("score", *arguments)
        assert status == 0
        root = trust_state(home).fingerprint
        assert f"{assigned} is as it was signed, by the root that {url} gave: sha256:{root}; compare it" in err
        assert "bundle" not in err
    assert len(list((tmp_path / "cache").rglob("bundle.json"))) == 1
