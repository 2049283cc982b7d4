"""Releases by patch through a running agent, over a real broker: what travels, and what a patch gone bad costs."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
from simulators.agent_process import Agent, Line, assign, published
from simulators.broker_process import Broker, wait_until
from simulators.registry_side import RegistrySide, SignedReleases
from simulators.small_models import regression

from edge_agent.releases import ReleaseStore
from edge_agent.settings import AgentHome
from protocols.messages import Block
from protocols.names import ReleaseRef

ONE, TWO = ReleaseRef("ccpp", 1), ReleaseRef("ccpp", 2)


def large(bias: float) -> onnx.ModelProto:
    """A model of some 300 kB, of which versions differ in a few bytes."""
    model = regression(bias=bias)
    model.doc_string = random.Random(1).randbytes(150_000).hex()
    return model


class Wire:
    """A registry's side that counts what travels; `spoil` changes patches on their way out of its store."""

    def __init__(self, port: int, signed: SignedReleases) -> None:
        self._signed = signed
        self.spoil: Callable[[bytes], bytes] = lambda patch: patch
        self.side = RegistrySide(port, self._read)
        self._sent: Counter[int] = Counter()
        self.side.mishap = self._count

    def sent(self, kind: str) -> int:
        """Return how many bytes of version 2's model travelled as `patches` or as `targets`."""
        resources = {request.transfer: request.resource for request in self.side.requests}
        return sum(
            size
            for transfer, size in self._sent.items()
            if resources[transfer].startswith(f"image/{kind}/ccpp/2/") and resources[transfer].endswith(".model.onnx")
        )

    def _read(self, device: str, resource: str) -> bytes | None:
        data = self._signed.read(device, resource)
        return self.spoil(data) if data is not None and "/patches/" in resource else data

    def _count(self, block: Block) -> Block:
        self._sent[block.transfer] += len(block.data)
        return block


@pytest.fixture
def wire(broker: Broker, signed: SignedReleases) -> Iterator[Wire]:
    wire = Wire(broker.port, signed)
    yield wire
    wire.side.close()


def update(signed: SignedReleases, wire: Wire, folder: Path) -> None:
    """Bring a device from version 1 to 2."""
    for ref, bias in ((ONE, 10.0), (TWO, 20.0)):
        published(signed, folder, ref, model=large(bias))
    for count, ref in ((1, ONE), (2, TWO)):
        assign(signed, wire.side, ref)
        wire.side.wait_for(lambda count=count: wire.side.kinds().count("release-confirmed") == count)


def check_serves(line: Line, home: AgentHome, folder: Path) -> int:
    """Check that version 2 serves, byte for byte what was published; return the model's size."""
    line.send({"id": 1, "AT": 3, "V": 1})
    wait_until(lambda: 1 in line.predictions, what="a prediction")
    assert (line.predictions[1][0]["version"], line.predictions[1][0]["prediction"]) == (2, 25.0)
    whole = (folder / str(TWO) / "model.onnx").read_bytes()
    assert (ReleaseStore(home.releases).path(TWO) / "model.onnx").read_bytes() == whole
    return len(whole)


def test_an_agent_is_updated_by_what_changed(
    agent: Agent, line: Line, home: AgentHome, signed: SignedReleases, wire: Wire, tmp_path: Path
) -> None:
    update(signed, wire, tmp_path)
    size = check_serves(line, home, tmp_path)
    assert 0 < wire.sent("patches") < size / 20
    assert wire.sent("targets") == 0


def test_a_patch_gone_bad_costs_the_whole_file_and_no_more(
    agent: Agent, line: Line, home: AgentHome, signed: SignedReleases, wire: Wire, tmp_path: Path
) -> None:
    wire.spoil = lambda patch: patch[:-1] + bytes([patch[-1] ^ 1])
    update(signed, wire, tmp_path)
    size = check_serves(line, home, tmp_path)
    assert wire.sent("patches") > 0
    assert wire.sent("targets") == size
    assert any("a patch failed" in str(entry) for entry in agent.log())
