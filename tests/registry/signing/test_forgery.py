"""Keys and signing requests that someone has tampered with: one key that counts as two, changes that do not show."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import Key
from tuf.api.metadata import Delegations, Metadata, Targets

from protocols.manifest import FileInfo
from protocols.names import ReleaseRef
from registry.errors import CeremonyRefusedError, KeyRefusedError
from registry.signing.ceremony import LABEL, adding, describe, in_turn, label, revoking, trust_state, with_threshold
from registry.signing.image import ImageRepository
from registry.signing.keys import read_key, read_public, write_key, write_public
from registry.signing.request import SigningRequest, export_request, import_request
from registry.signing.staged import Staged

FILES = {"model.onnx": FileInfo("ab" * 32, 7)}


@pytest.fixture
def mallory(tmp_path: Path) -> Key:
    return write_key(tmp_path / "mallory.pem")


def with_id(key: Key, keyid: str) -> Key:
    return Key.from_dict(keyid, key.to_dict())


@pytest.mark.parametrize("whose", ["made up", "the root key's"])
def test_a_public_key_under_an_id_that_is_not_its_own_is_refused(home, clock, tmp_path, mallory, whose):
    keyid = "ff" * 32 if whose == "made up" else ImageRepository(home, clock).current_root().roles["root"].keyids[0]
    write_public(tmp_path / "key.pub", with_id(mallory, keyid))
    with pytest.raises(KeyRefusedError, match="its key id is not that of its key"):
        read_public(tmp_path / "key.pub")
    write_public(tmp_path / "key.pub", mallory)
    assert read_public(tmp_path / "key.pub") == mallory


def test_one_key_never_counts_as_two(home, clock, mallory):
    twice = in_turn(*(adding("image-targets", key) for key in (mallory, with_id(mallory, "ff" * 32))))
    with pytest.raises(CeremonyRefusedError, match="one key is in it twice"):
        ImageRepository(home, clock).change_keys(twice)


def test_another_key_under_the_same_id_is_described(home, clock, mallory):
    before, after = (ImageRepository(home, clock).current_root() for _ in range(2))
    keyid = after.roles["root"].keyids[0]
    after.keys[keyid] = with_id(mallory, keyid)
    assert any(f"image-root: CHANGED key {keyid[:12]}" in line for line in describe(before, after, "image"))


def test_a_change_of_the_timestamp_s_keys_alone_is_described(home, clock, mallory):
    before, after = (ImageRepository(home, clock).current_root() for _ in range(2))
    after.add_key(mallory, "timestamp")
    assert f"image-online: + key {mallory.keyid[:12]}" in describe(before, after, "image")


def test_a_label_cannot_hide_what_was_printed_before_it(mallory):
    mallory.unrecognized_fields[LABEL] = "alice\r\x1b[2K\n"
    assert label(mallory) == "alice??[2K?"


class TestRequest:
    @pytest.fixture
    def folder(self, home, clock, tmp_path: Path) -> Path:
        """A request for the signatures on a release; the release key is offline."""
        image, key = ImageRepository(home, clock), write_key(tmp_path / "release.pem")
        old = image.current_root().roles["targets"].keyids[0]
        image.change_keys(in_turn(adding("image-targets", key), revoking("image-targets", old)))
        image.sign(read_key(tmp_path / "release.pem"))
        image.publish(ReleaseRef("press", 1), FILES)
        export_request(home, tmp_path / "stick", clock)
        return tmp_path / "stick"

    @staticmethod
    def tamper(path: Path, change: Callable[[Any], None]) -> None:
        metadata: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
        change(metadata.signed)
        path.write_bytes(metadata.to_bytes())

    def test_who_signs_is_told_all_the_keys_whatever_the_folder_says_was_in_force(self, home, clock, tmp_path, mallory):
        image = ImageRepository(home, clock)
        old = image.current_root().roles["root"].keyids[0]
        image.change_keys(in_turn(adding("image-root", write_key(tmp_path / "r.pem")), with_threshold("image-root", 2)))
        export_request(home, tmp_path / "stick", clock)
        for file in ("root.json", "staged.root.json"):
            self.tamper(tmp_path / "stick" / "image" / file, lambda root: root.add_key(mallory, "targets"))
        lines = SigningRequest(tmp_path / "stick").describe()
        assert any(
            line.startswith("image-targets: then 1 signature of 2 keys") and mallory.keyid[:12] in line
            for line in lines
        )
        assert any(line.startswith("image-root: then 2 signatures of 2 keys") and old[:12] in line for line in lines)

    def test_a_list_that_lets_others_sign_is_refused(self, folder):
        def delegate(targets: Targets) -> None:
            targets.delegations = Delegations({}, {})

        self.tamper(folder / "image" / "staged.targets.json", delegate)
        with pytest.raises(CeremonyRefusedError, match="lets others sign in its name"):
            SigningRequest(folder).describe()

    def test_a_name_that_would_rewrite_the_terminal_is_refused(self, folder):
        def rename(targets: Targets) -> None:
            targets.targets["x\r/1/model.onnx"] = targets.targets.pop("press/1/model.onnx")

        self.tamper(folder / "image" / "staged.targets.json", rename)
        with pytest.raises(CeremonyRefusedError, match="no file's name"):
            SigningRequest(folder).describe()

    @pytest.mark.parametrize("kind", ["file", "folder", "pipe"])
    def test_links_and_pipes_on_the_stick_are_refused(self, folder, tmp_path, kind):
        file = folder / "image" / "staged.targets.json"
        moved = tmp_path / "elsewhere"
        if kind == "folder":
            (folder / "image").rename(moved)
            (folder / "image").symlink_to(moved)
        else:
            file.rename(moved)
            if kind == "pipe":
                os.mkfifo(file)
            else:
                file.symlink_to(moved)
        with pytest.raises(CeremonyRefusedError, match=r"link|plain file|damaged"):
            SigningRequest(folder)

    def test_a_key_of_another_role_neither_counts_nor_freezes_the_list(self, home, clock, folder, tmp_path):
        file = folder / "image" / "staged.targets.json"
        other = read_key(home / "keys" / "image-root.pem")
        metadata: Metadata[Any] = Metadata.from_bytes(file.read_bytes())
        metadata.sign(other, append=True)
        file.write_bytes(metadata.to_bytes())
        assert import_request(home, folder, clock)[0] == 0
        staged = json.loads((home / "image" / "staged" / "targets.json").read_text())
        assert other.public_key.keyid not in [one["keyid"] for one in staged["signatures"]]


def test_what_waits_can_be_read_while_a_new_root_is_put_in_force(home, clock, mallory, monkeypatch):
    """And after a death there: the root is then in force, and among what is staged still."""

    class Death(BaseException):
        pass

    def die(self: Staged) -> None:
        raise Death

    image = ImageRepository(home, clock)
    with monkeypatch.context() as patched:
        patched.setattr(Staged, "end_commit", die)
        with pytest.raises(Death):
            image.change_keys(adding("image-targets", mallory))
    assert trust_state(home, clock).waiting == ()
    assert ImageRepository(home, clock).staged_root() is None
    assert image.change_keys(with_threshold("image-targets", 2)).version == 3


def test_a_public_key_that_nests_without_end_is_one_line(tmp_path):
    (tmp_path / "key.pub").write_bytes(b"[" * 100_000)
    with pytest.raises(KeyRefusedError, match="is not a public key"):
        read_public(tmp_path / "key.pub")
