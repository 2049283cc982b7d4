"""A certificate's two dates, read without a library: the same as cryptography reads, and nothing from what is none."""

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.certificate_dates import read_dates

KEYS: list[Any] = [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)]
MOMENTS = st.integers(-631_000_000, 10_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def certificate(key: Any, begin: datetime, end: datetime, *, name: str = "osaka.press-1", serial: int = 7) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), serial)
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode()


@settings(deadline=None, max_examples=40)
@given(
    key=st.sampled_from(KEYS),
    moments=st.tuples(MOMENTS, MOMENTS),
    name=st.text(st.characters(min_codepoint=33, max_codepoint=0x3000), min_size=1, max_size=20),
    serial=st.integers(1, 2**158),
)
def test_the_dates_are_those_that_cryptography_reads(
    key: Any, moments: tuple[datetime, datetime], name: str, serial: int
) -> None:
    """Years of two digits and of four (from 2050 on), short lengths and long ones."""
    pem = certificate(key, min(moments), max(moments), name=name, serial=serial)
    read = x509.load_pem_x509_certificate(pem.encode())
    assert read_dates(pem) == (read.not_valid_before_utc.timestamp(), read.not_valid_after_utc.timestamp())


def test_the_first_certificate_of_a_pair_is_read_and_its_key_left_alone() -> None:
    begin, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    key = KEYS[0].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    first, second = certificate(KEYS[0], begin, end), certificate(KEYS[1], end, end.replace(year=2030))
    assert read_dates(key + first + second + key) == (begin.timestamp(), end.timestamp())


PEM = certificate(KEYS[0], datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))


@given(cut=st.integers(0, len(PEM) - 2), noise=st.text(max_size=8))
def test_what_is_cut_short_or_damaged_is_no_certificate_or_has_dates(cut: int, noise: str) -> None:
    """Nothing but a ValueError comes of it."""
    for damaged in (PEM[:cut], PEM[:cut] + noise + PEM[cut + len(noise) :]):
        try:
            begin, end = read_dates(damaged)
        except ValueError:
            continue
        assert begin <= 253_402_300_799
        assert end <= 253_402_300_799


@pytest.mark.parametrize("text", ["", "no certificate", "-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----"])
def test_where_there_is_none_nothing_is_read(text: str) -> None:
    with pytest.raises(ValueError, match="no certificate"):
        read_dates(text)
