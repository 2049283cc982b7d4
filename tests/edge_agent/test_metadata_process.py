"""Metadata read in a child: nothing of it stays, whatever becomes of it is an error, and what it writes is whole."""

import errno
import io
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulators.agent_process import ROOT, Agent
from simulators.broker_process import wait_until
from simulators.device_bench import ONE, Bench, Wire
from simulators.registry_side import RegistrySide, SignedReleases
from simulators.small_disk import SmallDisk
from simulators.tuf_repository import TufRepository
from tuf.api.exceptions import DownloadError, DownloadHTTPError, LengthOrHashMismatchError
from tuf.api.metadata import TargetFile

from edge_agent.errors import ResourceFinalError, TransferError, TrustError
from edge_agent.metadata_here import read_here
from edge_agent.metadata_process import COMMAND, read_in_child
from edge_agent.signed_metadata import PinnedRoots, SignedTarget, Sources

#: Processes that other suites have begun and keep, such as a cluster.
_others: set[int] = set()


@pytest.fixture(autouse=True)
def _own_children() -> None:
    _others.clear()
    _others.update(one.pid for one in psutil.Process().children())


def children() -> list[psutil.Process]:
    """The processes that the test itself has begun."""
    return [one for one in psutil.Process().children() if one.pid not in _others]


#: A child whose power fails at one of the things that it does to its disk.
POWER = """
import sys
from pathlib import Path
from simulators.power import Power
from edge_agent.metadata_child import main
home, point, trace = sys.argv[1:]
Power(Path(home), int(point), Path(trace), lossy=False).install()
sys.exit(main([]))
"""


@pytest.fixture
def bench(signed: SignedReleases, tmp_path: Path) -> Bench:
    bench = Bench(signed, tmp_path, open_reader=read_in_child)
    bench.publish()
    signed.assign("press-1", ONE)
    return bench


def reading(bench: Bench, folder: Path, command: list[str] | None = None, **more: Any) -> AbstractContextManager[Any]:
    roots = PinnedRoots(bench.signed.image.root, bench.signed.director.root)
    sources = Sources(folder, roots, bench.wire, lambda repository, root: time.time())
    return read_in_child(sources, **({"command": command} if command else {}), **more)


def test_what_both_repositories_sign_is_installed_and_no_child_is_left(bench: Bench) -> None:
    assert bench.verifier.assignment() is not None
    bench.verifier.fetch(ONE, bench.store)
    assert (bench.store.path(ONE) / "model.onnx").exists()
    assert not children()


def lost(url: str, data: bytes | None) -> bytes | None:
    raise DownloadError("the link went away")


def gone(url: str, data: bytes | None) -> bytes | None:
    raise DownloadHTTPError("it was taken away", 410)


@pytest.mark.parametrize(
    ("tamper", "kind"),
    [
        (lost, TransferError),
        (gone, ResourceFinalError),
        (lambda url, data: b"x" * 20_000 if "timestamp" in url else data, TrustError),
        (lambda url, data: b"{}" if "timestamp" in url else data, TrustError),
        (lambda url, data: data and data.replace(b'"sig":"', b'"sig":"00'), TrustError),
    ],
)
def test_what_is_wrong_is_said_in_the_same_words_as_in_this_process(
    bench: Bench, tmp_path: Path, tamper: Callable[[str, bytes | None], bytes | None], kind: type[Exception]
) -> None:
    assert bench.verifier.assignment() is not None  # so that there is something that cannot be unsigned
    other = Bench(bench.signed, tmp_path / "other", open_reader=read_here)
    assert other.verifier.assignment() is not None
    said = []
    for one in (bench, other):
        one.wire.tamper = tamper
        with pytest.raises(kind) as caught:
            one.verifier.assignment()
        said.append((type(caught.value), str(caught.value), getattr(caught.value, "status", 0)))
    assert said[0] == said[1]


def test_a_disk_that_takes_nothing_is_told_as_such(signed: SignedReleases, small_disk: SmallDisk) -> None:
    signed.assign("press-1")
    bench = Bench(signed, small_disk.folder, open_reader=read_in_child)
    small_disk.fill()
    with pytest.raises(OSError, match="No space left") as caught:
        bench.verifier.assignment()
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with SIGKILL, from outside"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended with status -11"),
        ("raise MemoryError('no more')", "ended with status 1: MemoryError: no more"),
        ("import sys; sys.stdin.buffer.read(4)", "ended with status 0"),
        ("import time; time.sleep(60)", "not verified within 1 s"),
    ],
)
def test_a_child_that_does_not_answer_is_an_error_that_another_try_may_mend(
    bench: Bench, tmp_path: Path, code: str, words: str
) -> None:
    command = [sys.executable, "-c", code]
    with pytest.raises(TransferError, match=words), reading(bench, tmp_path / "m", command, patience_s=1.0) as reader:
        reader.refresh("director")
    assert not children()
    assert bench.verifier.assignment() is not None


def test_an_agent_that_dies_takes_its_child_with_it(bench: Bench, tmp_path: Path) -> None:
    with reading(bench, tmp_path / "m") as reader:
        reader.refresh("director")
        [child] = children()
        reader._child.stdin.close()  # as the kernel does for a process that was killed
        assert child.wait(10) == 0


def test_a_power_cut_at_each_write_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    repository = TufRepository("director/metadata/")
    repository.publish_root()
    repository.publish()
    roots, wire = PinnedRoots(repository.root, repository.root), Wire(repository.files.get)

    def refresh(folder: Path, command: Sequence[str] = COMMAND) -> None:
        sources = Sources(folder, roots, wire, lambda name, root: time.time())
        with read_in_child(sources, command=command) as reader:
            reader.refresh("director")

    before = tmp_path / "before"
    refresh(before)
    repository.rotate("root")
    repository.publish()
    path = f"PYTHONPATH={os.pathsep.join([str(ROOT), str(ROOT / 'tests')])}"
    for point in itertools.count(1):
        folder = tmp_path / f"cut-{point}"
        shutil.copytree(before, folder, symlinks=True)
        command = ["/usr/bin/env", path, sys.executable, "-c", POWER, str(folder), str(point), str(tmp_path / "trace")]
        try:
            refresh(folder, command)
        except TransferError:
            assert (tmp_path / "trace").read_text().splitlines()[-1].startswith(f"{point} ")
        else:
            break
        for file in folder.rglob("[!.]*.json"):
            json.loads(file.read_bytes())
        refresh(folder)
        assert (folder / "director" / "root.json").read_bytes() == repository.files["director/metadata/2.root.json"]
    assert point > 15


def test_an_agent_at_rest_has_loaded_nothing_that_verifies(agent: Agent, registry_side: RegistrySide) -> None:
    """A real one, once it has asked the director."""
    registry_side.wait_for(lambda: bool(registry_side.statuses) and registry_side.statuses[-1].online, 30)
    wait_until(lambda: any("nothing is assigned" in line["text"] for line in agent.log()), 30, "the director's word")
    wait_until(lambda: not psutil.Process(agent.process.pid).children(), 30, "the end of every child")
    maps = Path(f"/proc/{agent.process.pid}/maps").read_text()
    assert "msgspec" in maps  # it is the agent that is looked at
    assert "cryptography" not in maps


@given(
    data=st.binary(max_size=40),
    signed_data=st.binary(max_size=40),
    algorithm=st.sampled_from(["sha256", "sha512", "blake2b-256", "md5", "shake_128", "none"]),
    right=st.booleans(),
)
def test_a_file_is_judged_as_python_tuf_judges_it(data: bytes, signed_data: bytes, algorithm: str, right: bool) -> None:
    made = TargetFile.from_data("a/b", data if right else signed_data, ["sha256", "blake2b-256"])
    if algorithm not in made.hashes:
        made.hashes[algorithm] = "0" * 8
    ours = SignedTarget(made.path, "url", made.length, made.hashes)
    verdicts = []
    for target in (made, ours):
        try:
            target.verify_length_and_hashes(io.BytesIO(data))
        except LengthOrHashMismatchError:
            verdicts.append(False)
        else:
            verdicts.append(True)
    assert verdicts[0] == verdicts[1]
