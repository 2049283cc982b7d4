"""Large bodies are refused at the headers, by a server that really listens."""

import json
import socket

import pytest
from simulators.web_server import WebServer

from registry.web.admission import admit
from registry.web.operations import BODY_LIMIT_BYTES

LARGE = BODY_LIMIT_BYTES + 1


@pytest.fixture
def port(app, catalogue):
    server = WebServer(
        app, lambda server: admit(server, catalogue.tokens.check), threads=2, max_request_body_size=4 * LARGE
    )
    yield server.port
    server.close()


def ask(port, *headers, body=b"", path="/api/v1/datasets?name=a.csv"):
    """Send a request's head and perhaps a body; return the status, the answer's head and its body."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = [
            f"POST {path} HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            "Content-Type: text/csv",
            *headers,
            "",
            "",
        ]
        connection.sendall("\r\n".join(head).encode() + body)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), rest


@pytest.mark.parametrize(
    "headers",
    [
        (f"Content-Length: {LARGE}",),
        (f"Content-Length: {10 * LARGE}",),
        (f"Content-Length: {LARGE}", "Authorization: Bearer wrong"),
        (f"Content-Length: {LARGE}", "Authorization: Basic d3Jvbmc="),
        (f"Content-Length: {LARGE}", "Expect: 100-continue"),
        ("Transfer-Encoding: chunked",),
    ],
)
def test_a_large_body_from_nobody_is_refused_before_a_byte_of_it_is_sent(port, headers):
    status, head, body = ask(port, *headers)
    assert status == 401
    assert "application/problem+json" in head
    assert "needs the API token" in json.loads(body)["detail"]


def test_with_the_token_it_is_asked_for(port, initialised):
    token = f"Authorization: Bearer {initialised[1]}"
    body = b"a,b\n" + b"1,2\n" * (LARGE // 4)
    status, _, rest = ask(port, token, f"Content-Length: {len(body)}", body=body)
    assert status == 201, rest


def test_more_than_is_allowed_is_refused_before_a_byte_of_it_is_sent(port, initialised):
    token = f"Authorization: Bearer {initialised[1]}"
    for more in ((), ("Expect: 100-continue",)):
        assert ask(port, token, f"Content-Length: {10 * LARGE}", *more)[0] == 413


def test_a_small_body_still_reaches_the_application(port):
    status, _, body = ask(port, "Content-Length: 2", body=b"{}", path="/api/v1/enrol")
    assert status == 400
    assert "secret" in json.loads(body)["detail"]
