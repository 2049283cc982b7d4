"""`genba registry keys` as people use it: the ceremony's page run word for word, tokens, refusals, secrets."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from protocols.errors import GenbaError
from registry.cli import init, registry

DOC = Path(__file__).parents[3] / "docs" / "ceremony.md"
LIBRARY = Path("/usr/lib/softhsm/libsofthsm2.so")
PASSPHRASE = "correct horse battery"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    init(tmp_path / "home")
    (tmp_path / "notes").write_text("no key\n")
    return tmp_path


def keys(place: Path, *words: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "genba", "registry", "keys", *words],
        cwd=place,
        env={**os.environ, "GENBA_PASSPHRASE": PASSPHRASE, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def state(place: Path) -> dict[str, dict[str, object]]:
    shown = keys(place, "show", "--home", "home", "--json")
    assert shown.returncode == 0, shown.stderr
    return {role["role"]: role for role in json.loads(shown.stdout)["roles"]}


def test_the_page_s_commands_take_the_keys_offline(place):
    before = state(place)
    script = "\n".join(re.findall(r"```sh\n(.*?)```", DOC.read_text(), flags=re.DOTALL))
    script = re.sub(r"^(genba registry keys sign .*)$", r"\1 --yes", script, flags=re.MULTILINE)
    script = script.replace("genba ", f"{sys.executable} -m genba ")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=place,
        env={
            **os.environ,
            "GENBA_PASSPHRASE": PASSPHRASE,
            "OLD_RELEASE_KEY": before["image-targets"]["keys"][0]["keyid"][:12],
            "OLD_ROOT_KEY": before["image-root"]["keys"][0]["keyid"][:12],
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "image-targets.pem signs nothing any more" in done.stdout
    after = state(place)
    assert after["image-targets"]["threshold"] == 2
    assert [key["place"] for key in after["image-targets"]["keys"]] == [None, None, None]
    assert [key["label"] for key in after["image-root"]["keys"]] == ["root, safe"]
    assert PASSPHRASE not in done.stdout + done.stderr


def test_nothing_changes_in_a_dry_run(place):
    before = sorted((path, path.read_bytes()) for path in (place / "home").rglob("*.json"))
    assert keys(place, "create", "a.pem").returncode == 0
    for words in (
        ("add", "image-targets", "a.pem.pub"),
        ("threshold", "image-targets", "1"),
        ("rotate", "image-online"),
        ("discard",),
    ):
        done = keys(place, *words, "--home", "home", "--dry-run")
        assert done.returncode == 0, done.stderr
    assert sorted((path, path.read_bytes()) for path in (place / "home").rglob("*.json")) == before


def test_what_waits_is_shown_once_beside_the_keys_that_can_sign_it(place):
    old = state(place)["image-root"]["keys"][0]["keyid"]
    assert keys(place, "create", "a.pem").returncode == 0
    keys(place, "add", "image-root", "a.pem.pub", "--home", "home")
    keys(place, "revoke", "image-root", old, "--home", "home")
    shown = keys(place, "show", "--home", "home").stdout
    assert shown.count("0 of 1 signatures") == 1
    assert "image-root: 1 signature of 2 keys" in shown
    root = hashlib.sha256((place / "home" / "image" / "metadata" / "1.root.json").read_bytes()).hexdigest()
    assert shown.startswith(f"root of the releases: sha256:{root}\n")


def test_an_online_key_is_rotated_in_one_command(place):
    old = state(place)["director-online"]["keys"]
    done = keys(place, "rotate", "director-online", "--home", "home")
    assert done.returncode == 0, done.stderr
    assert "director-online.pem signs nothing any more" in done.stdout
    new = state(place)["director-online"]["keys"]
    assert len(new) == 1
    assert new != old


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sign", "nowhere", "--key", "a.pem"), "holds no signing request"),
        (("add", "image-targets", "missing.pub", "--home", "home"), "missing.pub: cannot be read"),
        (("add", "image-targets", "notes", "--home", "home"), "is not a public key"),
        (("threshold", "image-targets", "5", "--home", "home"), "5 signatures of 1 keys can never be"),
        (("revoke", "image-root", "00", "--home", "home"), "has 0 keys that begin with '00'"),
        (("export", "--home", "home", "--out", "stick"), "nothing waits for a signature"),
        (("show", "--home", "elsewhere"), "genba registry init"),
        (("create", "home/keys/image-root.pem"), "only ever written to a new file"),
        (("create", "hsm:2?label=none", "--out", "x.pub"), "PYKCS11LIB"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(place, words, said, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("GENBA_PASSPHRASE", PASSPHRASE)
    monkeypatch.delenv("PYKCS11LIB", raising=False)
    with pytest.raises(GenbaError, match=re.escape(said)) as refused:
        registry(["keys", *words])
    assert len(str(refused.value).splitlines()) == 1


def test_a_wrong_passphrase_is_one_line_and_signs_nothing(place):
    assert keys(place, "create", "a.pem").returncode == 0
    keys(place, "add", "image-root", "a.pem.pub", "--home", "home")
    keys(place, "revoke", "image-root", state(place)["image-root"]["keys"][0]["keyid"], "--home", "home")
    (place / "wrong").write_text("something else\n")
    (place / "wrong").chmod(0o600)
    done = keys(place, "sign", "--home", "home", "--key", "a.pem", "--yes", "--passphrase-file", "wrong")
    assert done.returncode == 1
    assert "the passphrase is wrong" in done.stderr
    assert "something else" not in done.stderr
    assert keys(place, "sign", "--home", "home", "--key", "a.pem").returncode == 1, "nobody confirmed"
    assert keys(place, "sign", "--home", "home", "--key", "a.pem", "--yes").returncode == 0


def test_private_keys_are_readable_by_their_owner_alone(place):
    keys(place, "create", "a.pem")
    for path in [place / "a.pem", *(place / "home" / "keys").glob("*.pem")]:
        assert path.stat().st_mode & 0o077 == 0
    assert b"ENCRYPTED" in (place / "a.pem").read_bytes()


@pytest.mark.skipif(
    not (shutil.which("softhsm2-util") and LIBRARY.exists()), reason="needs Debian's softhsm2: apt install softhsm2"
)
def test_a_key_in_a_token_signs(place):
    (place / "tokens").mkdir()
    (place / "softhsm.conf").write_text(f"directories.tokendir = {place / 'tokens'}\nobjectstore.backend = file\n")
    (place / "pin").write_text("1234\n")
    (place / "pin").chmod(0o600)
    env = {"SOFTHSM2_CONF": str(place / "softhsm.conf"), "PYKCS11LIB": str(LIBRARY)}
    make = (
        "import pkcs11, pkcs11.util.ec as ec\n"
        f"token = pkcs11.lib({str(LIBRARY)!r}).get_token(token_label='genba')\n"
        "with token.open(user_pin='1234', rw=True) as session:\n"
        "    curve = session.create_domain_parameters(pkcs11.KeyType.EC,"
        " {pkcs11.Attribute.EC_PARAMS: ec.encode_named_curve_parameters('secp256r1')}, local=True)\n"
        "    curve.generate_keypair(store=True, id=bytes([2]), label='release')\n"
    )
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", "genba", "--pin", "1234", "--so-pin", "1234"],
        env={**os.environ, **env},
        check=True,
        capture_output=True,
    )
    subprocess.run([sys.executable, "-c", make], env={**os.environ, **env}, check=True, capture_output=True)
    pin = ("--passphrase-file", "pin")
    made = keys(place, "create", "hsm:2?label=genba", "--out", "token.pub", "--label", "token", *pin, env=env)
    assert made.returncode == 0, made.stderr
    old = state(place)["image-targets"]["keys"][0]["keyid"]
    assert keys(place, "add", "image-targets", "token.pub", "--home", "home").returncode == 0
    assert keys(place, "revoke", "image-targets", old, "--home", "home").returncode == 0
    assert keys(place, "export", "--home", "home", "--out", "stick").returncode == 0
    wrong = keys(place, "sign", "stick", "--key", "hsm:2?label=other", "--yes", *pin, env=env)
    assert wrong.returncode == 1
    assert "other" in wrong.stderr
    signed = keys(place, "sign", "stick", "--key", "hsm:2?label=genba", "--yes", *pin, env=env)
    assert signed.returncode == 0, signed.stderr
    assert keys(place, "import", "stick", "--home", "home").returncode == 0
    assert [key["label"] for key in state(place)["image-targets"]["keys"]] == ["token"]
