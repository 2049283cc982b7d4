"""Block downloads: loss, damage, silence, restarts and refusals on the way."""

import hashlib
import itertools
import random
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edge_agent import partial
from edge_agent.errors import ResourceFinalError, TransferError
from edge_agent.pacing import Bounds
from edge_agent.transfer import BlockClient, TransferLimits
from protocols.blocks import BlockPlan, block_digest, blocks_of
from protocols.messages import Block, BlockRequest
from protocols.names import ReleaseRef

DATA = random.Random(1).randbytes(400_000)
NAME = "image/targets/ccpp/1/abc.model.onnx"
BLOCK, WINDOW = 4096, 32 * 1024
LIMITS = TransferLimits(Bounds(BLOCK, WINDOW), patience_s=0.02, longest_patience_s=0.05, tries=4)
WIDE = TransferLimits(Bounds(BLOCK, 8 * WINDOW), patience_s=0.02, longest_patience_s=0.05, tries=4)


class Registry:
    """Answers each request at once; `mishap` may change a block, or lose it (None)."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data = data
        self.requests: list[BlockRequest] = []
        self.mishap: Callable[[Block], Block | None] = lambda block: block
        self.client: BlockClient | None = None

    def __call__(self, request: BlockRequest) -> bool:
        assert self.client is not None
        self.requests.append(request)
        plan = BlockPlan(len(self.data), request.block_bytes)
        for index in blocks_of(request.first, request.mask):
            if index < plan.count:
                offset, length = plan.span(index)
                part = self.data[offset : offset + length]
                block = self.mishap(Block(request.transfer, index, len(self.data), part, block_digest(part)))
                if block is not None:
                    self.client.arrived(block)
        return True


def connect(registry: Registry, folder: Path, limits: TransferLimits = LIMITS) -> BlockClient:
    registry.client = BlockClient(registry, folder, limits)
    return registry.client


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 400_000])
def test_a_resource_of_any_size_arrives_whole(tmp_path: Path, size: int) -> None:
    client = connect(Registry(DATA[:size]), tmp_path)
    assert client.fetch(NAME, 500_000).read_bytes() == DATA[:size]
    client.forget(NAME)
    assert list(tmp_path.iterdir()) == []


def test_no_more_than_the_window_is_on_its_way(tmp_path: Path) -> None:
    registry = Registry()
    connect(registry, tmp_path).fetch(NAME, 500_000)
    assert max(len(blocks_of(r.first, r.mask)) for r in registry.requests) * BLOCK <= WINDOW


def test_lost_damaged_doubled_and_late_blocks_do_no_harm(tmp_path: Path) -> None:
    registry, chance = Registry(), random.Random(3)
    client = connect(registry, tmp_path)

    def mishap(block: Block) -> Block | None:
        fate = chance.random()
        if fate < 0.2:
            return None
        if fate < 0.3:
            return Block(block.transfer, block.index, block.size_bytes, b"?" * len(block.data), block.digest)
        if fate < 0.4:
            client.arrived(Block(block.transfer - 1, block.index, 7, b"another", b""))
            client.arrived(block)
        return block

    registry.mishap = mishap
    assert client.fetch(NAME, 500_000).read_bytes() == DATA


def test_a_download_resumes_after_a_restart_with_what_is_missing(tmp_path: Path) -> None:
    registry, count = Registry(), [0]

    def die_half_way(block: Block) -> Block | None:
        count[0] += 1
        return block if count[0] <= 60 else None

    registry.mishap = die_half_way
    with pytest.raises(TransferError, match="no answer"):
        connect(registry, tmp_path).fetch(NAME, 500_000)
    registry.mishap, registry.requests = (lambda block: block), []
    client = connect(registry, tmp_path)
    assert client.fetch(NAME, 500_000).read_bytes() == DATA
    asked = {index for r in registry.requests for index in blocks_of(r.first, r.mask)}
    assert len(asked) == 98 - 60
    assert min(asked) == 60


def test_a_power_cut_never_leaves_a_bitmap_that_claims_too_much(tmp_path: Path) -> None:
    registry = Registry()
    registry.mishap = lambda block: block if block.index < 40 else None
    with pytest.raises(TransferError):
        connect(registry, tmp_path).fetch(NAME, 500_000)
    partial = next(tmp_path.glob("*.part"))
    partial.write_bytes(b"")  # the card lost the file, and kept the bitmap
    registry.mishap = lambda block: block
    assert connect(registry, tmp_path).fetch(NAME, 500_000).read_bytes() == DATA


def test_silence_ends_the_download_for_now(tmp_path: Path) -> None:
    registry = Registry()
    registry.mishap = lambda block: None
    with pytest.raises(TransferError, match="no answer from the registry in 4 tries"):
        connect(registry, tmp_path).fetch(NAME, 500_000)
    assert len(registry.requests) == 4


@pytest.mark.parametrize("status", [404, 410])
def test_not_there_is_final_at_once(tmp_path: Path, status: int) -> None:
    registry = Registry()
    registry.mishap = lambda block: Block(block.transfer, status=status, reason="withdrawn")
    with pytest.raises(ResourceFinalError, match="withdrawn") as caught:
        connect(registry, tmp_path).fetch(NAME, 500_000)
    assert caught.value.status == status
    assert len(registry.requests) == 1


def test_busy_is_asked_again(tmp_path: Path) -> None:
    registry, busy = Registry(), [3]

    def mishap(block: Block) -> Block | None:
        busy[0] -= 1
        return Block(block.transfer, status=503, reason="busy") if busy[0] >= 0 else block

    registry.mishap = mishap
    assert connect(registry, tmp_path).fetch(NAME, 500_000).read_bytes() == DATA


def test_endless_data_is_refused_before_it_is_stored(tmp_path: Path) -> None:
    registry = Registry()
    with pytest.raises(TransferError, match="at most 5000 are expected"):
        connect(registry, tmp_path).fetch(NAME, 5000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0


def test_a_size_that_changes_on_the_way_is_refused(tmp_path: Path) -> None:
    registry = Registry()
    registry.mishap = lambda block: Block(block.transfer, block.index, 400_000 + block.index, block.data, block.digest)
    with pytest.raises(TransferError, match="size changed"):
        connect(registry, tmp_path).fetch(NAME, 500_000)


def test_cancelling_ends_the_download_in_hand(tmp_path: Path) -> None:
    registry = Registry()
    client = connect(registry, tmp_path, TransferLimits(patience_s=30.0))
    registry.mishap = lambda block: client.cancel()
    with pytest.raises(TransferError, match="stopping"):
        client.fetch(NAME, 500_000)


def test_two_resources_keep_their_own_partial_files(tmp_path: Path) -> None:
    client = connect(Registry(), tmp_path)
    one, two = client.fetch("a", 500_000), client.fetch("b", 500_000)
    assert one != two
    assert hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(two.read_bytes()).digest()


def test_a_download_goes_on_at_once_when_the_link_is_back(tmp_path: Path) -> None:
    registry = Registry()
    client = connect(registry, tmp_path, TransferLimits(Bounds(BLOCK, WINDOW), patience_s=60.0, relink_patience_s=0.01))
    down = [True]
    serve = client._send

    def send(request: BlockRequest) -> bool:
        if not down[0]:
            return serve(request)
        down[0] = False
        threading.Timer(0.01, client.link_up).start()
        return False

    client._send = send
    assert client.fetch(NAME, 500_000).read_bytes() == DATA


def test_an_interruption_ends_the_download_in_hand_and_later_ones_until_it_is_over(tmp_path: Path) -> None:
    registry = Registry()
    client = connect(registry, tmp_path)
    count = itertools.count()

    def mishap(block: Block) -> Block:
        if next(count) == 40:
            client.interrupt()
        return block

    registry.mishap = mishap
    for _ in range(2):
        with pytest.raises(TransferError, match="interrupted"):
            client.fetch(NAME, 500_000)
    client.proceed()
    sent = next(count)
    assert client.fetch(NAME, 500_000).read_bytes() == DATA
    assert next(count) < sent + 98 - 20  # what had arrived was not asked for again


def test_each_useless_block_is_counted_by_what_is_wrong_with_it(tmp_path: Path) -> None:
    registry = Registry()
    client = connect(registry, tmp_path, WIDE)
    first = itertools.count()

    def mishap(block: Block) -> Block:
        if next(first) == 8:
            replace = msgspec.structs.replace
            flipped = bytes([block.data[0] ^ 1]) + block.data[1:]
            for useless in (
                replace(block, data=block.data[:-1]),
                replace(block, data=block.data + b"!"),
                replace(block, data=b""),
                replace(block, index=10**6),
                replace(block, index=-1),
                replace(block, index=0),
                replace(block, transfer=block.transfer + 1000),
                replace(block, transfer=-5),
            ):
                client.arrived(useless)
            return replace(block, data=flipped)
        return block

    registry.mishap = mishap
    assert client.fetch(NAME, 500_000).read_bytes() == DATA
    assert dict(client.counts) == {"damaged": 1, "misfit": 5, "duplicate": 1, "late": 2}


def test_blocks_that_nobody_asked_for_fill_no_memory(tmp_path: Path) -> None:
    registry = Registry()
    client = connect(registry, tmp_path)
    flooded = [False]

    def mishap(block: Block) -> Block:
        if not flooded[0]:
            flooded[0] = True
            for _ in range(200):
                client.arrived(Block(block.transfer, 10**6, len(DATA), DATA[:BLOCK], b""))
            assert client._inbox_bytes <= 2 * WINDOW + BLOCK
        return block

    registry.mishap = mishap
    assert client.fetch(NAME, 500_000).read_bytes() == DATA
    assert client.counts["overrun"] > 150
    assert client._inbox_bytes == 0


def test_a_lost_block_is_asked_for_again_before_the_link_falls_silent(tmp_path: Path) -> None:
    registry = Registry()
    client = connect(registry, tmp_path, TransferLimits(Bounds(BLOCK, WINDOW), patience_s=60.0))
    lost = {30}

    def mishap(block: Block) -> Block | None:
        if block.index in lost:
            lost.remove(block.index)
            return None
        return block

    registry.mishap = mishap
    assert client.fetch(NAME, 500_000).read_bytes() == DATA


def test_a_disk_without_room_is_said_before_anything_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial, "RESERVE_BYTES", 2**60)
    with pytest.raises(TransferError, match=r"the disk is full: .* make room"):
        connect(Registry(), tmp_path).fetch(NAME, 500_000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0


def test_blocks_grow_with_the_link_and_what_arrived_in_small_ones_stays(tmp_path: Path) -> None:
    registry = Registry(random.Random(2).randbytes(6_000_000))
    client = connect(registry, tmp_path, TransferLimits())
    assert client.fetch(NAME, 10**7).read_bytes() == registry.data
    assert len({request.block_bytes for request in registry.requests}) > 1
    assert len({(r.transfer, r.block_bytes) for r in registry.requests}) == len({r.transfer for r in registry.requests})


def test_what_is_left_of_unwanted_downloads_is_deleted(tmp_path: Path) -> None:
    registry = Registry()
    registry.mishap = lambda block: block if block.index < 40 else None
    client = connect(registry, tmp_path)
    for version in (1, 2):
        with pytest.raises(TransferError):
            client.fetch(f"image/targets/ccpp/{version}/abc.model.onnx", 500_000)
    (tmp_path / "stray.part").write_bytes(b"?")
    assert client.keep_only(frozenset({ReleaseRef("ccpp", 2)})) == 2
    registry.mishap, registry.requests = (lambda block: block), []
    client.fetch("image/targets/ccpp/2/abc.model.onnx", 500_000)
    assert min(index for r in registry.requests for index in blocks_of(r.first, r.mask)) >= 30
