"""Trust: what a device installs, and each attack that it does not fall for."""

import time
from pathlib import Path

import pytest
from simulators.device_bench import ONE, Bench
from simulators.registry_side import SignedReleases
from simulators.small_models import add_variant, regression, write_release
from tuf.api.exceptions import DownloadError

from edge_agent.errors import DoesNotFitError, ReleaseRefusedError, TransferError, TrustError
from edge_agent.fetchers import DirectoryFetcher
from edge_agent.releases import ReleaseStore
from edge_agent.signed_metadata import PinnedRoots
from edge_agent.verification import Verifier, check_release
from protocols.assignment import AssignedRelease, Assignment
from protocols.manifest import FileInfo, Manifest, Tolerance
from protocols.names import ReleaseRef
from protocols.resources import RELEASE_FILES, target_path


@pytest.fixture
def bench(signed: SignedReleases, tmp_path: Path) -> Bench:
    return Bench(signed, tmp_path)


def test_what_both_repositories_sign_is_installed(bench: Bench) -> None:
    made = bench.publish()
    bench.signed.assign("press-1", ONE)
    assignment = bench.verifier.assignment()
    assert assignment is not None
    assert [release.ref for release in assignment.releases] == [ONE]
    bench.verifier.fetch(ONE, bench.store)
    for name in RELEASE_FILES:
        assert (bench.store.path(ONE) / name).read_bytes() == (made / name).read_bytes()
    assert check_release(ONE, bench.store).release == ONE


def test_a_release_that_is_here_already_is_not_fetched_again(bench: Bench) -> None:
    bench.publish()
    bench.signed.assign("press-1", ONE)
    bench.verifier.fetch(ONE, bench.store)
    bench.wire.asked.clear()
    bench.verifier.fetch(ONE, bench.store)
    assert not [url for url in bench.wire.asked if "image/targets" in url]
    (bench.store.path(ONE) / "golden.npz").write_bytes(b"worn-out card")
    bench.verifier.fetch(ONE, bench.store)
    assert check_release(ONE, bench.store).release == ONE


def test_files_that_an_earlier_try_has_brought_are_kept(bench: Bench) -> None:
    bench.publish()
    bench.signed.assign("press-1", ONE)

    def cut_off(url: str, data: bytes | None) -> bytes | None:
        if "model.onnx" in url:
            raise DownloadError("the link went away")
        return data

    bench.wire.tamper = cut_off
    with pytest.raises(TransferError):
        bench.verifier.fetch(ONE, bench.store)
    assert not bench.store.path(ONE).exists()
    bench.wire.tamper = lambda url, data: data
    bench.wire.asked.clear()
    bench.verifier.fetch(ONE, bench.store)
    assert len([url for url in bench.wire.asked if "image/targets" in url]) == 1


def test_the_manifest_is_judged_before_anything_else_is_fetched_and_again_on_another_try(bench: Bench) -> None:
    bench.publish()
    bench.signed.assign("press-1", ONE)
    judged: list[str] = []

    def admit(manifest: Manifest) -> None:
        judged.append(str(manifest.release))
        raise DoesNotFitError("too large for this device")

    for _ in range(2):
        with pytest.raises(DoesNotFitError):
            bench.verifier.fetch(ONE, bench.store, admit)
    assert judged == ["ccpp@1", "ccpp@1"]
    assert {url.rpartition(".")[2] for url in bench.wire.asked if "image/targets" in url} == {"json"}
    assert not bench.store.path(ONE).exists()
    bench.verifier.fetch(ONE, bench.store, lambda manifest: judged.append("admitted"))
    assert judged[2:] == ["admitted"]
    assert check_release(ONE, bench.store).release == ONE


def published_with_variant(bench: Bench) -> Path:
    folder = bench.folder / "made"
    manifest = write_release(folder)
    add_variant(folder, manifest, regression().SerializeToString(), Tolerance(1.0, 0.0))
    bench.signed.publish(ONE, folder)
    bench.signed.assign("press-1", ONE)
    return folder


def test_an_agent_from_before_variants_refuses_one_by_its_version_and_fetches_no_model(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    published_with_variant(bench)
    monkeypatch.setattr("protocols.manifest.MANIFEST_VERSION", 1)
    with pytest.raises(ReleaseRefusedError, match="version 2, and this release of Genba reads up to 1"):
        bench.verifier.fetch(ONE, bench.store)
    assert {url.rpartition(".")[2] for url in bench.wire.asked if "image/targets" in url} == {"json"}


def test_a_variant_is_fetched_like_every_file(bench: Bench) -> None:
    made = published_with_variant(bench)
    bench.verifier.fetch(ONE, bench.store)
    name = "model.int8.onnx"
    assert (bench.store.path(ONE) / name).read_bytes() == (made / name).read_bytes()
    assert set(check_release(ONE, bench.store).variants) == {"int8"}
    bench.wire.asked.clear()
    (bench.store.path(ONE) / name).unlink()
    bench.verifier.fetch(ONE, bench.store)
    assert (bench.store.path(ONE) / name).exists()


def test_a_variant_that_was_changed_on_the_way_is_refused(bench: Bench) -> None:
    published_with_variant(bench)
    bench.wire.tamper = lambda url, data: data[:-1] + b"!" if data and url.endswith("model.int8.onnx") else data
    with pytest.raises(ReleaseRefusedError, match="not what was signed"):
        bench.verifier.fetch(ONE, bench.store)
    assert not bench.store.path(ONE).exists()


def test_a_variant_that_the_manifest_lists_and_nobody_signed_is_refused(bench: Bench) -> None:
    folder = published_with_variant(bench)
    (folder / "model.int8.onnx").unlink()
    two = ReleaseRef("ccpp", 2)
    manifest = write_release(folder, version=2)
    add_variant(folder, manifest, regression().SerializeToString(), Tolerance(1.0, 0.0))
    (folder / "model.int8.onnx").unlink()
    bench.signed.publish(two, folder)
    bench.signed.assign("press-1", two)
    bench.verifier.fetch(two, bench.store)
    with pytest.raises(ReleaseRefusedError, match=r"model\.int8\.onnx"):
        check_release(two, bench.store)


def test_a_stolen_director_key_alone_installs_nothing(bench: Bench) -> None:
    files = {target_path(ONE, name): FileInfo("0" * 64, 10) for name in RELEASE_FILES}
    bench.signed.director.direct(Assignment("press-1", 1, (AssignedRelease("ccpp", 1),)), files, "x86")
    with pytest.raises(ReleaseRefusedError, match="the image repository says target None"):
        bench.verifier.fetch(ONE, bench.store)


def test_repositories_that_disagree_on_a_file_install_nothing(bench: Bench) -> None:
    bench.publish()
    files = {target_path(ONE, name): FileInfo("0" * 64, 10) for name in RELEASE_FILES}
    bench.signed.director.direct(Assignment("press-1", 1, (AssignedRelease("ccpp", 1),)), files, "x86")
    with pytest.raises(ReleaseRefusedError, match="not installed"):
        bench.verifier.fetch(ONE, bench.store)


def test_the_image_key_alone_installs_nothing(bench: Bench) -> None:
    bench.publish()
    bench.signed.assign("press-1")
    with pytest.raises(ReleaseRefusedError, match="the director has not signed it"):
        bench.verifier.fetch(ONE, bench.store)


@pytest.mark.parametrize("file", RELEASE_FILES)
def test_a_file_that_was_changed_on_the_way_is_refused(bench: Bench, file: str) -> None:
    bench.publish()
    bench.signed.assign("press-1", ONE)
    bench.wire.tamper = lambda url, data: bytes([data[0] ^ 1]) + data[1:] if data and url.endswith(file) else data
    with pytest.raises(ReleaseRefusedError, match="not what was signed"):
        bench.verifier.fetch(ONE, bench.store)
    assert not bench.store.path(ONE).exists()


def test_a_release_for_other_hardware_is_refused(bench: Bench) -> None:
    bench.publish(profiles=("raspberry-pi-4",))
    bench.signed.assign("press-1", ONE)
    with pytest.raises(ReleaseRefusedError, match="profiles"):
        bench.verifier.fetch(ONE, bench.store)


def test_an_assignment_for_another_device_is_refused(bench: Bench) -> None:
    bench.signed.assign("press-2")
    bench.wire.read = lambda url: bench.signed.read("press-2", url)
    with pytest.raises(TrustError, match="press-2"):
        bench.verifier.assignment()


def test_an_older_assignment_is_refused(bench: Bench) -> None:
    bench.signed.assign("press-1")
    old = bench.signed.read("press-1", "director/metadata/timestamp.json")
    bench.signed.assign("press-1")
    assert bench.verifier.assignment() is not None
    bench.wire.tamper = lambda url, data: old if url.endswith("timestamp.json") else data
    with pytest.raises(TrustError):
        bench.verifier.assignment()


def test_frozen_metadata_that_has_expired_is_refused(tmp_path: Path) -> None:
    past = time.time() - 30 * 86_400
    signed = SignedReleases(tmp_path / "old", clock=lambda: past)
    bench = Bench(signed, tmp_path / "device")
    signed.assign("press-1")
    with pytest.raises(TrustError, match="expired"):
        bench.verifier.assignment()


def test_another_registrys_signatures_are_refused(bench: Bench, tmp_path: Path) -> None:
    other = SignedReleases(tmp_path / "other")
    other.assign("press-1")
    bench.wire.read = lambda url: other.read("press-1", url)
    with pytest.raises(TrustError):
        bench.verifier.assignment()


def test_a_device_that_nothing_was_assigned_to_has_no_assignment(bench: Bench) -> None:
    assert bench.verifier.assignment() is None


def test_no_link_is_not_a_refusal(bench: Bench) -> None:
    def gone(url: str, data: bytes | None) -> bytes | None:
        raise DownloadError("no answer")

    bench.wire.tamper = gone
    with pytest.raises(TransferError):
        bench.verifier.assignment()


def test_a_disk_without_room_is_not_filled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.publish()
    bench.signed.assign("press-1", ONE)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1 << 20}))
    with pytest.raises(TransferError, match="1 MiB are free"):
        bench.verifier.fetch(ONE, bench.store)


def test_a_manifest_that_names_another_release_is_refused(bench: Bench) -> None:
    folder = bench.folder / "made" / "misnamed"
    write_release(folder, version=7)
    bench.signed.publish(ONE, folder)
    bench.signed.assign("press-1", ONE)
    bench.verifier.fetch(ONE, bench.store)
    with pytest.raises(ReleaseRefusedError, match="says that it is ccpp@7"):
        check_release(ONE, bench.store)


def test_a_release_edited_on_disk_is_refused(bench: Bench) -> None:
    bench.publish()
    bench.signed.assign("press-1", ONE)
    bench.verifier.fetch(ONE, bench.store)
    model = bench.store.path(ONE) / "model.onnx"
    model.write_bytes(model.read_bytes() + b"x")
    with pytest.raises(ReleaseRefusedError, match=r"model.onnx was changed after it was signed"):
        check_release(ONE, bench.store)


def test_the_same_checks_hold_for_a_stick(bench: Bench, tmp_path: Path) -> None:
    bench.publish()
    bench.signed.assign("press-1", ONE)
    stick = tmp_path / "stick"
    bench.verifier.fetch(ONE, bench.store)
    for url in [*bench.wire.asked, "director/metadata/timestamp.json"]:
        data = bench.signed.read("press-1", url)
        if data is not None:
            (stick / url).parent.mkdir(parents=True, exist_ok=True)
            (stick / url).write_bytes(data)
    roots = PinnedRoots(bench.signed.image.root, bench.signed.director.root)
    verifier = Verifier(tmp_path / "m2", roots, DirectoryFetcher(stick), device="press-1", profile="x86")
    store = ReleaseStore(tmp_path / "r2")
    verifier.fetch(ONE, store)
    assert check_release(ONE, store).release == ONE


def test_collecting_leaves_what_is_kept(bench: Bench) -> None:
    two = ReleaseRef("ccpp", 2)
    for ref in (ONE, two):
        bench.publish(ref)
    bench.signed.assign("press-1", ONE)
    bench.verifier.fetch(ONE, bench.store)
    bench.signed.assign("press-1", two)
    bench.verifier.fetch(two, bench.store)
    assert bench.store.collect([two]) == [ONE]
    assert not bench.store.path(ONE).exists()
    assert check_release(two, bench.store).release == two
