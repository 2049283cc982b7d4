"""Block arithmetic: plans, bitmaps, requests; a transfer over a link that loses and repeats always ends whole."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.blocks import (
    DIGEST_BYTES,
    MAX_BLOCK,
    MAX_WINDOW,
    MIN_BLOCK,
    Bitmap,
    BlockPlan,
    block_digest,
    blocks_of,
    wanted_blocks,
)

plans = st.builds(BlockPlan, st.integers(0, 200_000), st.integers(MIN_BLOCK, 4096))
counts = st.integers(1, 700)


@given(plans)
def test_blocks_cover_the_resource_once_in_order(plan):
    end = 0
    for index in range(plan.count):
        offset, length = plan.span(index)
        assert offset == end
        assert length <= plan.block_bytes
        end = offset + length
    assert end == plan.size_bytes


@given(plans, st.integers())
def test_there_is_no_block_beyond_the_last(plan, index):
    if 0 <= index < plan.count:
        assert plan.span(index)[1] > 0 or plan.size_bytes == 0
    else:
        with pytest.raises(IndexError, match=f"of {plan.count}"):
            plan.span(index)


def test_an_empty_resource_has_one_empty_block():
    assert (BlockPlan(0, 1024).count, BlockPlan(0, 1024).span(0)) == (1, (0, 0))


@pytest.mark.parametrize("plan", [(-1, 1024), (10, 0), (10, MIN_BLOCK - 1), (10, MAX_BLOCK + 1)])
def test_a_plan_out_of_bounds_is_refused(plan):
    with pytest.raises(ValueError, match="no plan"):
        BlockPlan(*plan)


@given(st.data(), counts)
def test_a_bitmap_survives_its_bytes(data, count):
    arrived = data.draw(st.sets(st.integers(0, count - 1)))
    bitmap = Bitmap(count)
    for index in arrived:
        bitmap.add(index)
        bitmap.add(index)
    again = Bitmap(count, bytes(bitmap))
    assert [index for index in range(count) if index in again] == sorted(arrived)
    assert again.arrived == len(arrived)
    assert list(again.missing()) == sorted(set(range(count)) - arrived)
    assert again.complete == (len(arrived) == count)


@given(st.data(), counts)
def test_a_span_is_the_same_as_its_blocks_one_by_one(data, count):
    start, stop = sorted((data.draw(st.integers(0, count)), data.draw(st.integers(0, count))))
    arrived = data.draw(st.sets(st.integers(0, count - 1)))
    spans, singles = Bitmap(count), Bitmap(count)
    for index in arrived:
        spans.add(index)
        singles.add(index)
    assert spans.has_all(range(start, stop)) == all(index in arrived for index in range(start, stop))
    spans.add_all(range(start, stop))
    for index in range(start, stop):
        singles.add(index)
    assert (bytes(spans), spans.arrived) == (bytes(singles), singles.arrived)
    assert spans.has_all(range(start, stop))
    assert list(spans.missing(start)) == [index for index in range(start, count) if index not in singles]


@given(counts, st.integers(1, 20))
def test_a_span_beyond_the_end_has_not_arrived_and_cannot(count, beyond):
    bitmap = Bitmap(count, bytes([255] * ((count + 7) // 8)))
    assert not bitmap.has_all(range(count - 1, count + beyond))
    with pytest.raises(IndexError):
        bitmap.add_all(range(count - 1, count + beyond))


@given(counts, st.data())
def test_bits_beyond_the_end_of_a_damaged_bitmap_do_not_count(count, data):
    size = (count + 7) // 8
    bitmap = Bitmap(count, data.draw(st.binary(min_size=size, max_size=size)))
    assert bitmap.arrived + len(list(bitmap.missing())) == count


@given(counts)
def test_a_bitmap_of_another_length_is_refused(count):
    with pytest.raises(ValueError, match="bytes"):
        Bitmap(count, bytes((count + 7) // 8 + 1))


@pytest.mark.parametrize("index", [-1, 8])
def test_a_block_that_is_not_there_cannot_arrive(index):
    with pytest.raises(IndexError):
        Bitmap(8).add(index)
    assert index not in Bitmap(8)


@given(st.sets(st.integers(0, 2000)), st.integers(1, 2 * MAX_WINDOW))
def test_a_request_asks_for_the_first_missing_within_the_window(missing, window):
    first, mask = wanted_blocks(iter(sorted(missing)), window)
    asked = blocks_of(first, mask)
    if not missing:
        assert mask == b""
        return
    assert first == min(missing)
    assert asked == [index for index in sorted(missing) if index < first + min(window, MAX_WINDOW)]


@given(st.integers(0, 2**32), st.binary(max_size=400))
def test_no_mask_asks_for_more_than_the_limit(first, mask):
    asked = blocks_of(first, mask)
    assert len(asked) <= MAX_WINDOW
    assert asked == sorted(set(asked))
    assert all(first <= index < first + MAX_WINDOW for index in asked)


@given(st.integers(0, 60_000), st.integers(1, 64), st.integers())
def test_a_transfer_ends_whole_over_a_link_that_loses(size, window, seed):
    plan, chance = BlockPlan(size, 1024), random.Random(seed)
    bitmap = Bitmap(plan.count)
    received = bytearray(plan.size_bytes)
    source = chance.randbytes(plan.size_bytes)
    for _ in range(plan.count * 40):
        first, mask = wanted_blocks(bitmap.missing(), window)
        if not mask:
            break
        for index in blocks_of(first, mask):
            offset, length = plan.span(index)
            if chance.random() < 0.3:
                continue
            received[offset : offset + length] = source[offset : offset + length]
            bitmap.add(index)
    assert bitmap.complete
    assert received == source


@given(st.binary(min_size=1, max_size=300), st.integers(0, 299), st.integers(0, 7))
def test_a_flipped_bit_changes_the_digest(data, at, bit):
    damaged = bytearray(data)
    damaged[at % len(data)] ^= 1 << bit
    assert len(block_digest(data)) == DIGEST_BYTES
    assert block_digest(data) != block_digest(bytes(damaged))
