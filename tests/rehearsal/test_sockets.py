"""Sockets with high numbers: what select(2) refuses, poll(2) takes."""

import fcntl
import resource
import select
import socket

import pytest

from rehearsal.sockets import OpenFilesError, Polling, allow_many

HIGH = 1500


@pytest.fixture
def pair(monkeypatch):
    """Two connected sockets, the first with a number that select(2) cannot take."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] != resource.RLIM_INFINITY and limits[1] < HIGH + 1:
        pytest.skip(f"only {limits[1]} open files are allowed here")
    monkeypatch.setattr("paho.mqtt.client.select", select)  # what allow_many replaces comes back after the test
    allow_many(HIGH)
    near, far = socket.socketpair()
    high = socket.socket(fileno=fcntl.fcntl(near.fileno(), fcntl.F_DUPFD, HIGH))
    near.close()
    yield high, far
    high.close()
    far.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_high_number_can_be_waited_for(pair):
    high, far = pair
    with pytest.raises(ValueError):
        select.select([high], [], [], 0)
    assert Polling.select([high], [], [], 0) == ([], [], [])
    assert Polling.select([high], [high], [], 0) == ([], [high], [])
    far.send(b"x")
    assert Polling.select([high, far], [], [], 1) == ([high], [], [])
    far.close()
    high.recv(1)
    assert Polling.select([high], [], [], 1) == ([high], [], [])


def test_what_is_closed_or_none_raises_as_select_does():
    closed = socket.socket()
    closed.close()
    with pytest.raises(ValueError):
        Polling.select([closed], [], [], 0)
    with pytest.raises(TypeError):
        Polling.select([None], [], [], 0)


def test_more_than_the_system_allows_is_refused_with_the_way_out():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("no limit here")
    with pytest.raises(OpenFilesError, match="ulimit"):
        allow_many(hard)
