"""Signing what waits from another machine: the request comes over REST, the keys stay where they are."""

import base64
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from simulators.candidates import write_candidate
from tuf.api.metadata import Metadata

from registry.cli import init
from registry.signing.ceremony import adding, in_turn, revoking, with_threshold
from registry.signing.image import ImageRepository
from registry.signing.keys import read_key, write_key

SECRET = "correct horse battery"


@pytest.fixture(scope="module")
def token(home: Path) -> str:
    """A registry whose release role is two of three keys, none of them there."""
    made = init(home)
    vault = home.parent / "vault"
    vault.mkdir()
    keys = [write_key(vault / f"{name}.pem", SECRET) for name in "abc"]
    image = ImageRepository(home)
    old = image.current_root().roles["targets"].keyids[0]
    edits = [adding("image-targets", key) for key in keys]
    image.change_keys(in_turn(*edits, revoking("image-targets", old), with_threshold("image-targets", 2)))
    for name in "ab":
        image.sign(read_key(vault / f"{name}.pem", lambda what: SECRET))
    assert image.waiting() == ()
    return made


@pytest.fixture
def sign(command: Any, url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("GENBA_PASSPHRASE", SECRET)

    def run(name: str, *more: str) -> tuple[int, str, str]:
        key = home.parent / "vault" / f"{name}.pem"
        done: tuple[int, str, str] = command("registry", "keys", "sign", "--registry", url, "--key", key, *more)
        return done

    return run


def get(url: str, path: str) -> Any:
    with urllib.request.urlopen(f"{url}/api/v1{path}", timeout=10) as reply:  # noqa: S310 - loopback
        return json.load(reply)


def post(url: str, token: str | None, body: Any) -> tuple[int, str]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{url}/api/v1/trust/signatures", json.dumps(body).encode(), headers, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310 - loopback
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_two_people_sign_over_rest_and_only_then_may_it_be_assigned(
    command: Any, sign: Any, url: str, token: str, tmp_path: Path, devices: Any
) -> None:
    status, released, told = command("publish", write_candidate(tmp_path / "candidate", model="far"))
    assert (status, released) == (0, "far@1\n")
    assert "2 more signatures" in told
    waits = get(url, "/models/far/releases/1")["waits"]
    assert (waits["have"], waits["need"]) == (0, 2)
    assign = ("assign", "far@1", "press-1", "--topic", "a", "--output-topic", "b")
    assert "0 of 2 signatures" in command(*assign)[2]
    assert "far/1/model.onnx" in sign("a", "--dry-run")[1]
    assert get(url, "/models/far/releases/1")["waits"]["have"] == 0
    status, told, error = sign("a", "--yes")
    assert status == 0, error
    assert "1 of 2 signatures" in told
    assert "1 of 2 signatures" in sign("a", "--yes")[1]  # one key twice is one signature
    assert "1 of 2 signatures" in command(*assign)[2]
    assert "in force" in sign("c", "--yes")[1]
    assert get(url, "/models/far/releases/1").get("waits") is None
    assert command(*assign)[0] == 0
    assert sign("b", "--yes")[2] == "genba: nothing waits for a signature\n"


def test_a_stolen_release_key_adds_nothing_to_what_waits(
    command: Any, url: str, token: str, tmp_path: Path, home: Path
) -> None:
    """One of three keys, and the API token: a list of the thief's own is refused whole."""
    command("publish", write_candidate(tmp_path / "candidate", model="near"))
    waiting = get(url, "/trust/request")["files"]
    before = ImageRepository(home).metadata("timestamp.json")
    forged: Any = Metadata.from_bytes(base64.b64decode(waiting["image/staged.targets.json"]))
    forged.signed.targets.pop("near/1/model.onnx")
    forged.sign(read_key(home.parent / "vault" / "a.pem", lambda what: SECRET))
    body = {"files": {"image/staged.targets.json": base64.b64encode(forged.to_bytes()).decode()}}
    status, told = post(url, token, body)
    assert status == 409
    assert "not what waits here now" in told
    assert ImageRepository(home).metadata("timestamp.json") == before
    assert get(url, "/models/near/releases/1")["waits"]["have"] == 0


@pytest.mark.parametrize(
    "files",
    [
        {"../keys/x.pem": ""},
        {"image/root.json": ""},
        {"image/staged.root.json": "e30="},
        {},
    ],
    ids=["outside", "no request", "no metadata", "empty"],
)
def test_what_is_no_signed_request_is_refused(url: str, token: str, files: dict[str, str]) -> None:
    assert post(url, token, {"files": files})[0] == 409


def test_signatures_need_the_api_token(url: str, token: str) -> None:
    assert post(url, None, {"files": {}})[0] == 401
