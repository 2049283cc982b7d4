"""The block server by itself: fairness, bounds, and what it answers when it cannot serve."""

import threading

import pytest

from protocols.blocks import block_digest, wanted_blocks
from protocols.messages import BlockRequest
from registry.errors import ResourceGoneError, ResourceMissingError
from registry.mqtt import blocks
from registry.mqtt.blocks import BlockServer

BLOCK = 64 * 1024


class Bytes:
    def __init__(self, data, key=None):
        self._data = data
        self.size, self.key = len(data), key
        self.reads = 0

    def read(self, offset, length):
        self.reads += 1
        return self._data[offset : offset + length]


class World:
    """Resources by name, and what was sent; `gate` holds the server up while it is closed."""

    def __init__(self):
        self.resources = {"model": Bytes(bytes(range(256)) * 16 * 1024), "small": Bytes(b"metadata")}
        self.errors = {}
        self.sent = []
        self.linked = True
        self.gate = threading.Event()
        self.gate.set()

    def open(self, device, resource):
        if resource in self.errors:
            raise self.errors[resource]
        return self.resources[resource]

    def send(self, site, device, block):
        self.gate.wait(10)
        if self.linked:
            self.sent.append((device, block))
        return self.linked

    def blocks_for(self, device):
        return [block for receiver, block in list(self.sent) if receiver == device]


@pytest.fixture
def world():
    return World()


@pytest.fixture
def server(world):
    made = BlockServer(world.open, world.send, threads=1)
    made.start()
    yield made
    world.gate.set()
    made.stop()


def request(resource="model", count=64, transfer=1, first=0, block_bytes=BLOCK):
    first, mask = wanted_blocks(iter(range(first, first + count)), count)
    return BlockRequest(transfer, resource, block_bytes, first, mask)


def test_each_block_has_its_bytes_and_digest(server, world, wait_until):
    server.submit("osaka", "press-7", request(count=100))
    wait_until(lambda: len(world.sent) == 64, "all blocks")
    found = {block.index: block for block in world.blocks_for("press-7")}
    data = b"".join(found[index].data for index in range(64))
    assert data == world.resources["model"].read(0, 4 * 1024 * 1024)
    assert all(block.digest == block_digest(block.data) for block in found.values())
    assert {block.size_bytes for block in found.values()} == {4 * 1024 * 1024}


def test_a_large_download_does_not_hold_up_a_small_one(server, world, wait_until):
    world.gate.clear()
    server.submit("osaka", "greedy", request())
    server.submit("osaka", "modest", request("small", 1))
    world.gate.set()
    wait_until(lambda: len(world.sent) == 65, "everything")
    place = [device for device, _ in world.sent].index("modest")
    assert place <= blocks.TURN_BYTES // BLOCK


def test_one_devices_downloads_take_turns_too(server, world, wait_until):
    world.gate.clear()
    server.submit("osaka", "press-7", request(transfer=1))
    server.submit("osaka", "press-7", request("small", 1, transfer=2))
    world.gate.set()
    wait_until(lambda: len(world.sent) == 65, "everything")
    assert [block.transfer for _, block in world.sent].index(2) <= blocks.TURN_BYTES // BLOCK


def test_a_request_that_is_repeated_adds_nothing_and_a_further_one_does(server, world, wait_until):
    world.gate.clear()
    for first in (0, 0, 8, 0):
        server.submit("osaka", "press-7", request(count=8, first=first))
    world.gate.set()
    server.submit("osaka", "press-8", request("small", 1))
    wait_until(lambda: world.blocks_for("press-8"), "the other device")
    wait_until(lambda: len({block.index for block in world.blocks_for("press-7")}) == 16, "both requests")
    assert len(world.blocks_for("press-7")) <= 17  # the first block may have been on its way already


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ResourceMissingError("model"), 404),
        (ResourceGoneError("model"), 410),
        (FileNotFoundError("blob"), 410),
        (OSError("disk"), 503),
    ],
)
def test_what_cannot_be_served_is_answered_once(server, world, wait_until, error, status):
    world.errors["model"] = error
    server.submit("osaka", "press-7", request())
    server.submit("osaka", "press-8", request("small", 1))
    wait_until(lambda: len(world.sent) == 2, "two answers")
    assert world.blocks_for("press-7")[0].status == status
    assert world.blocks_for("press-8")[0].data == b"metadata"


def test_a_block_size_out_of_bounds_is_refused(server, world, wait_until):
    server.submit("osaka", "press-7", request(block_bytes=1))
    wait_until(lambda: world.sent, "the answer")
    assert world.sent[0][1].status == 404


def test_blocks_beyond_the_end_are_not_sent(server, world, wait_until):
    server.submit("osaka", "press-7", request("small", 4, first=7))
    server.submit("osaka", "press-8", request("small", 1))
    wait_until(lambda: world.sent, "the answer")
    assert world.blocks_for("press-7") == []


def test_while_there_is_no_link_nothing_piles_up(server, world, wait_until):
    world.linked = False
    server.submit("osaka", "press-7", request())
    wait_until(lambda: not server._devices, "the download to be given up")


def test_more_devices_than_it_can_hold_are_told_to_come_back(world, monkeypatch):
    monkeypatch.setattr(blocks, "MOST_DEVICES", 1)
    server = BlockServer(world.open, world.send)
    server.submit("osaka", "press-7", request())
    server.submit("osaka", "press-8", request())
    assert world.blocks_for("press-8")[0].status == 503
