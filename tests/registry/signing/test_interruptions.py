"""A ceremony that dies at any of its writes: devices are served the old state or the new, and it can be ended."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from simulators.home_fetcher import HomeFetcher
from tuf.ngclient import Updater, UpdaterConfig

from protocols.assignment import Assignment
from protocols.resources import ASSIGNMENT_TARGET, metadata_url, targets_url
from registry.delivery import Source
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository
from registry.signing.keys import write_key

#: The whole ceremony, each step where the last run left it: the release role goes to two of three keys, a release is
#: published and signed, the director's online key is replaced.
CEREMONY = """
import contextlib, json, os, shutil, sys
from pathlib import Path
from protocols.assignment import Assignment
from protocols.manifest import FileInfo
from protocols.names import ReleaseRef
from registry.errors import ReleaseExistsError
from registry.signing.ceremony import adding, in_turn, revoking, with_threshold
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository
from registry.signing.keys import read_key, write_key

def ceremony(home, vault):
    image, director = ImageRepository(home), DirectorRepository(home)
    keys = [read_key(path) for path in sorted(vault.glob("*.pem"))]
    wanted = {key.public_key.keyid for key in keys}
    newest = image.staged_root() or image.current_root()
    if set(newest.roles["targets"].keyids) != wanted:
        old = newest.roles["targets"].keyids
        edits = [adding("image-targets", key.public_key) for key in keys]
        image.change_keys(in_turn(*edits, *(revoking("image-targets", one) for one in old),
                                  with_threshold("image-targets", 2)))
    for key in keys[:2]:
        image.sign(key)
    with contextlib.suppress(ReleaseExistsError):
        image.publish(ReleaseRef("press", 1), {"model.onnx": FileInfo("ab" * 32, 7)})
    for key in keys[1:]:
        image.sign(key)
    for key in keys[:2] if image.waiting() else []:  # where a death made two rounds of it
        image.sign(key)
    path = home / "keys" / "director-online-2.pem"
    if not path.exists():
        write_key(path)
    key = read_key(path).public_key
    online = (director.staged_root() or director.current_root()).roles["timestamp"].keyids
    if online != [key.keyid]:
        old = [revoking("director-online", one) for one in online]
        director.change_keys(in_turn(adding("director-online", key), *old))
    director.sign(read_key(path))
    director.direct(Assignment("press-1", 2), {}, "x86")

home, vault, out, every = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
if every == 0:
    ceremony(home, vault)
    sys.exit()
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "open"}

def dies_at(number, folder):
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event not in CHANGES or not str(arguments[0]).startswith(str(folder)):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        if str(arguments[0]).endswith(".lock"):
            return
        seen += 1
        if seen == number:
            os._exit(9)
    sys.addaudithook(hook)

number = 0
while True:
    number += every
    folder = out / f"{number:04}"
    shutil.copytree(home, folder)
    child = os.fork()
    if child == 0:
        dies_at(number, folder)
        ceremony(folder, vault)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 9:
        break
print(json.dumps(number))
"""


def run(home: Path, vault: Path, out: Path, every: int) -> Any:
    command = [sys.executable, "-c", CEREMONY, str(home), str(vault), str(out), str(every)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "0")


def refreshed(home: Path, device: Path, repository: str) -> Updater:
    """Let a device that pinned the first root update; raises where it could not."""
    root = ImageRepository(home).root if repository == "image" else DirectorRepository(home).root
    (device / repository).mkdir(parents=True, exist_ok=True)
    updater = Updater(
        str(device / repository),
        metadata_url(repository),  # type: ignore[arg-type]
        str(device),
        targets_url(repository),  # type: ignore[arg-type]
        HomeFetcher(Source(home, time.time), "press-1"),
        UpdaterConfig(),
        bootstrap=root,
    )
    updater.refresh()
    return updater


@pytest.mark.parametrize(
    "every",
    [pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(900)]), 29],
    ids=["each write", "some writes"],
)
def test_a_ceremony_that_dies_at_a_write_leaves_what_devices_can_follow(home: Path, tmp_path: Path, every: int) -> None:
    vault, out = tmp_path / "vault", tmp_path / "deaths"
    vault.mkdir()
    for name in "abc":
        write_key(vault / f"{name}.pem")
    DirectorRepository(home).direct(Assignment("press-1", 1), {}, "x86")
    device = tmp_path / "device"  # it was there before the ceremony
    for repository in ("image", "director"):
        refreshed(home, device, repository)
    count = run(home, vault, out, every)
    assert count > 40
    for dead in sorted(out.iterdir()):
        told = tmp_path / f"told-{dead.name}"
        shutil.copytree(device, told)
        for repository in ("image", "director"):
            refreshed(dead, told, repository)
        if int(dead.name) != count:
            run(dead, vault, out, 0)
        image = refreshed(dead, told, "image")
        assert image.get_targetinfo("press/1/model.onnx") is not None, f"not ended after a death at write {dead.name}"
        assert refreshed(dead, told, "director").get_targetinfo(ASSIGNMENT_TARGET) is not None
        root = ImageRepository(dead).current_root().roles["targets"]
        assert (root.threshold, len(root.keyids)) == (2, 3)
