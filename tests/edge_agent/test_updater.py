"""The updater of one repository: where it differs from python-tuf's, and one rule that a reference client broke."""

import time
from pathlib import Path

import pytest
from simulators.device_bench import Wire
from simulators.tuf_repository import TufRepository, make_signers
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import TargetFile

from edge_agent.updater import MetadataUpdater


@pytest.fixture
def repository() -> TufRepository:
    repository = TufRepository("metadata/")
    repository.publish_root()
    repository.publish()
    return repository


def updater(repository: TufRepository, folder: Path) -> MetadataUpdater:
    wire = Wire(repository.files.get)
    folder.mkdir(exist_ok=True)
    return MetadataUpdater(folder, "metadata/", "targets/", wire, root=repository.root, now=lambda root: time.time())


def test_a_delegated_role_is_checked_anew_for_each_role_that_delegates_to_it(
    repository: TufRepository, tmp_path: Path
) -> None:
    """A role that parent A trusts is not trusted by parent B because it was already looked at for A."""
    trusted_by_a, trusted_by_b = make_signers(2)
    for parent in ("a", "b"):
        repository.delegate("targets", f"parent-{parent}", [f"{parent}/*"], make_signers(1)[0])
    repository.delegate("parent-a", "release", ["a/*"], trusted_by_a)
    repository.delegate("parent-b", "release", ["b/*"], trusted_by_b)
    for path in ("a/model", "b/model"):
        repository.delegated["release"].targets[path] = TargetFile.from_data(path, b"model")
    repository.publish()
    one = updater(repository, tmp_path / "device")
    one.refresh()
    assert one.get_targetinfo("a/model") is not None
    with pytest.raises(RepositoryError, match="release"):
        one.get_targetinfo("b/model")


def test_nothing_is_written_again_that_is_there_already(repository: TufRepository, tmp_path: Path) -> None:
    folder = tmp_path / "device"
    updater(repository, folder).refresh()
    before = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
    updater(repository, folder).refresh()
    assert {path: path.lstat().st_mtime_ns for path in folder.rglob("*")} == before


def test_root_json_always_names_the_trusted_root(repository: TufRepository, tmp_path: Path) -> None:
    folder = tmp_path / "device"
    updater(repository, folder).refresh()
    repository.rotate("root")
    updater(repository, folder).refresh()
    assert (folder / "root.json").read_bytes() == repository.files["metadata/2.root.json"]
    assert not list(folder.glob(".*"))
