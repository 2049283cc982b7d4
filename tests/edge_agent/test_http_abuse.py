"""The endpoint against clients that mean ill or know no better: each gets one line, and the next is served."""

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from simulators.broker_process import wait_until
from simulators.local_endpoint import Device, read_answer

from edge_agent.endpoint import connection as limits
from edge_agent.endpoint import server

LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
INPUTS = [{"name": name, "shape": [1, 1], "datatype": "FP32", "data": [1]} for name in ("AT", "V")]
BODY = json.dumps({"inputs": INPUTS}).encode()
CALL = f"POST /v2/models/ccpp/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY
HEAD = b"POST /v2 HTTP/1.1\r\nHost: localhost\r\n"
CHUNK = b"100000\r\n" + b"x" * 2**20 + b"\r\n"


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    device = Device(tmp_path)
    device.start()
    yield device
    assert device.send(LIVE).status == 200, "the endpoint no longer serves"
    device.stop()


def ended(connection: socket.socket) -> bool:
    """Whether the other side has ended the connection, within its time."""
    connection.settimeout(10)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_it_listens_on_loopback_alone(device: Device) -> None:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:] + Path("/proc/net/tcp6").read_text().splitlines()[1:]
    listening = [line.split()[1] for line in lines if line.split()[3] == "0A"]
    assert [place for place in listening if place.endswith(f":{device.port:04X}")] == [f"0100007F:{device.port:04X}"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:9", "[::1]:8080"])
def test_this_machines_own_names_are_served(device: Device, host: str) -> None:
    assert device.ask("GET", "/v2/health/live", Host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "", "localhost:x"]
)
def test_a_foreign_name_that_points_here_is_refused(device: Device, host: str) -> None:
    """DNS rebinding: the page's own name resolves to 127.0.0.1."""
    answer = device.ask("GET", "/metrics", Host=host)
    assert (answer.status, "localhost and 127.0.0.1 alone" in answer.error) == (421, True)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://localhost"},
        {"Origin": "http://localhost:3000"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_a_page_of_another_site_is_refused(device: Device, headers: dict[str, str]) -> None:
    device.serve()
    answer = device.ask("POST", "/v2/models/ccpp/infer", {"inputs": INPUTS}, **headers)
    assert (answer.status, "page of another" in answer.error) == (403, True)
    own = device.ask("POST", "/v2/models/ccpp/infer", {"inputs": INPUTS}, Origin=f"http://localhost:{device.port}")
    assert own.status == 200


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello", 400, "this is no HTTP request"),
        (b"NONSENSE\r\n\r\n", 400, "this is no HTTP request"),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 400, "this is no HTTP request"),
        (b"GET /v2 HTTP/1.1\r\n\r\n", 400, "no Host header"),
        (b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400, "the header host comes twice"),
        (b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400, "this is no HTTP request"),
        (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "this is no HTTP request"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, "this is no HTTP request"),
        (b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", 431, "headers are larger than"),
        (b"GET /" + b"a" * 50_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431, "headers are larger than"),
        (b"GET /v2 HTTP/1.1\r\nX: " + b"a" * 5_000_000, 431, "headers are larger than"),
        (b"POST /v2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n", 413, "99999999999 bytes"),
        (HEAD + b"Content-Length: 99999999\r\n\r\n" + b"x" * 2_000_000, 413, "99999999 bytes"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK * 17, 413, "the body has more than"),
        (b"BREW /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "this is no HTTP request"),
    ],
)  # fmt: skip
def test_what_is_no_good_request_is_refused_in_one_line(device: Device, data: bytes, status: int, says: str) -> None:
    with device.socket() as connection:
        connection.sendall(data)
        answer = read_answer(connection)
        assert (answer.status, says in answer.error) == (status, True), answer.body
        assert answer.headers["connection"] == "close"
        connection.shutdown(socket.SHUT_WR)
        assert ended(connection)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/models/ccpp/config", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/%63cpp", 200),
        ("GET", "/v2/models/../../etc", 404),
        ("GET", "/v2/models/ccpp?x=y", 200),
        ("GET", "/v2/models/ccpp/infer", 405),
        ("DELETE", "/v2/models/ccpp", 405),
        ("POST", "/v2/repository/models/ccpp/unload", 403),
        ("POST", "/v2/models/ccpp/versions/1/infer", 200),
        ("POST", "/v2/models/ccpp/versions/2/infer", 404),
    ],
)
def test_paths_and_methods(device: Device, method: str, path: str, status: int) -> None:
    device.serve()
    answer = device.ask(method, path, {"inputs": INPUTS})
    assert answer.status == status
    assert status == 200 or answer.error
    assert (answer.headers.get("allow") is not None) == (status == 405)


def test_a_compressed_body_is_refused_unopened(device: Device) -> None:
    device.serve()
    answer = device.ask("POST", "/v2/models/ccpp/infer", b"\x1f\x8b", Content_Encoding="gzip")
    assert (answer.status, "send the body as it is" in answer.error) == (415, True)


def test_requests_in_one_packet_are_answered_in_their_order(device: Device) -> None:
    device.serve()
    last = LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with device.socket() as connection:
        connection.sendall((CALL + b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n") * 50 + last)
        data = b""
        while part := connection.recv(65536):
            data += part
    assert re.findall(rb"HTTP/1.1 (\d{3}) ", data) == [b"200", b"404"] * 50 + [b"200"]


def test_a_request_that_drips_in_is_served_and_one_that_never_ends_is_cut_off(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slowloris: the time is for the whole request, however steadily its bytes come."""
    monkeypatch.setattr(limits, "REQUEST_S", 1.0)
    with device.socket() as connection:
        for byte in LIVE:
            connection.sendall(bytes([byte]))
        assert read_answer(connection).status == 200
    with device.socket() as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\n")
        answer = None
        connection.settimeout(0.05)
        deadline = time.monotonic() + 10
        while answer is None and time.monotonic() < deadline:
            connection.sendall(b"X: y\r\n")
            try:
                answer = read_answer(connection)
            except TimeoutError:
                continue
        assert answer is not None
        assert (answer.status, "not come whole within" in answer.error) == (408, True)


def test_a_body_that_never_comes_is_cut_off(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUEST_S", 0.5)
    with device.socket() as connection:
        connection.sendall(b"POST /v2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
        assert read_answer(connection).status == 408
        assert ended(connection)


def test_an_idle_connection_is_closed(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IDLE_S", 0.5)
    with device.socket() as connection:
        connection.sendall(LIVE)
        assert read_answer(connection).status == 200
        assert ended(connection)


def test_a_client_that_takes_no_answers_is_cut_off(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TAKE_S", 0.5)
    with device.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connection.settimeout(5)
        with pytest.raises((ConnectionError, TimeoutError)) as failure:  # noqa: PT012 - either may be met first
            while True:
                connection.sendall(request * 100)
        assert failure.type is not TimeoutError


ROWS = 1_000_000
#: A call of 8 MB, and its answer has ten: more than the sockets between take in.
LARGE_INPUTS = [
    {"name": name, "shape": [ROWS, 1], "datatype": "FP32", "parameters": {"binary_data_size": 4 * ROWS}}
    for name in ("AT", "V")
]
LARGE_HEAD = json.dumps({"inputs": LARGE_INPUTS}).encode()
LARGE_CALL = (
    f"POST /v2/models/ccpp/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(LARGE_HEAD) + 8 * ROWS}\r\n"
    f"Inference-Header-Content-Length: {len(LARGE_HEAD)}\r\n\r\n"
).encode() + LARGE_HEAD  # fmt: skip


def large_call() -> bytes:
    return LARGE_CALL + np.arange(ROWS, dtype="<f4").tobytes() + bytes(4 * ROWS)


def test_a_client_that_takes_no_last_answer_is_cut_off(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TAKE_S", 0.5)
    device.serve()
    with device.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(large_call().replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        assert connection.recv(1) == b"H"
        wait_until(lambda: device.endpoint.connections == 0)
    assert device.endpoint.held_bytes == 0


@pytest.mark.parametrize("then", ["takes it", "is gone"])
def test_an_answer_that_is_not_taken_counts_as_a_body_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    monkeypatch.setattr(server, "BODIES_LIMIT_BYTES", 16_000_000)
    device = Device(tmp_path)
    device.start()
    device.serve()
    with device.socket() as first:
        first.sendall(large_call())
        assert first.recv(1, socket.MSG_PEEK) == b"H"
        assert device.endpoint.held_bytes > 9_000_000
        assert "as much memory as they may" in device.send(large_call()).error
        if then == "takes it":
            assert len(read_answer(first).json["outputs"][0]["data"]) == ROWS
    wait_until(lambda: device.endpoint.held_bytes == 0)
    assert device.send(large_call()).status == 200
    device.stop()


def test_an_answer_that_finds_no_room_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODIES_LIMIT_BYTES", 8_500_000)
    device = Device(tmp_path)
    device.start()
    device.serve()
    answer = device.send(large_call())
    assert (answer.status, "as much memory as they may" in answer.error) == (503, True)
    assert device.endpoint.held_bytes == 0
    device.stop()


def test_a_call_without_an_end_is_answered_for(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that hangs holds its worker and its cores; the client is told."""
    monkeypatch.setattr(limits, "ANSWER_S", 0.5)
    device.serve()
    device.engine.gate.enter(0)
    answer = device.ask("POST", "/v2/models/ccpp/infer", {"inputs": INPUTS})
    assert (answer.status, "no answer after" in answer.error) == (504, True)
    device.engine.gate.leave(0)


def test_more_connections_than_are_served_are_told_so(device: Device) -> None:
    held = [socket.create_connection(("127.0.0.1", device.port)) for _ in range(server.CONNECTIONS)]
    try:
        for connection in held:
            connection.sendall(LIVE)
            assert read_answer(connection).status == 200
        with device.socket() as one_more:
            answer = read_answer(one_more)
            assert (answer.status, "connections are open" in answer.error) == (503, True)
        held[0].sendall(LIVE)
        assert read_answer(held[0]).status == 200
    finally:
        for connection in held:
            connection.close()
    wait_until(lambda: device.endpoint.connections == 0)


def test_more_calls_than_wait_are_told_so(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_agent.endpoint import workers

    monkeypatch.setattr(workers, "MOST_AT_ONCE", 2)
    device.serve()
    device.engine.gate.enter(0)  # the cores are taken: calls go to the workers, and wait there
    with device.socket() as first, device.socket() as second:
        first.sendall(CALL)
        second.sendall(CALL)
        wait_until(lambda: device.send(CALL).status == 503 if device.endpoint.calls_waiting == 2 else False)
        device.engine.gate.leave(0)
        assert [read_answer(each).status for each in (first, second)] == [200, 200]


def test_the_old_protocol_and_half_closed_connections_are_served(device: Device) -> None:
    old = device.send(b"GET /v2 HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert (old.status, old.headers["connection"]) == (200, "close")
    with device.socket() as connection:
        connection.sendall(LIVE)
        connection.shutdown(socket.SHUT_WR)
        assert read_answer(connection).status == 200
        assert ended(connection)


def test_a_client_that_waits_to_be_asked_for_the_body_is_asked(device: Device) -> None:
    device.serve()
    with device.socket() as connection:
        connection.sendall(
            b"POST /v2/models/ccpp/infer HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            + f"Content-Length: {len(BODY)}\r\n\r\n".encode()
        )
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert read_answer(connection).status == 200


def test_an_offer_to_speak_something_else_is_answered_in_http(device: Device) -> None:
    answer = device.send(
        b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"
    )
    assert (answer.status, answer.json["name"]) == (200, "genba")


def test_a_head_has_no_body(device: Device) -> None:
    with device.socket() as connection:
        connection.sendall(b"HEAD /v2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        data = b""
        while part := connection.recv(65536):
            data += part
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert data.endswith(b"\r\n\r\n")
    assert b"Content-Length: 0" not in data


def test_clients_that_vanish_leave_nothing_behind(device: Device) -> None:
    device.serve()
    for length in range(0, len(CALL) + 1, 7):
        with device.socket() as connection:
            connection.sendall(CALL[:length])
    wait_until(lambda: device.endpoint.connections == 0)
    assert device.endpoint.held_bytes == 0


def test_bodies_of_all_connections_together_take_no_more_than_they_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 clients with 16 MiB each would be a small board's whole memory."""
    monkeypatch.setattr(server, "BODIES_LIMIT_BYTES", 150_000)
    device = Device(tmp_path)
    device.start()
    try:
        with device.socket() as first, device.socket() as second:
            first.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 99_999)
            wait_until(lambda: device.endpoint.held_bytes == 99_999)
            second.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 99_999)
            answer = read_answer(second)
            assert (answer.status, "as much memory as they may" in answer.error) == (503, True)
            first.sendall(b"x")
            assert read_answer(first).status == 405
            assert device.endpoint.held_bytes == 0
            first.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000)
            assert read_answer(first).status == 405
    finally:
        device.stop()


@pytest.mark.parametrize("by", ["reset", "time"])
def test_a_body_counts_until_the_worker_is_done_with_it_and_a_call_that_nobody_waits_for_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """A client that sends and resets, again and again, fills the queue with no more than the endpoint may hold."""
    monkeypatch.setattr(server, "BODIES_LIMIT_BYTES", 150_000)
    body = BODY + b" " * (100_000 - len(BODY))
    call = b"POST /v2/models/ccpp/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n" + body
    device = Device(tmp_path)
    device.start()
    device.serve()
    gate, waits = device.engine.gate, threading.Event()
    enter = gate.enter
    enter(0)  # the cores are taken
    monkeypatch.setattr(gate, "enter", lambda threads: (waits.set(), enter(threads)))
    try:
        with device.socket() as first:
            first.sendall(call)
            assert waits.wait(10)
            if by == "reset":
                first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                monkeypatch.setattr(limits, "ANSWER_S", 0.1)
                assert read_answer(first).status == 504
        wait_until(lambda: device.endpoint.connections == 0)
        assert device.endpoint.held_bytes == 100_000
        refused = device.send(call)
        assert (refused.status, "as much memory as they may" in refused.error) == (503, True)
        gate.leave(0)
        wait_until(lambda: device.endpoint.held_bytes == 0)
        told = device.ask("GET", "/metrics").body.decode()
        assert 'genba_http_calls_total{model="ccpp"} 1\n' in told
        assert 'genba_http_predictions_total{model="ccpp"} 0\n' in told
        assert 'genba_http_refused_total{model="ccpp"} 1\n' in told
        assert device.send(call).status == 200
        assert device.endpoint.held_bytes == 0
    finally:
        device.stop()


def test_chunks_of_nothing_but_names_are_cut_off(device: Device) -> None:
    with device.socket() as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"1;" + b"n" * 10_000 + b"\r\nx\r\n"
        for _ in range(5):
            try:
                connection.sendall(chunk * 1000)
            except ConnectionError:
                break
        assert read_answer(connection).status in (400, 413)


def test_a_trailer_without_end_is_cut_off(device: Device) -> None:
    with device.socket() as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ")
        for _ in range(40):
            try:
                connection.sendall(b"a" * 2**20)
            except ConnectionError:
                break
        assert read_answer(connection).status in (400, 413)


def test_closing_answers_what_is_being_served(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.start()
    device.serve()
    device.engine.gate.enter(0)
    with device.socket() as busy, device.socket() as idle:
        idle.sendall(LIVE)
        assert read_answer(idle).status == 200
        busy.sendall(CALL)
        wait_until(lambda: device.endpoint.calls_waiting == 1)
        closing = threading.Thread(target=device.stop)
        closing.start()
        assert ended(idle)
        device.engine.gate.leave(0)
        answer = read_answer(busy)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        closing.join()
    with pytest.raises(ConnectionRefusedError):
        device.send(LIVE)
