"""Keys in a PKCS#11 token: softhsm2's, which is a real one less the hardware."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.errors import KeyRefusedError
from registry.signing.tokens import parse_uri

LIBRARY = Path("/usr/lib/softhsm/libsofthsm2.so")
URI = "hsm:17?label=release+key+%231"
PIN = "482913"

Genba = Callable[..., "subprocess.CompletedProcess[str]"]
needs_softhsm = pytest.mark.skipif(
    not (shutil.which("softhsm2-util") and LIBRARY.exists()), reason="needs Debian's softhsm2: apt install softhsm2"
)


@pytest.fixture
def keys(tmp_path: Path) -> Genba:
    """Run `genba registry keys` in a process of its own, with a fresh token whose PIN is in the file `pin`."""
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm.conf").write_text(
        f"directories.tokendir = {tmp_path / 'tokens'}\nobjectstore.backend = file\n"
    )
    for name, text in (("pin", PIN), ("wrong", "111111"), ("short", "1")):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(text + "\n")
    environment = {**os.environ, "SOFTHSM2_CONF": str(tmp_path / "softhsm.conf"), "PYKCS11LIB": str(LIBRARY)}
    token = ["softhsm2-util", "--init-token", "--free", "--label", "release key #1", "--pin", PIN, "--so-pin", PIN]
    subprocess.run(token, env=environment, check=True, capture_output=True)

    def run(*words: str, pin: str = "pin", **changes: str) -> "subprocess.CompletedProcess[str]":
        secret = ["--passphrase-file", pin] if words[0] in ("create", "sign") else []
        return subprocess.run(
            [sys.executable, "-m", "genba", "registry", "keys", *words, *secret],
            cwd=tmp_path,
            env={**environment, **changes},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@needs_softhsm
def test_a_key_is_made_in_the_token_once(keys: Genba, tmp_path: Path) -> None:
    made = keys("create", URI, "--out", "a.pub")
    assert made.returncode == 0, made.stderr
    assert "made in the token" in made.stdout
    again = keys("create", URI, "--out", "b.pub")
    assert "taken from the token" in again.stdout
    assert (tmp_path / "a.pub").read_bytes() == (tmp_path / "b.pub").read_bytes()
    assert PIN not in made.stdout + made.stderr + (tmp_path / "a.pub").read_text()


@needs_softhsm
def test_what_a_token_cannot_do_is_one_line(keys: Genba, tmp_path: Path) -> None:
    assert keys("create", URI, "--out", "a.pub").returncode == 0
    for pin in ("wrong", "short"):
        refused(keys("create", URI, "--out", "x.pub", pin=pin), "the PIN is wrong")
    refused(keys("create", "hsm:17?label=another", "--out", "x.pub"), "No PKCS#11 token found for label another")
    refused(keys("create", URI, "--out", "x.pub", PYKCS11LIB=""), "set PYKCS11LIB")
    refused(keys("create", URI, "--out", "x.pub", PYKCS11LIB="/nowhere.so"), "/nowhere.so")
    refused(keys("create", "hsm:9c", "--out", "x.pub"), "ID being a decimal number")
    assert not (tmp_path / "x.pub").exists()


@needs_softhsm
def test_a_key_in_a_token_signs_and_a_wrong_pin_does_not(keys: Genba, tmp_path: Path) -> None:
    from registry.cli import init
    from registry.signing.image import ImageRepository

    init(tmp_path / "home")
    assert keys("create", URI, "--out", "a.pub").returncode == 0
    assert keys("create", "hsm:18?label=release+key+%231", "--out", "b.pub").returncode == 0
    old = ImageRepository(tmp_path / "home").current_root().roles["targets"].keyids[0]
    assert keys("add", "image-targets", "a.pub", "--home", "home").returncode == 0
    assert keys("revoke", "image-targets", old, "--home", "home").returncode == 0
    assert keys("export", "--home", "home", "--out", "stick").returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "stick").rglob("*.json")}
    refused(keys("sign", "stick", "--key", URI, "--yes", pin="wrong"), "the PIN is wrong")
    refused(keys("sign", "stick", "--key", "hsm:18?label=release+key+%231", "--yes"), "which signs nothing here")
    assert {path: path.read_bytes() for path in before} == before
    signed = keys("sign", "stick", "--key", URI, "--yes")
    assert signed.returncode == 0, signed.stderr
    assert keys("import", "stick", "--home", "home").returncode == 0
    root = ImageRepository(tmp_path / "home").current_root()
    assert root.version > 1
    assert root.roles["targets"].keyids != [old]


@pytest.mark.parametrize(
    ("uri", "parsed"),
    [
        ("hsm:", (2, None)),
        ("hsm:10", (10, None)),
        ("hsm:2?label=YubiKey+PIV+%2315835999", (2, "YubiKey PIV #15835999")),
    ],
)
def test_a_key_s_address(uri: str, parsed: tuple[int, str | None]) -> None:
    assert parse_uri(uri) == parsed


@pytest.mark.parametrize("uri", ["hsm:x", "hsm:-1", "hsm:9c", "hsm:²", "pkcs11:2"])
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(KeyRefusedError, match="decimal number"):
        parse_uri(uri)


def refused(done: "subprocess.CompletedProcess[str]", told: str) -> None:
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert PIN not in done.stderr
