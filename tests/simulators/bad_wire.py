"""Wire bytes as a bad link or a bad neighbour would deliver them: cut, too long, out of order, twice, bits flipped."""

from pathlib import Path
from random import Random

from hypothesis import strategies as st

from protocols.messages import (
    MESSAGE_LIMIT_BYTES,
    Ack,
    AssignmentChanged,
    Block,
    BlockRequest,
    Event,
    Status,
    Telemetry,
    encode,
)
from protocols.summaries import NumericSummary

CORPUS = Path(__file__).parents[1] / "protocols" / "corpus"
HUGE = 2**63


def _window(number: int) -> Telemetry:
    """A window in which every number is at an edge and no sketch can be read."""
    odd = NumericSummary(b"\xff" * 40, number % HUGE, number % HUGE, 0, float("nan"), -1.0)
    return Telemetry(
        number, "s", "ccpp", number, "p", float("-inf"), float("nan"), number, {"r": number}, number, number, odd,
        {"AT": odd}, {}, {"prediction": odd},
    )  # fmt: skip


#: Bytes that are, or nearly are, messages: one of each kind, and numbers at the edges.
SEEDS: tuple[bytes, ...] = (
    *(encode(Block(number, number, number, b"x" * 300, b"d" * 16)) for number in (-HUGE, -1, 0, 1, HUGE - 1)),
    encode(Block(1, status=404, reason="r" * 3000)),
    encode(Block(1, status=-7)),
    encode(Ack(())),
    encode(Ack((-HUGE, -1, 0, 1, HUGE - 1, 2 * HUGE - 1))),
    *(encode(AssignmentChanged(revision)) for revision in (-HUGE, -1, 0, 2 * HUGE - 1)),
    encode(BlockRequest(1, "image/metadata/1.root.json", 65536, 0, b"\x01")),
    encode(BlockRequest(1, "x" * 300_000, 65536, 0, b"\x01")),
    *(encode(BlockRequest(number, "r", number, number, b"\xff" * 3000)) for number in (-HUGE, -1, 0, HUGE - 1)),
    encode(Event(1, 0.0, "k", "info", "text", detail={"deep": [[[[[[1]]]]]]})),
    *(encode(Event(number, float("nan"), "k\x00", "info", "\u202e")) for number in (-HUGE, -1, HUGE, 2 * HUGE - 1)),
    *(encode(Status(at=at, online=True, revision=-HUGE)) for at in (float("nan"), float("inf"), -1e300)),
    *(encode(_window(number)) for number in (-HUGE, 0, HUGE - 1, 2 * HUGE - 1)),
)
ODD: tuple[bytes, ...] = (
    b"",
    b"\x00",
    b"\xc1",  # never used in MessagePack
    b"\xdd\xff\xff\xff\xff",  # an array of 4 billion, and then nothing
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\x91" * 100_000,  # a hundred thousand levels
    b"\x81\xa1v" * 50_000,
    b"\x82\xa1v\x01\xa1v\x02",
    b"\xa1\xff",
    b'{"v": 1}',
    b"{" * 20_000,
    b"\x81\xa1v\xcf" + b"\xff" * 8,
    b"x" * (MESSAGE_LIMIT_BYTES + 1),
)


def corpus() -> list[bytes]:
    """Every file of the wire corpus, good and bad: each is bad on the wrong topic."""
    return [path.read_bytes() for path in sorted(CORPUS.glob("*/*.bin"))]


def damaged(random: Random, seed: bytes) -> bytes:
    """Cut, extend or flip."""
    data = bytearray(seed)
    kind = random.choice(("cut", "flip", "extend", "splice", "none"))
    if kind == "cut":
        return bytes(data[: random.randrange(len(data) + 1)])
    if kind == "extend":
        return bytes(data) + random.randbytes(random.randrange(1, 40))
    if kind == "flip" and data:
        for _ in range(random.randrange(1, 4)):
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    if kind == "splice" and data:
        at = random.randrange(len(data))
        data[at:at] = random.randbytes(random.randrange(1, 9))
    return bytes(data)


def payloads() -> st.SearchStrategy[bytes]:
    """Any bytes, with a leaning towards those that are nearly messages."""
    near = st.tuples(st.sampled_from(SEEDS), st.randoms(use_true_random=False)).map(lambda it: damaged(it[1], it[0]))
    return st.binary(max_size=200) | near | st.sampled_from(ODD)
