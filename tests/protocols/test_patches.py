"""Patches: what they make is what was meant, and nothing else gets further than an error."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.patches import PatchError, apply_patch, make_patch, memory_needed, patch_resource
from protocols.resources import parse_resource, release_of

files = st.binary(max_size=3000)


def patch_of(base: bytes, file: bytes) -> bytes:
    return b"".join(make_patch(base, [file[:100], file[100:]], len(file)))


def made(base: bytes, patch: bytes, size: int) -> bytes:
    return b"".join(apply_patch(base, [patch[i : i + 50] for i in range(0, len(patch), 50)], size))


@given(files, files)
def test_a_patch_makes_the_file(base, file):
    assert made(base, patch_of(base, file), len(file)) == file


def test_a_patch_of_a_few_changes_is_small():
    base = random.Random(1).randbytes(2_000_000)
    file = base[:500_000] + b"changed" + base[500_100:]
    patch = patch_of(base, file)
    assert len(patch) < 2000
    assert made(base, patch, len(file)) == file


@given(st.binary(min_size=1, max_size=2000), st.data())
def test_a_patch_that_was_damaged_or_cut_is_refused_or_makes_the_file(file, data):
    base = random.Random(2).randbytes(1000)
    patch = bytearray(patch_of(base, base + file))
    if data.draw(st.booleans()):
        patch = patch[: data.draw(st.integers(0, len(patch) - 1))]
    else:
        patch[data.draw(st.integers(0, len(patch) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(PatchError):
        assert made(base, bytes(patch), len(base + file)) == base + file


def test_a_patch_of_another_base_is_refused():
    base, other = random.Random(3).randbytes(5000), random.Random(4).randbytes(5000)
    with pytest.raises(PatchError):
        made(other, patch_of(base, base[::-1] + base), 10_000)


def test_a_patch_that_makes_more_than_it_may_is_stopped():
    bomb = patch_of(b"", bytes(50_000_000))
    pieces: list[int] = []
    with pytest.raises(PatchError):
        pieces.extend(map(len, apply_patch(b"", [bomb], 1_000_000)))
    assert sum(pieces) <= 1_000_000


def test_a_patch_that_wants_a_large_window_is_refused():
    huge = patch_of(b"", random.Random(5).randbytes(4_000_000))
    with pytest.raises(PatchError):
        list(apply_patch(b"", [huge], 100_000))


def test_bytes_behind_the_end_of_a_patch_are_refused():
    with pytest.raises(PatchError, match="more follows"):
        list(apply_patch(b"base of it", [patch_of(b"base of it", b"file"), b"!"], 4))


@given(st.integers(0, 2**31), st.integers(0, 2**31))
def test_memory_covers_the_base_and_a_window_over_both(base_bytes, size_bytes):
    assert memory_needed(base_bytes, size_bytes) >= min(base_bytes + max(base_bytes, size_bytes), 2**31)


def test_a_patchs_resource_names_both_ends_and_belongs_to_the_release():
    resource = patch_resource("ccpp/3/model.onnx", "a" * 64, "b" * 64)
    assert parse_resource(resource) == ("image", "patches", f"ccpp/3/{'a' * 64}.{'b' * 64}.model.onnx")
    assert str(release_of(resource)) == "ccpp@3"
