"""One connection, with no socket: whatever bytes come, in whatever pieces, it answers in HTTP and keeps nothing."""

import itertools
import re
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.endpoint.budget import Budget
from edge_agent.endpoint.connection import Connection
from edge_agent.endpoint.exchange import Reply, Request, Response

GOOD = [
    b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b'POST /v2/models/m/infer HTTP/1.1\r\nHost: 127.0.0.1:80\r\nContent-Length: 11\r\n\r\n{"inputs":1',
    b"POST /x HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;n=v\r\nd\r\n0\r\nT: t\r\n\r\n",
    b"HEAD /metrics HTTP/1.1\r\nhOsT: LOCALHOST\r\nExpect: 100-continue\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n",
]
BAD = [
    b"GET /v2 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\n\r\n",
    b"POST /v2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
    b"nonsense\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
]


class Wire:
    """The transport, the server and the loop of one connection; answers with what was asked, at once or when told."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.budget = Budget(1 << 20)
        self.out = b""
        self.closed = self.paused = False
        self.due: list[Callable[[], None]] = []
        self._at_once = at_once
        self.connection = Connection(self, self._serve, self)  # type: ignore[arg-type]
        self.connection.connection_made(self)  # type: ignore[arg-type]

    def _serve(self, request: Request, reply: Reply) -> None:
        response = Response(repr((request.method, request.path, request.body)).encode())
        if self._at_once:
            reply(response)
        else:
            self.due.append(lambda: reply(response))

    def joined(self, connection: Connection) -> None:
        return None

    def left(self, connection: Connection) -> None:
        self.closed = True

    def time(self) -> float:
        return 0.0

    def call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        self.due.append(call)

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.out += data

    def is_reading(self) -> bool:
        return not self.paused

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    abort = close

    def feed(self, pieces: list[bytes]) -> bytes:
        """Return what came back to these bytes, in these pieces; the client is then gone."""
        for piece in pieces:
            if not self.closed:
                self.connection.data_received(piece)
            while self.due and not self._at_once:
                self.due.pop(0)()
        self.connection.connection_lost(None)
        assert self.budget.taken_bytes == 0
        return self.out


def split(data: bytes, places: list[int]) -> list[bytes]:
    cuts = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[first:last] for first, last in itertools.pairwise(cuts) if last > first]


def statuses(out: bytes) -> list[bytes]:
    """Read all responses; whatever else is between them is an error. A response to HEAD has no body."""
    found = []
    while out:
        head, end, out = out.partition(b"\r\n\r\n")
        assert end
        status = re.match(rb"HTTP/1.1 (\d{3}) ", head)
        assert status
        found.append(status[1])
        length = re.search(rb"Content-Length: (\d+)", head)
        if length and not out.startswith(b"HTTP/1.1 "):
            assert len(out) >= int(length[1]) or not out
            out = out[int(length[1]) :]
    return found


requests = st.lists(st.sampled_from(GOOD + BAD), min_size=1, max_size=6)
cuts = st.lists(st.integers(0, 2000), max_size=20)


@given(requests, cuts, st.booleans())
def test_the_pieces_that_bytes_come_in_change_no_answer(parts: list[bytes], places: list[int], at_once: bool) -> None:
    data = b"".join(parts)
    answers = [Wire(at_once=at_once).feed(split(data, places)), Wire().feed([data])]
    # Whether the body is asked for depends on whether something else is due.
    in_pieces, at_once_found = (out.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"") for out in answers)
    assert in_pieces == at_once_found


@given(requests)
def test_every_good_request_is_answered_up_to_the_first_bad_one(parts: list[bytes]) -> None:
    good = 0
    for part in parts:
        if part not in GOOD:
            break
        good += 1
    found = [status for status in statuses(Wire().feed([b"".join(parts)])) if status != b"100"]
    assert found[:good] == [b"200"] * good
    assert len(found) == min(len(parts), good + 1)


@given(requests, st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=4)), max_size=8), cuts)
def test_damaged_requests_are_answered_in_http_or_not_at_all(
    parts: list[bytes], damage: list[tuple[int, bytes]], places: list[int]
) -> None:
    data = b"".join(parts)
    for place, what in damage:
        place %= len(data)
        data = data[:place] + what + data[place + len(what) :]
    wire = Wire()
    found = statuses(wire.feed(split(data, places)))
    assert set(found) <= {b"100", b"200", b"400", b"403", b"408", b"413", b"421", b"431"}


@given(st.binary(max_size=400))
def test_any_bytes_are_answered_in_http_or_not_at_all(data: bytes) -> None:
    assert set(statuses(Wire().feed([data]))) <= {b"400", b"421"}


def test_what_the_wire_saw_is_what_was_asked() -> None:
    """The properties above would hold of a connection that answers nothing."""
    out = Wire().feed([GOOD[2]])
    assert b"('POST', '/x', b'abcd')" in out
