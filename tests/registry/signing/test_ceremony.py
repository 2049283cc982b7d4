"""Changes of keys: thresholds, offline keys, rotation, revocation, and what a stolen key cannot do."""

import itertools
import shutil
from pathlib import Path

import pytest
from securesystemslib.signer import Key, Signature
from tuf.api.metadata import Metadata, Root, Targets

from protocols.assignment import Assignment
from protocols.manifest import FileInfo
from protocols.names import ReleaseRef
from registry.errors import CeremonyRefusedError, KeyRefusedError, ReleaseExistsError
from registry.signing.ceremony import adding, describe, in_turn, repository, revoking, trust_state, with_threshold
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository
from registry.signing.keys import online_signers, open_signer, read_key, write_key
from registry.signing.request import SigningRequest, export_request, import_request

FILES = {"model.onnx": FileInfo("ab" * 32, 7), "release.json": FileInfo("cd" * 32, 8)}
FIRST, SECOND, THIRD = (ReleaseRef("press", version) for version in (1, 2, 3))
DAY_S = 86_400.0
PASSPHRASE = "correct horse"


def ask(what: str) -> str:
    return PASSPHRASE


@pytest.fixture
def offline(tmp_path: Path) -> list[Path]:
    """Three key files with a passphrase, somewhere that is not the registry."""
    folder = tmp_path / "vault"
    folder.mkdir()
    paths = [folder / f"{name}.pem" for name in "abc"]
    for path in paths:
        write_key(path, PASSPHRASE)
    return paths


def public(path: Path) -> Key:
    return read_key(path, ask).public_key


def two_of_three(home: Path, clock, offline: list[Path]) -> ImageRepository:
    """Take the release role offline: two of three keys, none of them here."""
    image = ImageRepository(home, clock)
    online = image.current_root().roles[Targets.type].keyids[0]
    edits = [adding("image-targets", public(path)) for path in offline]
    image.change_keys(in_turn(*edits, revoking("image-targets", online), with_threshold("image-targets", 2)))
    for path in offline[:2]:
        image.sign(read_key(path, ask))
    assert image.waiting() == ()
    return image


def signed_targets(home: Path) -> Metadata[Targets]:
    newest = ImageRepository(home)._newest_targets()
    assert newest is not None
    return newest


class TestThreshold:
    def test_a_release_waits_until_two_of_three_have_signed(self, home, clock, offline):
        image = two_of_three(home, clock, offline)
        assert image.publish(FIRST, FILES) is False
        waits = image.waits(FIRST)
        assert (waits.have, waits.need, len(waits.keyids)) == (0, 2, 3)
        assert "press/1/model.onnx" not in signed_targets(home).signed.targets
        image.sign(read_key(offline[0], ask))
        assert image.waits(FIRST).have == 1
        image.sign(read_key(offline[2], ask))
        assert image.waits(FIRST) is None
        assert "press/1/model.onnx" in signed_targets(home).signed.targets
        image.current_root().verify_delegate(
            Targets.type, signed_targets(home).signed_bytes, signed_targets(home).signatures
        )

    def test_one_key_twice_is_one_signature(self, home, clock, offline):
        image = two_of_three(home, clock, offline)
        image.publish(FIRST, FILES)
        for _ in range(3):
            image.sign(read_key(offline[0], ask))
        assert image.waits(FIRST).have == 1

    def test_a_stranger_s_key_signs_nothing(self, home, clock, offline, tmp_path):
        image = two_of_three(home, clock, offline)
        image.publish(FIRST, FILES)
        write_key(tmp_path / "stranger.pem", PASSPHRASE)
        assert image.sign(read_key(tmp_path / "stranger.pem", ask)) == []
        with pytest.raises(KeyRefusedError, match="signs nothing here"):
            open_signer(str(tmp_path / "stranger.pem"), image.known_keys().values(), ask)

    def test_what_comes_after_the_first_signature_waits_for_the_next_round(self, home, clock, offline):
        image = two_of_three(home, clock, offline)
        image.publish(FIRST, FILES)
        image.publish(SECOND, FILES)
        image.sign(read_key(offline[0], ask))
        image.publish(THIRD, FILES)
        assert image.waits(THIRD).have == 0
        image.sign(read_key(offline[1], ask))
        assert image.waits(FIRST) is None
        assert image.waits(SECOND) is None
        assert image.waits(THIRD).have == 0
        assert image.waiting()[0].releases == ("press@3",)

    def test_a_waiting_release_is_immutable_too(self, home, clock, offline):
        image = two_of_three(home, clock, offline)
        image.publish(FIRST, FILES)
        with pytest.raises(ReleaseExistsError):
            image.publish(FIRST, FILES)

    def test_all_keys_online_never_wait(self, home, clock):
        assert ImageRepository(home, clock).publish(FIRST, FILES) is True

    @pytest.mark.parametrize("threshold", [0, 2, -1])
    def test_a_threshold_that_can_never_be_is_refused(self, home, clock, threshold):
        with pytest.raises(CeremonyRefusedError, match="can never be"):
            ImageRepository(home, clock).change_keys(with_threshold("image-targets", threshold))
        assert ImageRepository(home, clock).staged_root() is None


class TestRoot:
    def test_the_root_needs_the_old_keys_and_the_new(self, home, clock, offline):
        image = ImageRepository(home, clock)
        old = image.current_root().roles[Root.type].keyids[0]
        image.change_keys(in_turn(adding("image-root", public(offline[0])), revoking("image-root", old)))
        assert image.current_root().version == 1  # the old key is online and has signed; the new one is not
        assert image.waiting()[0].keyids == (public(offline[0]).keyid,)
        image.sign(read_key(offline[0], ask))
        assert image.current_root().version == 2
        (home / "keys" / "image-root.pem").unlink()
        image.change_keys(with_threshold("image-root", 1))
        assert image.waiting()[0].keyids == (public(offline[0]).keyid,)

    def test_every_version_is_kept_and_follows_from_the_last(self, home, clock):
        image = ImageRepository(home, clock)
        for number in range(3):
            path = home / "keys" / f"new-{number}.pem"
            key = write_key(path)
            old = image.current_root().roles["timestamp"].keyids[0]
            image.change_keys(in_turn(adding("image-online", key), revoking("image-online", old)))
        roots = [Metadata[Root].from_bytes(image.metadata(f"{number}.root.json")) for number in range(1, 5)]
        for before, after in itertools.pairwise(roots):
            before.signed.verify_delegate(Root.type, after.signed_bytes, after.signatures)

    def test_new_online_keys_sign_at_once_what_the_old_ones_signed(self, home, clock):
        director = DirectorRepository(home, clock)
        director.direct(Assignment("press-1", 1), {}, "x86")
        for name, role in (("image", "image-online"), ("director", "director-online")):
            opened = repository(home, name, clock)
            old = opened.current_root().roles["timestamp"].keyids[0]
            key = write_key(home / "keys" / f"{role}-2.pem")
            opened.change_keys(in_turn(adding(role, key), revoking(role, old)))
        for opened, names in (
            (ImageRepository(home, clock), ["timestamp.json"]),
            (DirectorRepository(home, clock), ["timestamp.json"]),
        ):
            for name in names:
                data = opened.metadata(name) if opened.name == "image" else opened.metadata("press-1", name)
                found = Metadata.from_bytes(data)
                opened.current_root().verify_delegate("timestamp", found.signed_bytes, found.signatures)

    def test_an_online_role_needs_a_key_that_is_here(self, home, clock, offline):
        image = ImageRepository(home, clock)
        old = image.current_root().roles["timestamp"].keyids[0]
        with pytest.raises(CeremonyRefusedError, match="genba registry keys rotate image-online"):
            image.change_keys(in_turn(adding("image-online", public(offline[0])), revoking("image-online", old)))

    def test_a_root_is_renewed_by_itself_while_its_key_is_here(self, home, clock):
        image = ImageRepository(home, clock)
        clock.now += 200 * DAY_S
        image.metadata("timestamp.json")
        assert image.current_root().version == 2
        assert image.current_root().expires.timestamp() > clock.now + 360 * DAY_S

    def test_a_root_with_offline_keys_says_in_time_that_it_must_be_signed(self, home, clock, offline):
        image = ImageRepository(home, clock)
        old = image.current_root().roles[Root.type].keyids[0]
        image.change_keys(in_turn(adding("image-root", public(offline[0])), revoking("image-root", old)))
        image.sign(read_key(offline[0], ask))
        (home / "keys" / "image-root.pem").unlink()
        clock.now += 320 * DAY_S
        image.metadata("timestamp.json")
        warnings = trust_state(home, clock).warnings
        assert any("image-root expires" in line for line in warnings)
        assert any("image root version 3: 0 of 1 signatures" in line for line in warnings)

    def test_a_change_that_is_given_up_leaves_what_was(self, home, clock, offline):
        image = two_of_three(home, clock, offline)
        image.publish(FIRST, FILES)
        before = image.current_root().to_dict()
        image.change_keys(with_threshold("image-targets", 3))
        image.discard()
        assert image.staged_root() is None
        assert image.current_root().to_dict() == before
        assert image.waits(FIRST).need == 2


class TestRevocation:
    def test_what_a_revoked_key_signed_is_signed_again_before_the_root_is_in_force(self, home, clock, offline):
        image = two_of_three(home, clock, offline)
        image.publish(FIRST, FILES)
        for path in offline[:2]:
            image.sign(read_key(path, ask))
        image.change_keys(revoking("image-targets", public(offline[0]).keyid[:8]))
        assert {one.role for one in image.waiting()} == {"targets"}  # the root itself has its signature
        assert image.current_root().version == 2
        image.sign(read_key(offline[1], ask))
        assert image.current_root().version == 2
        image.sign(read_key(offline[2], ask))
        assert image.current_root().version == 3
        targets = signed_targets(home)
        assert "press/1/model.onnx" in targets.signed.targets
        image.current_root().verify_delegate(Targets.type, targets.signed_bytes, targets.signatures)

    def test_a_key_that_is_not_there_is_refused_with_those_that_are(self, home, clock):
        with pytest.raises(CeremonyRefusedError, match="has 0 keys that begin with 'zz'"):
            ImageRepository(home, clock).change_keys(revoking("image-root", "zz"))


class TestRequest:
    def test_a_request_is_signed_elsewhere_and_comes_back(self, home, clock, offline, tmp_path):
        image = two_of_three(home, clock, offline)
        image.publish(FIRST, FILES)
        folder = tmp_path / "stick"
        assert export_request(home, folder, clock) == [
            "image targets version 3 (press@1): 0 of 2 signatures",
        ]
        elsewhere = tmp_path / "elsewhere"
        shutil.move(folder, elsewhere)
        request = SigningRequest(elsewhere)
        assert any("+ press/1/model.onnx (7 bytes, sha256 abab" in line for line in request.describe())
        for path in offline[1:]:
            assert request.sign(open_signer(str(path), request.keys(), ask)) == ["image targets version 3"]
        assert import_request(home, elsewhere, clock) == (2, [])
        assert image.waits(FIRST) is None

    def test_a_request_that_is_out_of_date_is_refused(self, home, clock, offline, tmp_path):
        image = two_of_three(home, clock, offline)
        image.publish(FIRST, FILES)
        export_request(home, tmp_path / "stick", clock)
        image.publish(SECOND, FILES)
        export_request(home, tmp_path / "second", clock)
        request = SigningRequest(tmp_path / "stick")
        request.sign(read_key(offline[0], ask))
        with pytest.raises(CeremonyRefusedError, match="export it anew"):
            import_request(home, tmp_path / "stick", clock)
        assert image.waits(SECOND).have == 0

    def test_a_request_on_its_way_stays_valid_while_releases_come(self, home, clock, offline, tmp_path):
        image = two_of_three(home, clock, offline)
        image.publish(FIRST, FILES)
        export_request(home, tmp_path / "stick", clock)
        image.publish(SECOND, FILES)
        request = SigningRequest(tmp_path / "stick")
        for path in offline[1:]:
            request.sign(read_key(path, ask))
        assert import_request(home, tmp_path / "stick", clock)[0] == 2
        assert image.waits(FIRST) is None
        assert image.waits(SECOND).have == 0
        assert image.waiting()[0].releases == ("press@2",)

    def test_what_waited_for_months_is_good_for_its_whole_life_when_it_is_carried(self, home, clock, offline, tmp_path):
        image = two_of_three(home, clock, offline)
        image.publish(FIRST, FILES)
        clock.now += 170 * DAY_S
        export_request(home, tmp_path / "stick", clock)
        staged = next(
            metadata for _, kind, metadata in SigningRequest(tmp_path / "stick").staged() if kind == "targets"
        )
        assert staged.signed.expires.timestamp() > clock.now + 364 * DAY_S

    def test_a_forged_signature_is_not_taken(self, home, clock, offline, tmp_path):
        image = two_of_three(home, clock, offline)
        image.publish(FIRST, FILES)
        export_request(home, tmp_path / "stick", clock)
        path = tmp_path / "stick" / "image" / "staged.targets.json"
        metadata = Metadata[Targets].from_bytes(path.read_bytes())
        metadata.sign(read_key(offline[0], ask))
        other = public(offline[1]).keyid
        metadata.signatures[other] = Signature(other, metadata.signatures[public(offline[0]).keyid].signature)
        path.write_bytes(metadata.to_bytes())
        assert import_request(home, tmp_path / "stick", clock)[0] == 1
        assert image.waits(FIRST).have == 1

    def test_root_and_targets_come_into_force_together(self, home, clock, offline, tmp_path):
        image = two_of_three(home, clock, offline)
        image.publish(FIRST, FILES)
        image.change_keys(in_turn(revoking("image-targets", public(offline[0]).keyid)))
        export_request(home, tmp_path / "stick", clock)
        request = SigningRequest(tmp_path / "stick")
        for path in offline[1:]:
            request.sign(read_key(path, ask))
        assert import_request(home, tmp_path / "stick", clock) == (2, [])
        assert image.current_root().version == 3
        assert image.waits(FIRST) is None

    def test_nothing_to_sign_is_said(self, home, clock, tmp_path):
        with pytest.raises(CeremonyRefusedError, match="nothing waits"):
            export_request(home, tmp_path / "stick", clock)
        with pytest.raises(CeremonyRefusedError, match="no signing request"):
            SigningRequest(tmp_path)


class TestPowerCut:
    @pytest.mark.parametrize("step", ["_roots.add", "_commit_targets", "_follow_keys", "_staged.end_commit"])
    def test_a_ceremony_that_is_cut_off_is_ended_by_the_next_who_looks(self, home, clock, offline, step, monkeypatch):
        image = two_of_three(home, clock, offline)
        image.publish(FIRST, FILES)
        for path in offline[:2]:
            image.sign(read_key(path, ask))
        image.change_keys(revoking("image-targets", public(offline[0]).keyid))
        image.sign(read_key(offline[1], ask))
        owner, name = (getattr(image, step.split(".")[0]), step.split(".")[1]) if "." in step else (image, step)

        def cut(*args: object) -> None:
            raise KeyboardInterrupt

        key = read_key(offline[2], ask)
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, cut)
            with pytest.raises(KeyboardInterrupt):
                image.sign(key)
        again = ImageRepository(home, clock)
        again.publish(SECOND, FILES)
        assert again.current_root().version == 3
        targets = signed_targets(home)
        again.current_root().verify_delegate(Targets.type, targets.signed_bytes, targets.signatures)
        timestamp = Metadata.from_bytes(again.metadata("timestamp.json"))
        again.current_root().verify_delegate("timestamp", timestamp.signed_bytes, timestamp.signatures)
        assert not list((home / "image" / "staged").glob(".commit-*"))


class TestStolen:
    def test_one_stolen_release_key_changes_nothing(self, home, clock, offline):
        image = two_of_three(home, clock, offline)
        forged = signed_targets(home)
        forged.signed.version += 1
        forged.sign(read_key(offline[0], ask))
        with pytest.raises(Exception, match="signed by 1/2 keys"):
            image.current_root().verify_delegate(Targets.type, forged.signed_bytes, forged.signatures)

    def test_everything_on_the_registry_stolen_signs_no_release(self, home, clock, offline):
        image = two_of_three(home, clock, offline)
        forged = signed_targets(home)
        forged.signed.version += 1
        forged.signatures.clear()
        for signer in online_signers(home).values():
            forged.sign(signer, append=True)
        with pytest.raises(Exception, match="signed by 0/2 keys"):
            image.current_root().verify_delegate(Targets.type, forged.signed_bytes, forged.signatures)


def test_a_change_is_described_before_it_is_made(home, clock, offline):
    image = ImageRepository(home, clock)
    before = image.current_root()
    after = image.change_keys(adding("image-targets", public(offline[0])), dry_run=True)
    assert f"image-targets: + key {public(offline[0]).keyid[:12]}" in describe(before, after, "image")
    assert image.staged_root() is None
    assert image.current_root().version == 1
