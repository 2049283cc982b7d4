"""Metadata that is no metadata, whoever sent or signed it: refused by name, nothing kept, nothing grown."""

import itertools
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical
from simulators.bad_metadata import BAD
from simulators.device_bench import ONE, Bench
from simulators.registry_side import SignedReleases

from edge_agent.errors import ReleaseRefusedError, TrustError
from protocols.errors import GenbaError
from protocols.manifest import FileInfo
from protocols.trust import SIGNED_AT
from registry.signing.keys import Role, load_signer

DIRECTOR = ("timestamp.json", "1.snapshot.json", "1.targets.json")
SIGNED_BY: dict[str, Role] = {"root": "director-root", "timestamp": "director-online"}
_numbers = itertools.count()


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> SignedReleases:
    """One registry for all: no test may sign anything with it, since version numbers would rise."""
    signed = SignedReleases(tmp_path_factory.mktemp("registry"))
    signed.assign("press-1")
    return signed


@pytest.fixture(scope="module")
def home(signed: SignedReleases) -> Path:
    return signed.home


def device(signed: SignedReleases, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(signed, tmp_path_factory.getbasetemp() / f"device-{next(_numbers)}")


def serve(bench: Bench, name: str, data: bytes) -> None:
    bench.wire.tamper = lambda url, real: data if url.endswith(name) else real


def kept(bench: Bench) -> set[str]:
    return {path.name for path in (bench.folder / "metadata" / "director").glob("*.json")}


@pytest.mark.parametrize("name", [*DIRECTOR, "2.root.json"])
@pytest.mark.parametrize("bad", BAD)
def test_bad_metadata_is_refused_by_name_and_not_kept(
    signed: SignedReleases, tmp_path_factory: pytest.TempPathFactory, name: str, bad: str
) -> None:
    bench = device(signed, tmp_path_factory)
    serve(bench, name, BAD[bad][0])
    role = name.removesuffix(".json").rpartition(".")[2]
    with pytest.raises(
        TrustError, match=f"director: ({role}.json is refused|director/metadata/{name}: more arrives)|more"
    ):
        bench.verifier.assignment()
    assert f"{role}.json" not in kept(bench) - {"root.json"}
    bench.wire.tamper = lambda url, real: real
    assert bench.verifier.assignment() is not None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_metadata_that_was_damaged_on_its_way_is_refused(
    signed: SignedReleases, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Cut off, a bit flipped, bytes put in or left out: refused, unless it still says what was signed."""
    name = data.draw(st.sampled_from(DIRECTOR))
    real = signed.read("press-1", f"director/metadata/{name}")
    assert real is not None
    bench = device(signed, tmp_path_factory)
    serve(bench, name, data.draw(_damage(real)))
    try:
        bench.verifier.assignment()
    except GenbaError as error:
        assert "\n" not in str(error)
    bench.wire.tamper = lambda url, data: data
    assert bench.verifier.assignment() is not None


def _damage(real: bytes) -> st.SearchStrategy[bytes]:
    at = st.integers(0, len(real) - 1)
    flipped = st.tuples(at, st.integers(0, 7)).map(
        lambda spot: real[: spot[0]] + bytes([real[spot[0]] ^ 1 << spot[1]]) + real[spot[0] + 1 :]
    )
    put_in = st.tuples(at, st.binary(min_size=1, max_size=8)).map(lambda it: real[: it[0]] + it[1] + real[it[0] :])
    left_out = st.tuples(at, st.integers(1, 40)).map(lambda it: real[: it[0]] + real[it[0] + it[1] :])
    return flipped | put_in | left_out | at.map(lambda end: real[:end])


_odd = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**53 - 1) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
) | st.sampled_from(["../../etc/passwd", "/etc/passwd", "..", "", "a\x00b", "x" * 4000, "\u202egnp.elif", "ｒｏｏｔ"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_the_online_key_signs_is_taken_or_refused_by_name(
    signed: SignedReleases, home: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any value in any place, signed by the key that may: wrong types, odd names, missing parts."""
    name = data.draw(st.sampled_from(DIRECTOR))
    document = json.loads(signed.read("press-1", f"director/metadata/{name}") or b"")
    for _ in range(data.draw(st.integers(1, 2))):
        _put_odd(data, document["signed"])
    try:
        canonical = encode_canonical(document["signed"]).encode()
    except UnicodeEncodeError:
        assume(False)  # half of a surrogate pair cannot be signed
    signature = load_signer(home, "director-online").sign(canonical)
    document["signatures"] = [{"keyid": signature.keyid, "sig": signature.signature}]
    bench = device(signed, tmp_path_factory)
    serve(bench, name, json.dumps(document).encode())
    before = {path.name for path in bench.folder.iterdir()}
    try:
        bench.verifier.assignment()
    except GenbaError as error:
        assert "\n" not in str(error)
    assert {path.name for path in bench.folder.iterdir()} - before <= {"metadata"}


def _put_odd(data: st.DataObject, value: Any) -> None:
    """Walk down at random and replace, remove or add something."""
    while True:
        if not isinstance(value, dict | list) or not value:
            return
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(value[key], dict | list) and value[key] and data.draw(st.booleans()):
            value = value[key]
            continue
        if data.draw(st.booleans()):
            value[key] = data.draw(_odd)
        elif isinstance(value, dict) and data.draw(st.booleans()):
            value[data.draw(st.text(max_size=12))] = value[key]
        else:
            del value[key]
        return


@pytest.mark.parametrize("odd", [3, "yesterday", "9999-99-99T00:00:00Z", [], {}, True])
def test_a_time_of_signing_that_is_no_time_is_refused(
    signed: SignedReleases, home: Path, tmp_path_factory: pytest.TempPathFactory, odd: Any
) -> None:
    document = json.loads(signed.read("press-1", "director/metadata/timestamp.json") or b"")
    document["signed"][SIGNED_AT] = odd
    signature = load_signer(home, "director-online").sign(encode_canonical(document["signed"]).encode())
    document["signatures"] = [{"keyid": signature.keyid, "sig": signature.signature}]
    bench = device(signed, tmp_path_factory)
    serve(bench, "timestamp.json", json.dumps(document).encode())
    with pytest.raises(TrustError, match="is no time"):
        bench.verifier.assignment()


@pytest.mark.parametrize(
    "path",
    ["ccpp/1/model.onnx\x00", "ccpp/1/./model.onnx", "ccpp/1/../1/model.onnx", "ｃｃｐｐ/1/model.onnx",
     "ccpp/1/model.onnx\u200b", "ccpp/١/model.onnx", "\u202excpp/1/model.onnx"],
)  # fmt: skip
def test_a_target_whose_name_only_looks_like_a_releases_is_another_target(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, path: str
) -> None:
    signed = SignedReleases(tmp_path / "registry")
    signed.assign("press-1")
    bench = device(signed, tmp_path_factory)
    assignment = bench.verifier.assignment()
    assert assignment is not None
    signed.director.direct(assignment, {path: FileInfo("0" * 64, 10)}, "x86")
    with pytest.raises(ReleaseRefusedError, match="the director has not signed it"):
        bench.verifier.fetch(ONE, bench.store)
    assert not list((bench.folder / "releases").rglob("*.onnx"))


def test_a_hundred_refusals_of_a_megabyte_leave_no_memory_behind(
    signed: SignedReleases, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bench = device(signed, tmp_path_factory)
    bad = b'{"signed": {"x": ' + b"[" * 30 + b'"' + b"x" * 1_000_000 + b'"' + b"]" * 30 + b'}, "signed": {}}'
    serve(bench, ".targets.json", bad)

    def refuse(times: int) -> None:
        for _ in range(times):
            with pytest.raises(TrustError, match="'signed' is there twice"):
                bench.verifier.assignment()

    refuse(5)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        refuse(100)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1_000_000
