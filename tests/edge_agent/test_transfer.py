"""Block downloads: loss, damage, silence, restarts and refusals on the way."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.errors import ResourceFinalError, TransferError
from edge_agent.transfer import BlockClient, TransferLimits
from protocols.blocks import BlockPlan, block_digest, blocks_of
from protocols.messages import Block, BlockRequest

DATA = random.Random(1).randbytes(100_000)
NAME = "image/targets/ccpp/1/abc.model.onnx"
LIMITS = TransferLimits(block_bytes=1024, window=8, patience_s=0.02, longest_patience_s=0.05, tries=4)


class Registry:
    """Answers each request at once; `mishap` may change a block, or lose it (None)."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data = data
        self.requests: list[BlockRequest] = []
        self.mishap: Callable[[Block], Block | None] = lambda block: block
        self.client: BlockClient | None = None

    def __call__(self, request: BlockRequest) -> None:
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


def connect(registry: Registry, folder: Path, limits: TransferLimits = LIMITS) -> BlockClient:
    registry.client = BlockClient(registry, folder, limits)
    return registry.client


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 100_000])
def test_a_resource_of_any_size_arrives_whole(tmp_path: Path, size: int) -> None:
    client = connect(Registry(DATA[:size]), tmp_path)
    assert client.fetch(NAME, 200_000).read_bytes() == DATA[:size]
    client.forget(NAME)
    assert list(tmp_path.iterdir()) == []


def test_no_more_than_the_window_is_on_its_way(tmp_path: Path) -> None:
    registry = Registry()
    connect(registry, tmp_path).fetch(NAME, 200_000)
    assert max(len(blocks_of(r.first, r.mask)) for r in registry.requests) <= LIMITS.window


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
    assert client.fetch(NAME, 200_000).read_bytes() == DATA


def test_a_download_resumes_after_a_restart_with_what_is_missing(tmp_path: Path) -> None:
    registry, count = Registry(), [0]

    def die_half_way(block: Block) -> Block | None:
        count[0] += 1
        return block if count[0] <= 60 else None

    registry.mishap = die_half_way
    with pytest.raises(TransferError, match="no answer"):
        connect(registry, tmp_path).fetch(NAME, 200_000)
    registry.mishap, registry.requests = (lambda block: block), []
    client = connect(registry, tmp_path)
    assert client.fetch(NAME, 200_000).read_bytes() == DATA
    asked = {index for r in registry.requests for index in blocks_of(r.first, r.mask)}
    assert len(asked) == 98 - 60
    assert min(asked) == 60


def test_a_power_cut_never_leaves_a_bitmap_that_claims_too_much(tmp_path: Path) -> None:
    registry = Registry()
    registry.mishap = lambda block: block if block.index < 40 else None
    with pytest.raises(TransferError):
        connect(registry, tmp_path).fetch(NAME, 200_000)
    partial = next(tmp_path.glob("*.part"))
    partial.write_bytes(b"")  # the card lost the file, and kept the bitmap
    registry.mishap = lambda block: block
    assert connect(registry, tmp_path).fetch(NAME, 200_000).read_bytes() == DATA


def test_silence_ends_the_download_for_now(tmp_path: Path) -> None:
    registry = Registry()
    registry.mishap = lambda block: None
    with pytest.raises(TransferError, match="no answer from the registry in 4 tries"):
        connect(registry, tmp_path).fetch(NAME, 200_000)
    assert len(registry.requests) == 4


@pytest.mark.parametrize("status", [404, 410])
def test_not_there_is_final_at_once(tmp_path: Path, status: int) -> None:
    registry = Registry()
    registry.mishap = lambda block: Block(block.transfer, status=status, reason="withdrawn")
    with pytest.raises(ResourceFinalError, match="withdrawn") as caught:
        connect(registry, tmp_path).fetch(NAME, 200_000)
    assert caught.value.status == status
    assert len(registry.requests) == 1


def test_busy_is_asked_again(tmp_path: Path) -> None:
    registry, busy = Registry(), [3]

    def mishap(block: Block) -> Block | None:
        busy[0] -= 1
        return Block(block.transfer, status=503, reason="busy") if busy[0] >= 0 else block

    registry.mishap = mishap
    assert connect(registry, tmp_path).fetch(NAME, 200_000).read_bytes() == DATA


def test_endless_data_is_refused_before_it_is_stored(tmp_path: Path) -> None:
    registry = Registry()
    with pytest.raises(TransferError, match="at most 5000 are expected"):
        connect(registry, tmp_path).fetch(NAME, 5000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0


def test_a_size_that_changes_on_the_way_is_refused(tmp_path: Path) -> None:
    registry = Registry()
    registry.mishap = lambda block: Block(block.transfer, block.index, 100_000 + block.index, block.data, block.digest)
    with pytest.raises(TransferError, match="size changed"):
        connect(registry, tmp_path).fetch(NAME, 200_000)


def test_cancelling_ends_the_download_in_hand(tmp_path: Path) -> None:
    registry = Registry()
    client = connect(registry, tmp_path, TransferLimits(patience_s=30.0))
    registry.mishap = lambda block: client.cancel()
    with pytest.raises(TransferError, match="stopping"):
        client.fetch(NAME, 200_000)


def test_two_resources_keep_their_own_partial_files(tmp_path: Path) -> None:
    client = connect(Registry(), tmp_path)
    one, two = client.fetch("a", 200_000), client.fetch("b", 200_000)
    assert one != two
    assert hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(two.read_bytes()).digest()
