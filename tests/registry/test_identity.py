"""The authority: what its certificates say and do not, and which requests it refuses."""

import base64
import datetime
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from simulators.secure_broker import signing_request

from protocols.enrolment import identity_name
from protocols.errors import NameRefusedError, NameTooLongError
from registry.errors import CertificateRefusedError
from registry.identity import SERVER_LIFE, Authority

NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture
def at():
    return [NOW]


@pytest.fixture
def authority(tmp_path, at):
    made = Authority(tmp_path, lambda: at[0])
    made.create()
    return made


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind).value


def test_the_authority_may_sign_and_nothing_else_and_nobody_below_it(authority):
    found = x509.load_pem_x509_certificate(authority.pem.encode())
    constraints = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    usage = extension(found, x509.KeyUsage)
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)


def test_keys_are_readable_by_the_owner_alone(authority, tmp_path):
    for name in ("keys/ca.key", "ca/registry.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_device_gets_its_key_its_name_and_nothing_that_it_asks_for_beyond(authority):
    key = ec.generate_private_key(ec.SECP256R1())
    wishes = [
        x509.BasicConstraints(ca=True, path_length=None),
        x509.SubjectAlternativeName([x509.DNSName("broker.example")]),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
    ]
    csr = signing_request(key, "osaka.press-1", extensions=wishes)
    made = authority.sign("osaka", "press-1", csr, 10 * DAY)
    found = x509.load_pem_x509_certificate(made.pem.encode())
    found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.pem.encode()))
    assert found.public_key() == key.public_key()
    assert not extension(found, x509.BasicConstraints).ca
    assert list(extension(found, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    names = extension(found, x509.SubjectAlternativeName)
    assert [name.value for name in names] == ["urn:genba:device:osaka:press-1"]
    assert (made.serial, made.expires_at) == (f"{found.serial_number:x}", NOW + 10 * DAY)
    assert found.not_valid_before_utc.timestamp() == NOW - 3600


def test_serial_numbers_are_random_and_differ(authority):
    key = ec.generate_private_key(ec.SECP256R1())
    csr = signing_request(key, "osaka.press-1")
    serials = {authority.sign("osaka", "press-1", csr, DAY).serial for _ in range(20)}
    assert len(serials) == 20
    assert min(int(serial, 16).bit_length() for serial in serials) > 64


def test_who_cannot_prove_to_have_the_key_is_refused(authority):
    good = x509.load_pem_x509_csr(
        signing_request(ec.generate_private_key(ec.SECP256R1()), "osaka.press-1").encode()
    ).public_bytes(Encoding.DER)
    forged = bytearray(good)
    forged[-4] ^= 1  # within the signature
    lines = base64.encodebytes(bytes(forged)).decode()
    pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{lines}-----END CERTIFICATE REQUEST-----\n"
    with pytest.raises(CertificateRefusedError, match="not signed by the key inside it"):
        authority.sign("osaka", "press-1", pem, DAY)


def test_names_that_no_certificate_can_hold_are_refused():
    assert identity_name("osaka", "press-1") == "osaka.press-1"
    with pytest.raises(NameTooLongError, match="63 fit"):
        identity_name("s" * 40, "d" * 40)
    with pytest.raises(NameRefusedError):
        identity_name("osaka", "press.1")


def test_short_lives_begin_shortly_before(authority):
    csr = signing_request(ec.generate_private_key(ec.SECP256R1()), "osaka.press-1")
    found = x509.load_pem_x509_certificate(authority.sign("osaka", "press-1", csr, 48.0).pem.encode())
    assert found.not_valid_before_utc.timestamp() == NOW - 2


def test_the_registrys_own_certificate_is_renewed_at_two_thirds(authority, at, tmp_path):
    path = tmp_path / "ca" / "registry.pem"
    first = path.read_bytes()
    at[0] += SERVER_LIFE.total_seconds() * 0.6
    assert not authority.renew_service()
    at[0] += SERVER_LIFE.total_seconds() * 0.1
    assert authority.renew_service()
    assert path.read_bytes() != first
    path.write_text("damaged")
    assert authority.renew_service()


def test_a_server_certificate_is_for_its_hosts_and_made_anew_for_others(authority, tmp_path):
    paths = (tmp_path / "s.crt", tmp_path / "s.key")
    assert authority.renew_server(*paths, ["broker.example", "10.0.0.7"])
    assert not authority.renew_server(*paths, ["broker.example", "10.0.0.7"])
    found = x509.load_pem_x509_certificate(paths[0].read_bytes())
    assert list(extension(found, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert authority.renew_server(*paths, ["other.example"])


def test_the_revocation_list_is_signed_and_outlives_a_registry_that_is_away(authority):
    found = x509.load_pem_x509_crl(authority.revocations([("abcd", NOW)]))
    assert authority.signed(found)
    assert [entry.serial_number for entry in found] == [0xABCD]
    assert found.next_update_utc - found.last_update_utc > datetime.timedelta(days=300)
