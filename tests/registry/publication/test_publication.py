"""Publication, assigning and what `genba registry` makes: the registry without its web."""

import io
import json
import stat

import msgspec
import pytest
from simulators.bad_graphs import BAD
from simulators.candidates import named_graph

import genba
from protocols.assignment import AssignedRelease, Assignment, StreamBinding, decode_assignment
from protocols.enrolment import parse_token
from protocols.manifest import ParityCertificate, Tolerance, decode_manifest
from protocols.messages import HeldRelease, Status
from registry.assigning import assign, select, swap
from registry.blobs import Blobs
from registry.catalogue import Catalogue
from registry.cli import init
from registry.enrolment import trust
from registry.errors import (
    AssignmentRefusedError,
    CandidateRefusedError,
    NoDeviceSelectedError,
    OperatorError,
    SettingsError,
    TooLargeError,
    UnknownDeviceError,
    UnknownReleaseError,
)
from registry.publication import publish
from registry.settings import Settings, read_settings
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository

NOW = 1_800_000_000.0


def clock() -> float:
    return NOW


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "registry"
    init(folder)
    return folder


@pytest.fixture
def catalogue(home):
    opened = Catalogue.open(home, clock)
    yield opened
    opened.close()


@pytest.fixture
def published(home, catalogue, make_candidate):
    return publish(home, catalogue, make_candidate(), clock).release


def add_devices(catalogue, *names, site="osaka", profile="x86"):
    for name in names:
        catalogue.devices.add(name, site, profile, "PEM", "1")


def wanted(device, version=1, **changes):
    stream = StreamBinding("main", "ccpp", "line/in", "line/out")
    return Assignment(device, 0, (AssignedRelease("ccpp", version, **changes),), (stream,))


class TestPublication:
    def test_a_candidate_becomes_a_signed_release(self, home, catalogue, make_candidate):
        manifest = publish(home, catalogue, make_candidate(), clock, published_by="anna")
        assert manifest.version == 1
        release = catalogue.releases.get(manifest.release)
        signed = decode_manifest(Blobs(home).path(release.files["release.json"].sha256).read_bytes())
        assert signed == manifest == release.manifest
        targets = json.loads(ImageRepository(home).metadata("2.targets.json"))["signed"]["targets"]
        assert targets.keys() == {f"ccpp/1/{name}" for name in release.files}
        assert targets["ccpp/1/release.json"]["hashes"]["sha256"] == release.files["release.json"].sha256
        assert catalogue.models.champion("ccpp") == manifest.release

    @pytest.mark.parametrize(("make", "says"), BAD)
    def test_a_model_that_no_device_could_run_is_refused_in_one_line(self, home, catalogue, make_candidate, make, says):
        with pytest.raises(CandidateRefusedError, match=rf"model\.onnx: .*{says}") as caught:
            publish(home, catalogue, make_candidate(onnx=make()), clock)
        assert "\n" not in str(caught.value)
        assert catalogue.models.list() == []
        assert not [path for path in (home / "blobs").rglob("*") if path.is_file()]

    def test_a_variant_is_signed_like_every_file(self, home, catalogue, make_candidate):
        manifest = publish(home, catalogue, make_candidate(int8=named_graph(b"int8")), clock)
        targets = json.loads(ImageRepository(home).metadata("2.targets.json"))["signed"]["targets"]
        assert "ccpp/1/model.int8.onnx" in targets
        assert manifest.variants["int8"].file in manifest.files

    def test_a_variant_that_no_device_could_run_is_refused(self, home, catalogue, make_candidate):
        with pytest.raises(CandidateRefusedError, match=r"model\.int8\.onnx: it is not an ONNX model"):
            publish(home, catalogue, make_candidate(int8=b"no graph"), clock)

    def test_a_file_that_no_variant_names_is_refused(self, home, catalogue, make_candidate):
        with pytest.raises(CandidateRefusedError, match="lists golden"):
            publish(home, catalogue, make_candidate(int8=named_graph(b"int8"), variants={}, v=1), clock)

    def test_a_second_release_leaves_the_champion(self, home, catalogue, published, make_candidate):
        assert publish(home, catalogue, make_candidate(named=b"other"), clock).version == 2
        assert catalogue.models.champion("ccpp") == published

    @pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "reference", "release.json"])
    def test_a_missing_file_is_named(self, home, catalogue, make_candidate, name):
        folder = make_candidate()
        (folder / name).unlink()
        with pytest.raises(CandidateRefusedError, match=f"{name} is missing"):
            publish(home, catalogue, folder, clock)
        assert catalogue.models.list() == []

    @pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
    def test_an_edited_file_is_named(self, home, catalogue, make_candidate, name):
        folder = make_candidate()
        (folder / name).write_bytes(b"edited")
        with pytest.raises(CandidateRefusedError, match=f"{name} is not the file that release.json describes"):
            publish(home, catalogue, folder, clock)

    def test_a_link_is_not_followed(self, home, catalogue, make_candidate, tmp_path):
        folder = make_candidate(named=b"outside")
        (tmp_path / "outside").write_bytes(b"outside")
        (folder / "model.onnx").unlink()
        (folder / "model.onnx").symlink_to(tmp_path / "outside")
        with pytest.raises(CandidateRefusedError, match=r"model\.onnx is missing"):
            publish(home, catalogue, folder, clock)

    def test_without_proof_there_is_no_release(self, home, catalogue, make_candidate):
        tolerance = Tolerance(1e-4, 1e-4)
        with pytest.raises(CandidateRefusedError, match="no case was run"):
            publish(home, catalogue, make_candidate(parity=ParityCertificate(tolerance, (), "1.32")), clock)
        manifest = decode_manifest((make_candidate() / "release.json").read_bytes())
        failed = msgspec.structs.replace(manifest.parity.cases[0], passed=False, largest_difference=0.5)
        certificate = ParityCertificate(tolerance, (failed,), "1.32")
        with pytest.raises(CandidateRefusedError, match=r"failed on held-out \(largest difference 0.5"):
            publish(home, catalogue, make_candidate(parity=certificate), clock)

    def test_a_release_is_no_candidate(self, home, catalogue, make_candidate):
        with pytest.raises(CandidateRefusedError, match="it is the release ccpp@3 already"):
            publish(home, catalogue, make_candidate(version=3), clock)

    def test_a_report_that_cannot_be_read_changes_nothing(self, home, catalogue, make_candidate):
        folder = make_candidate()
        (folder / "report.json").write_text("{")
        manifest = publish(home, catalogue, folder, clock)
        assert catalogue.releases.get(manifest.release).report is None


class TestAssigning:
    def test_an_assignment_is_signed_with_every_file(self, home, catalogue, published):
        add_devices(catalogue, "press-1")
        revised = assign(home, catalogue, wanted("press-1"), clock)
        assert revised.revision == 1
        director = DirectorRepository(home, clock)
        targets = json.loads(director.metadata("press-1", "1.targets.json"))["signed"]["targets"]
        assert len(targets) == 5
        digest = targets["assignment.json"]["hashes"]["sha256"]
        assert decode_assignment(director.document("press-1", f"{digest}.assignment.json")) == revised

    def test_the_unknown_is_refused_and_nothing_is_signed(self, home, catalogue, published):
        add_devices(catalogue, "press-1")
        with pytest.raises(UnknownDeviceError, match="known devices: press-1"):
            assign(home, catalogue, wanted("press-9"), clock)
        with pytest.raises(UnknownReleaseError):
            assign(home, catalogue, wanted("press-1", 9), clock)
        assert catalogue.assignments.list() == []
        assert DirectorRepository(home, clock).metadata("press-1", "timestamp.json") is None

    def test_a_release_for_other_hardware_is_refused(self, home, catalogue, make_candidate):
        publish(home, catalogue, make_candidate(profiles=("jetson-orin",)), clock)
        add_devices(catalogue, "press-1")
        with pytest.raises(AssignmentRefusedError, match="is for the profiles jetson-orin, and device 'press-1'"):
            assign(home, catalogue, wanted("press-1"), clock)

    def test_a_failing_signature_leaves_the_catalogue_as_it_was(self, home, catalogue, published):
        add_devices(catalogue, "press-1")
        (home / "keys" / "director-online.pem").rename(home / "away.pem")
        with pytest.raises(OperatorError):
            assign(home, catalogue, wanted("press-1"), clock)
        assert catalogue.assignments.get("press-1") is None

    def test_selectors(self, catalogue):
        add_devices(catalogue, "a", "b")
        add_devices(catalogue, "c", site="nagoya", profile="jetson-orin")
        names = lambda selector: [device.name for device in select(catalogue, selector)]  # noqa: E731
        assert sorted(names("*")) == ["a", "b", "c"]
        assert names("site=osaka") == ["a", "b"]
        assert names("site=nagoya,profile=jetson-orin") == ["c"]
        assert names("b") == ["b"]
        assert names(["c", "a", "c"]) == ["c", "a"]
        with pytest.raises(NoDeviceSelectedError, match=r"enrolled are c \(site=nagoya, profile=jetson-orin\), a"):
            names("site=kyoto")
        with pytest.raises(UnknownDeviceError, match="device 'z' is not known"):
            names("z")
        with pytest.raises(AssignmentRefusedError, match="selector 'colour=red'"):
            names("colour=red")

    def test_a_refused_release_is_asked_for_once_more(self, home, catalogue, published):
        add_devices(catalogue, "press-1")
        assign(home, catalogue, wanted("press-1"), clock)
        assert swap(home, catalogue, published, "press-1", clock)[0].releases[0].attempt == 1
        held = HeldRelease("ccpp", 1, "refused", "golden vectors")
        catalogue.devices.update_status("press-1", Status(NOW, True, releases=(held,)))
        assert swap(home, catalogue, published, "press-1", clock)[0].releases[0].attempt == 2

    def test_a_swap_keeps_what_else_the_device_runs(self, home, catalogue, published, make_candidate):
        other = publish(home, catalogue, make_candidate(model="other"), clock).release
        better = publish(home, catalogue, make_candidate(named=b"better"), clock).release
        add_devices(catalogue, "press-1")
        both = msgspec.structs.replace(
            wanted("press-1", allow_fallback=True),
            releases=(AssignedRelease("ccpp", 1, 1, True), AssignedRelease("other", 1)),
        )
        assign(home, catalogue, both, clock)
        (after,) = swap(home, catalogue, better, "*", clock)
        assert [release.ref for release in after.releases] == [better, other]
        assert after.releases[0].allow_fallback
        assert after.streams == both.streams


class TestBlobs:
    def test_a_blob_is_named_by_what_it_holds(self, tmp_path):
        blobs = Blobs(tmp_path)
        first, second = blobs.put(io.BytesIO(b"abc")), blobs.put(io.BytesIO(b"abc"))
        assert first == second == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert blobs.path(first).read_bytes() == b"abc"
        assert first in blobs
        assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1

    def test_what_is_too_large_leaves_nothing(self, tmp_path):
        with pytest.raises(TooLargeError, match="4 bytes"):
            Blobs(tmp_path).put(io.BytesIO(b"abcde"), limit_bytes=4)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    @pytest.mark.parametrize("name", ["", "../../etc/passwd", "a" * 63, "A" * 64, "0" * 64 + "\n"])
    def test_what_is_no_digest_leads_nowhere(self, tmp_path, name):
        assert name not in Blobs(tmp_path)
        with pytest.raises(FileNotFoundError):
            Blobs(tmp_path).path(name)


class TestCommands:
    def test_init_prints_the_token_once_and_keeps_keys_private(self, tmp_path, capsys):
        home = tmp_path / "new"
        assert genba.main(["registry", "init", "--home", str(home)]) == 0
        secret = capsys.readouterr().out.strip()
        assert Catalogue.open(home).tokens.check(secret)
        for path in [home / "keys", home / "ca", *(home / "keys").iterdir()]:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        assert genba.main(["registry", "init", "--home", str(home)]) == 1
        assert "is a registry's home already" in capsys.readouterr().err

    def test_init_that_was_cut_short_is_made_again(self, tmp_path):
        home = tmp_path / "new"
        init(home)
        before = trust(home, clock)
        (home / "catalogue.db").unlink()
        init(home)
        assert trust(home, clock) == before

    def test_the_token_file_is_private(self, tmp_path, capsys):
        path = tmp_path / "token"
        assert genba.main(["registry", "init", "--home", str(tmp_path / "r"), "--token-file", str(path)]) == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text().strip() not in capsys.readouterr().out

    def test_an_enrolment_token_carries_the_trust(self, home, capsys):
        arguments = ["registry", "token", "--home", str(home), "--device", "press-1", "--site", "osaka"]
        assert genba.main(arguments) == 0
        _, fingerprint = parse_token(capsys.readouterr().out)
        assert fingerprint == trust(home, clock).fingerprint

    @pytest.mark.parametrize(
        ("arguments", "status", "says"),
        [
            (["token", "--home", "/nowhere", "--api", "x"], 1, "genba registry init --home /nowhere"),
            (["token", "--home", "HOME", "--device", "x"], 2, "--site SITE"),
            (["token", "--home", "HOME", "--device", "Press 1", "--site", "b"], 1, "device name 'Press 1' is refused"),
            (["serve", "--home", "/nowhere"], 1, "genba registry init --home /nowhere"),
        ],
    )
    def test_what_cannot_be_done_is_one_clear_line(self, home, capsys, arguments, status, says):
        given = [str(home) if argument == "HOME" else argument for argument in arguments]
        try:
            found = genba.main(["registry", *given])
        except SystemExit as left:
            found = left.code
        assert found == status
        assert says in capsys.readouterr().err

    @pytest.mark.parametrize("text", ["broker_url = 5", "brokr = 'x'", "not toml", "upload_limit_bytes = 'many'"])
    def test_settings_that_cannot_be_read_are_one_clear_line(self, home, text):
        (home / "registry.toml").write_text(text)
        with pytest.raises(SettingsError, match=r"registry\.toml: .*; correct it"):
            read_settings(home)

    def test_the_settings_that_init_writes_are_the_defaults(self, home):

        assert read_settings(home) == Settings()
        uncommented = "\n".join(line[2:] for line in (home / "registry.toml").read_text().splitlines() if " = " in line)
        (home / "registry.toml").write_text(uncommented)
        assert msgspec.structs.replace(read_settings(home), broker_url=None) == Settings()
