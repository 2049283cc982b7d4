"""Model signatures, judged by the public `model_signing` tool in a process of its own."""

import datetime
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID
from simulators.candidates import write_candidate

import genba

SECRET = "correct horse battery"
#: Runs one `genba` command against a registry: (status, stdout, stderr).
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = write_candidate(tmp_path / "ccpp", version=3)
    (folder / "report.json").unlink()
    return folder


def write_key(path: Path, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, secret: str = "") -> Path:
    hidden = BestAvailableEncryption(secret.encode()) if secret else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path / "key.pem", ec.generate_private_key(ec.SECP256R1()))


def verify(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run the public tool, which may reach no network and needs none."""
    pytest.importorskip("model_signing", reason="the package model-signing is not installed")
    return subprocess.run(
        [sys.executable, "-m", "model_signing", "verify", *map(str, arguments)],
        env={**os.environ, "HOME": "/nonexistent", "HTTPS_PROXY": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def certified(key: ec.EllipticCurvePrivateKey, folder: Path) -> tuple[Path, Path]:
    """Return (the key's certificate and its issuer's, the root): a plant's own authority, with one in between."""
    now = datetime.datetime.now(datetime.UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def certificate(
        subject: str, public: ec.EllipticCurvePublicKey, issuer: str, by: ec.EllipticCurvePrivateKey
    ) -> bytes:
        authority = subject != "signer"
        usage = dict.fromkeys(
            ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"], False
        )
        made = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2 if authority else 1))
            .not_valid_after(now + datetime.timedelta(days=9))
            .add_extension(x509.BasicConstraints(authority, None), True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not authority,
                    key_cert_sign=authority,
                    crl_sign=authority,
                    decipher_only=False,
                    **usage,
                ),
                True,
            )
        )
        return made.sign(by, SHA256()).public_bytes(Encoding.PEM)

    root, middle = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    (folder / "root.pem").write_bytes(certificate("root", root.public_key(), "root", root))
    leaf = certificate("signer", key.public_key(), "middle", middle)
    (folder / "chain.pem").write_bytes(leaf + certificate("middle", middle.public_key(), "root", root))
    return folder / "chain.pem", folder / "root.pem"


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_the_public_tool_accepts_a_signature_by_key(
    curve: ec.EllipticCurve, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = write_key(tmp_path / "key.pem", ec.generate_private_key(curve))
    assert genba.main(["export-signature", str(release), "--key", str(key)]) == 0
    signature = tmp_path / "ccpp.sig"
    assert capsys.readouterr().out == f"{signature}\n"
    done = verify("key", release, "--signature", signature, "--public_key", key.with_suffix(".pub"))
    assert done.returncode == 0, done.stderr
    assert "succeeded" in done.stdout


def test_the_public_tool_accepts_a_signature_by_certificate(release: Path, tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    key = write_key(tmp_path / "key.pem", private)
    chain, root = certified(private, tmp_path)
    assert genba.main(["export-signature", str(release), "--key", str(key), "--certificate", str(chain)]) == 0
    signature = tmp_path / "ccpp.sig"
    done = verify("certificate", release, "--signature", signature, "--certificate_chain", root)
    assert done.returncode == 0, done.stderr


def test_the_public_tool_refuses_a_changed_release_and_another_key(release: Path, key: Path, tmp_path: Path) -> None:
    assert genba.main(["export-signature", str(release), "--key", str(key)]) == 0
    other = write_key(tmp_path / "other.pem", ec.generate_private_key(ec.SECP256R1()))
    signature = tmp_path / "ccpp.sig"
    assert verify("key", release, "--signature", signature, "--public_key", other.with_suffix(".pub")).returncode
    (release / "model.onnx").write_bytes(b"another graph")
    done = verify("key", release, "--signature", signature, "--public_key", key.with_suffix(".pub"))
    assert done.returncode
    assert "model.onnx" in done.stdout + done.stderr


def test_the_passphrase_comes_from_a_file_or_the_environment(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = write_key(tmp_path / "key.pem", ec.generate_private_key(ec.SECP256R1()), SECRET)
    kept = tmp_path / "passphrase"
    kept.touch(0o600)
    kept.write_text(SECRET + "\n")
    command = ["export-signature", str(release), "--key", str(key)]
    assert genba.main([*command, "--passphrase-file", str(kept)]) == 0
    monkeypatch.setenv("GENBA_PASSPHRASE", SECRET)
    assert genba.main(command) == 0
    monkeypatch.setenv("GENBA_PASSPHRASE", "wrong")
    assert genba.main(command) == 1
    told = capsys.readouterr()
    assert told.err == f"genba: --key {key}: the passphrase is wrong, or it is no PEM private key\n"
    assert SECRET not in told.out + told.err


def test_a_passphrase_that_others_may_read_is_refused(
    release: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "passphrase"
    kept.write_text(SECRET)
    kept.chmod(0o644)
    assert genba.main(["export-signature", str(release), "--key", str(key), "--passphrase-file", str(kept)]) == 1
    assert capsys.readouterr().err == f"genba: --passphrase-file {kept}: others may read it; `chmod 600 {kept}`\n"


def test_without_a_passphrase_and_a_terminal_one_line_says_so(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GENBA_PASSPHRASE", raising=False)
    key = write_key(tmp_path / "key.pem", ec.generate_private_key(ec.SECP256R1()), SECRET)
    assert genba.main(["export-signature", str(release), "--key", str(key)]) == 1
    assert capsys.readouterr().err.startswith("genba: key.pem: there is no terminal to ask at; set GENBA_PASSPHRASE")


def candidate(release: Path) -> None:
    shutil.rmtree(release)
    write_candidate(release)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda release: (release / "model.onnx").write_bytes(b"x"), "model.onnx was changed"),
        (lambda release: (release / "model.onnx").unlink(), "model.onnx is missing"),
        (lambda release: (release / "notes").touch(), "notes is not among the files of release.json"),
        (lambda release: (release / "notes").mkdir(), "notes is not a plain file"),
        (lambda release: (release / "release.json").unlink(), "is no release folder"),
        (candidate, "is a candidate, not a release"),
    ],
    ids=["changed", "missing", "added", "folder", "no manifest", "candidate"],
)
def test_what_is_not_a_release_as_published_is_not_signed(
    damage: object, told: str, release: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(release)  # type: ignore[operator]
    assert genba.main(["export-signature", str(release), "--key", str(key)]) == 1
    line = capsys.readouterr().err
    assert told in line
    assert line.count("\n") == 1
    assert not (tmp_path / "ccpp.sig").exists()


def test_keys_and_certificates_that_do_not_belong_are_refused(
    release: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain, _ = certified(ec.generate_private_key(ec.SECP256R1()), tmp_path)
    edwards = write_key(tmp_path / "edwards.pem", ed25519.Ed25519PrivateKey.generate())
    small = write_key(tmp_path / "small.pem", ec.generate_private_key(ec.SECP256K1()))
    for arguments, told in [
        (["--key", str(key), "--certificate", str(chain)], "the first certificate is not the signing key's"),
        (["--key", str(key), "--certificate", str(key)], "not PEM certificates"),
        (["--key", str(edwards)], "elliptic curve keys"),
        (["--key", str(small)], "secp256k1"),
        (["--key", str(release / "model.onnx")], "no PEM private key"),
        (["--key", str(key), "--out", str(release / "model.sig")], "lies in the release folder"),
    ]:
        assert genba.main(["export-signature", str(release), *arguments]) == 1
        assert told in capsys.readouterr().err


def test_a_published_release_is_fetched_and_signed(command, key: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    status, told, _ = command("publish", write_candidate(tmp_path / "candidate", model="signed"))
    assert (status, told) == (0, "signed@1\n")
    folder = tmp_path / "signed-1"
    arguments = ["export-signature", "signed@latest", "--folder", folder, "--key", key]
    assert command(*arguments)[:2] == (0, f"{folder}.sig\n")
    done = verify("key", folder, "--signature", f"{folder}.sig", "--public_key", key.with_suffix(".pub"))
    assert done.returncode == 0, done.stderr
    assert "exists already" in command(*arguments)[2]


@pytest.mark.parametrize(
    ("proof", "option", "suffix"), [("key", "--public_key", ".pub"), ("certificate", "--certificate_chain", ".ca.pem")]
)
def test_the_public_tool_accepts_what_the_registry_signed_until_a_file_is_changed(
    proof: str, option: str, suffix: str, command: Command, tmp_path: Path
) -> None:
    published = command("publish", write_candidate(tmp_path / "candidate", model="proven"))[1].strip()
    folder = tmp_path / "proven"
    status, out, err = command("export-signature", published, "--folder", folder, "--proof", proof)
    assert (status, out) == (0, f"{folder}.sig\n")
    trusted = f"{folder}{suffix}"
    check = [proof, str(folder), "--signature", f"{folder}.sig", option, trusted]
    assert err == f"check it: model_signing verify {' '.join(check)}\n"
    assert sorted(path.name for path in folder.iterdir()) == ["golden.npz", "model.onnx", "reference", "release.json"]
    done = verify(*check)
    assert done.returncode == 0, done.stderr
    (folder / "reference").write_bytes(b"another reference")
    done = verify(*check)
    assert done.returncode
    assert "Hash mismatch for" in done.stderr
    assert "reference" in done.stderr


def test_a_folder_that_was_fetched_before_is_signed_by_the_registry_too(command: Command, tmp_path: Path) -> None:
    published = command("publish", write_candidate(tmp_path / "candidate", model="again"))[1].strip()
    folder = tmp_path / "again"
    assert command("export-signature", published, "--folder", folder)[0] == 0
    before = Path(f"{folder}.pub").read_bytes()
    assert command("export-signature", folder)[0] == 0
    assert Path(f"{folder}.pub").read_bytes() == before


def test_the_registry_signs_no_other_release_of_that_name(command: Command, tmp_path: Path) -> None:
    command("publish", write_candidate(tmp_path / "candidate", model="doubled"))
    other = write_candidate(tmp_path / "other", model="doubled", version=1, named=b"from another registry")
    (other / "report.json").unlink()
    status, out, err = command("export-signature", other)
    assert (status, out) == (1, "")
    assert f"{other} is not doubled@1 as http://127.0.0.1:" in err
    assert not Path(f"{other}.sig").exists()


@pytest.mark.parametrize(
    "arguments", [("--certificate", "chain.pem"), ("--passphrase-file", "p"), ("--key", "k", "--proof", "key")]
)
def test_options_of_the_two_ways_to_sign_do_not_mix(
    arguments: tuple[str, ...], release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        genba.main(["export-signature", str(release), *arguments])
    assert stopped.value.code == 2
    assert "--key" in capsys.readouterr().err
