"""One connection: bytes to requests, within limits, and responses back in the order of the requests."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from edge_agent.endpoint.budget import Budget
from edge_agent.endpoint.exchange import Reply, Request, Response, head_of, refusal
from edge_agent.endpoint.guard import turned_away

log = logging.getLogger(__name__)

HEAD_LIMIT_BYTES = 16 * 1024
BODY_LIMIT_BYTES = 16 * 1024 * 1024
#: Of one request, all that is around its body included: chunks may be of one byte, and have names.
_RAW_LIMIT_BYTES = 2 * BODY_LIMIT_BYTES
#: A request must have come whole within this time; a connection may idle for so long; a response must be taken.
REQUEST_S, IDLE_S, ANSWER_S, TAKE_S = 15.0, 75.0, 60.0, 30.0
#: So long, and for so many bytes, a client may go on sending what was refused before the connection is cut.
_LINGER_S, _LINGER_BYTES = 2.0, 64 * 1024 * 1024
#: An answer up to this size is not counted among what is held.
_SMALL_BYTES = 64 * 1024
#: Requests that wait in one connection before no more is read from it.
_PIPELINED = 8
_READ = {
    name.encode(): name
    for name in (
        "host", "origin", "sec-fetch-site", "content-length", "content-encoding", "expect",
        "inference-header-content-length",
    )
}  # fmt: skip

_BODY_TOO_LARGE = refusal(413, f"the body has more than the {BODY_LIMIT_BYTES} bytes that are allowed")
_NO_ROOM = refusal(503, "the requests on their way take as much memory as they may; try again")
_HEAD_TOO_LARGE = refusal(431, f"the headers are larger than {HEAD_LIMIT_BYTES} bytes")

Serve = Callable[[Request, Reply], None]


class Host(Protocol):
    """Where connections live."""

    @property
    def budget(self) -> Budget:
        """What the bodies of all connections may take."""

    def joined(self, connection: "Connection") -> Response | None:
        """Take a new connection in, or say why not."""

    def left(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """Speaks HTTP/1.1 (and 1.0) with one client.

    The budget counts a body until whoever serves it is done, and a large answer until it is taken.
    """

    def __init__(self, host: Host, serve: Serve, loop: asyncio.AbstractEventLoop) -> None:
        self._host, self._serve, self._loop = host, serve, loop
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request | Response] = deque()
        self._inside = self._leaving = self._full = self._head_done = self._refused = self._closing = False
        self._asked: Request | None = None
        self._url, self._headers, self._body, self._body_bytes = b"", dict[str, str](), list[bytes](), 0
        # Of the head that is coming: what has come, and what was found in it; and of what came after a refusal.
        self._head_bytes = self._found_bytes = self._raw_bytes = self._lingered_bytes = 0
        #: Of the last answer, while the client has not taken it.
        self._untaken_bytes = 0
        #: When the request that is coming began to come.
        self._coming: float | None = None
        #: When what is being served was begun; else when the last answer was written.
        self._since = loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        no_room = self._host.joined(self)
        if no_room is not None:
            self._refuse(no_room)
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leaving = True
        if self._asked is not None:
            self._asked.wanted = False
        held = [each for each in self._waiting if isinstance(each, Request)]
        self._host.budget.give(self._body_bytes + self._untaken_bytes + sum(len(request.body) for request in held))
        self._asked, self._body_bytes, self._untaken_bytes = None, 0, 0
        self._waiting.clear()
        self._host.left(self)

    def data_received(self, data: bytes) -> None:
        if self._leaving or self._refused:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > _LINGER_BYTES:
                self._transport.abort()
            return
        if self._coming is None:
            self._coming = self._loop.time()
        self._head_bytes += len(data)
        self._raw_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # What the client wants to go on in is not spoken here: its request is answered, and no other is read.
            self._closing = self._refused = True
        except httptools.HttpParserError as error:
            self._refuse(refusal(400, f"this is no HTTP request: {error}"))
        if not self._head_done and self._head_bytes > HEAD_LIMIT_BYTES:
            self._refuse(_HEAD_TOO_LARGE)
        elif self._raw_bytes > _RAW_LIMIT_BYTES:
            self._refuse(_BODY_TOO_LARGE)
        self._go_on()

    def eof_received(self) -> bool:
        """Keep the way back open for answers that are still due."""
        self._closing = True
        return bool(self._asked or self._waiting) and not self._leaving

    # What the parser finds; it must not be answered by an exception.

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", {}, []
        self._head_done, self._found_bytes = False, 0
        if self._coming is None:
            self._coming = self._loop.time()

    def on_url(self, url: bytes) -> None:
        self._found_bytes += len(url)
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._found_bytes += len(name) + len(value)
        known = _READ.get(name.lower())
        if known is not None:
            if known in self._headers:
                self._refuse(refusal(400, f"the header {known} comes twice"))
            self._headers[known] = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        self._head_done, self._head_bytes = True, 0
        why_not = _HEAD_TOO_LARGE if self._found_bytes > HEAD_LIMIT_BYTES else turned_away(self._headers)
        length = self._headers.get("content-length", "0")
        if why_not is None and length.isdigit() and int(length) > BODY_LIMIT_BYTES:
            why_not = refusal(413, f"the body has {int(length)} bytes, and {BODY_LIMIT_BYTES} are allowed")
        if why_not is not None:
            self._refuse(why_not)
        elif self._headers.get("expect", "").lower() == "100-continue" and not self._waiting and not self._asked:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        if self._body_bytes + len(body) > BODY_LIMIT_BYTES:
            self._refuse(_BODY_TOO_LARGE)
        elif not self._host.budget.take(len(body)):
            self._refuse(_NO_ROOM)
        else:
            self._body_bytes += len(body)
            self._body.append(body)

    def on_message_complete(self) -> None:
        self._head_done, self._head_bytes, self._raw_bytes, self._coming = False, 0, 0, None
        if self._refused:
            return
        self._body_bytes = 0  # they are the request's from now on
        path = self._url.partition(b"?")[0].decode("latin-1")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        keep_alive = bool(self._parser.should_keep_alive())
        self._waiting.append(Request(self._parser.get_method().decode(), path, self._headers, body, keep_alive))
        if len(self._waiting) >= _PIPELINED:
            self._transport.pause_reading()

    # Answering.

    def _refuse(self, why: Response) -> None:
        """Let this be the last answer: what follows on the connection is read no more."""
        if not self._refused:
            self._refused = True
            self._host.budget.give(self._body_bytes)
            self._body, self._body_bytes = [], 0
            self._waiting.append(why)

    def _go_on(self) -> None:
        """Serve what waits, one request after the other."""
        self._inside = True
        while self._waiting and self._asked is None and not self._leaving and not self._full:
            found = self._waiting.popleft()
            if isinstance(found, Response):
                self._write(found, keep_alive=False)
                self._linger()
                break
            self._asked, self._since = found, self._loop.time()
            self._serve_one(found)
        self._inside = False
        if not self._leaving and len(self._waiting) < _PIPELINED and not self._transport.is_reading():
            self._transport.resume_reading()

    def _serve_one(self, request: Request) -> None:
        held_bytes = len(request.body)

        def reply(response: Response) -> None:
            nonlocal held_bytes
            self._host.budget.give(held_bytes)
            held_bytes = 0
            if self._asked is request:
                self._answer(request, response)

        try:
            self._serve(request, reply)
        except Exception:  # one request's end is not the endpoint's
            log.exception("a request failed in an unforeseen way")
            reply(refusal(500, "the request failed in an unforeseen way; the agent's log says more"))

    def _answer(self, request: Request, response: Response) -> None:
        self._asked, self._since = None, self._loop.time()
        keep_alive = request.keep_alive and not (self._closing and not self._waiting)
        self._write(response, keep_alive=keep_alive, bare=request.method == "HEAD")
        if not keep_alive:
            self._leaving = True
            self._transport.close()
        elif not self._inside:
            self._go_on()

    def _write(self, response: Response, *, keep_alive: bool, bare: bool = False) -> None:
        held_bytes = len(response.body) if len(response.body) > _SMALL_BYTES else 0
        if not self._host.budget.take(held_bytes):
            response, held_bytes = _NO_ROOM, 0
        head = head_of(response, keep_alive=keep_alive)
        self._since = self._loop.time()
        self._transport.write(head if bare else head + response.body)
        if self._full:
            self._untaken_bytes = held_bytes
        else:
            self._host.budget.give(held_bytes)

    def _linger(self) -> None:
        """Close so that the client can read why: at once, the bytes on their way would cut off the answer."""
        self._leaving = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._loop.call_later(_LINGER_S, self._transport.abort)

    def pause_writing(self) -> None:
        self._full, self._since = True, self._loop.time()

    def resume_writing(self) -> None:
        self._full = False
        self._host.budget.give(self._untaken_bytes)
        self._untaken_bytes = 0
        self._go_on()

    # Time and the end.

    def look(self, now: float) -> None:
        """Cut off what takes too long; called every second or so."""
        if self._full or self._leaving:
            if now - self._since > TAKE_S:
                self._transport.abort()
        elif self._asked is not None:
            if now - self._since > ANSWER_S:
                self._closing, self._asked.wanted = True, False
                self._answer(self._asked, refusal(504, f"there is no answer after {ANSWER_S:g} s"))
        elif self._coming is not None:
            if now - self._coming > REQUEST_S:
                self._refuse(refusal(408, f"the request has not come whole within {REQUEST_S:g} s"))
                self._go_on()
        elif now - self._since > IDLE_S:
            self._leaving, self._since = True, now
            self._transport.close()

    def finish(self) -> None:
        """Answer what is being served, and close."""
        self._closing = True
        if self._asked is None and not self._waiting:
            self._transport.close()

    def cut(self) -> None:
        self._transport.abort()
