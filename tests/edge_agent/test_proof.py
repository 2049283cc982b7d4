"""What proves a release before it scores: an edited file of a signed release is found, wherever the release lies."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from simulators.agent_home import make_home
from simulators.registry_side import SignedReleases
from simulators.small_models import write_release
from simulators.stick import write_stick

import genba
from edge_agent.fetchers import DirectoryFetcher
from edge_agent.releases import ReleaseStore
from edge_agent.settings import AgentHome
from edge_agent.signed_metadata import PinnedRoots
from edge_agent.verification import Verifier
from protocols.names import ReleaseRef
from protocols.resources import RELEASE_FILES

ONE = ReleaseRef("ccpp", 1)


@pytest.fixture
def stick(tmp_path: Path, signed: SignedReleases) -> Path:
    write_release(tmp_path / "made", name="ccpp", version=1)
    signed.publish(ONE, tmp_path / "made")
    signed.assign("press-1", ONE)
    return write_stick(tmp_path / "usb", signed, "press-1", ONE)


@pytest.fixture
def home(tmp_path: Path, signed: SignedReleases, stick: Path) -> AgentHome:
    """A device that has installed ccpp@1."""
    home = make_home(tmp_path / "agent", signed, "mqtt://127.0.0.1:1")
    roots = PinnedRoots(signed.image.root, signed.director.root)
    verifier = Verifier(home.metadata, roots, DirectoryFetcher(stick), device="press-1", profile="x86")
    verifier.fetch(ONE, ReleaseStore(home.releases))
    return home


@pytest.fixture
def score(tmp_path: Path, capsys: Any) -> Any:
    (tmp_path / "in.csv").write_text("AT,V\n1,2\n")

    def run(*arguments: object) -> tuple[int, str]:
        release, *more = map(str, arguments)
        out = tmp_path / "out.csv"
        status = genba.main(["score", release, str(tmp_path / "in.csv"), "--out", str(out), *more])
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        return status, err

    return run


def edit(path: Path) -> None:
    """Change one character of a text, or one bit of anything else, in a way that still reads."""
    data = path.read_bytes()
    path.chmod(0o644)
    changed = data.replace(b"2026-01-01", b"2025-01-01") if path.name.endswith("release.json") else data[:-1] + b"!"
    assert changed != data
    path.write_bytes(changed)


def test_a_candidate_is_called_one(tmp_path: Path, score: Any) -> None:
    write_release(tmp_path / "candidate", version=0)
    status, err = score(tmp_path / "candidate")
    assert (status, err.startswith("not signed: a candidate")) == (0, True)
    edit(tmp_path / "candidate" / "model.onnx")
    status, err = score(tmp_path / "candidate")
    assert status == 1
    assert "model.onnx was changed after it was made" in err
    assert "signed" not in err
    assert "@0" not in err


def test_a_signed_releases_folder_alone_proves_nothing(tmp_path: Path, stick: Path, score: Any) -> None:
    status, err = score(tmp_path / "made")
    assert (status, "no signature beside it proves that" in err) == (1, True)


@pytest.mark.parametrize("named", ["ccpp@1", "ccpp@latest"])
def test_an_installed_release_is_proven_by_the_home(home: AgentHome, score: Any, named: str) -> None:
    assert score(named, "--home", home.folder)[0] == 0
    assert score(home.releases / "ccpp" / "1")[0] == 0


@pytest.mark.parametrize("name", RELEASE_FILES)
def test_an_edited_file_of_an_installed_release_is_found(home: AgentHome, score: Any, name: str) -> None:
    edit(home.releases / "ccpp" / "1" / name)
    for arguments in (("ccpp@1", "--home", home.folder), (home.releases / "ccpp" / "1",)):
        status, err = score(*arguments)
        assert status == 1
        assert f"{name} was changed after it was signed" in err


def test_a_bundle_names_its_root_or_is_proven_by_the_homes(stick: Path, home: AgentHome, score: Any) -> None:
    status, err = score(stick)
    root = hashlib.sha256((stick / "image/metadata/1.root.json").read_bytes()).hexdigest()
    assert (status, f"by the root that is in the bundle: sha256:{root}; compare it with" in err) == (0, True)
    status, err = score(stick, "--home", home.folder)
    assert (status, f"by the root that {home.folder} trusts" in err) == (0, True)


@pytest.mark.parametrize("name", RELEASE_FILES)
def test_an_edited_file_of_a_bundle_is_found(stick: Path, score: Any, name: str) -> None:
    edit(next(stick.glob(f"image/targets/ccpp/1/*.{name}")))
    status, err = score(stick)
    assert (status, f"{name} was changed after it was signed" in err) == (1, True)


def test_a_bundle_of_another_registry_is_refused_by_the_home(tmp_path: Path, stick: Path, score: Any) -> None:
    stranger = make_home(tmp_path / "stranger", SignedReleases(tmp_path / "theirs"), "mqtt://127.0.0.1:1")
    status, err = score(stick, "--home", stranger.folder)
    assert (status, "its signatures: " in err) == (1, True)


def test_what_is_not_there_is_named(home: AgentHome, score: Any, tmp_path: Path) -> None:
    assert "ccpp@7 is not installed" in score("ccpp@7", "--home", home.folder)[1]
    assert "no release of 'oven' is installed" in score("oven@latest", "--home", home.folder)[1]
    assert "say where it is" in score("ccpp@1")[1]
    assert json.loads((home.releases / "ccpp" / "1" / "release.json").read_text())["version"] == 1


def test_a_candidate_is_scored_without_loading_what_reads_signatures(tmp_path: Path) -> None:
    write_release(tmp_path / "made", version=0)
    (tmp_path / "in.csv").write_text("AT,V\n1,2\n")
    named = [str(tmp_path / name) for name in ("made", "in.csv", "out.csv")]
    code = "import sys, genba; print(genba.main(['score', *sys.argv[1:3], '--out', sys.argv[3]]), 'tuf' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code, *named], check=True, capture_output=True, text=True).stdout
    assert told.splitlines()[-1] == "0 False"
