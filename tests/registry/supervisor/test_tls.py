"""Beyond the loopback interface the registry is served by TLS alone, and a token proves whose it is."""

import http.client
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil
import pytest
from simulators.broker_process import wait_until

from edge_agent.enrolment import enrol
from edge_agent.errors import EnrolmentError
from edge_agent.settings import AgentHome
from registry.catalogue import Catalogue
from registry.client.rest import RegistryClient
from registry.enrolment import create_token
from registry.errors import RegistryUnreachableError


@pytest.fixture
def elsewhere():
    """An address of this machine that is not the loopback interface's."""
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family == socket.AF_INET and not one.address.startswith("127."):
                return one.address
    pytest.skip("this machine has no address but loopback")


@pytest.fixture
def everywhere(serving, home):
    running = serving("--host", "0.0.0.0", "--name", "registry.example")  # noqa: S104
    return running, int(running.ready()["url"].rpartition(":")[2])


@pytest.fixture
def web(root, home, elsewhere):
    """The web process alone, on every address; returns its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["-m", "registry.web", "--home", str(home), "--host", "0.0.0.0", "--port", str(port)]  # noqa: S104
    child = subprocess.Popen([sys.executable, *words], env={**os.environ, "PYTHONPATH": str(root)})

    def answers():
        with socket.socket() as probe:
            return probe.connect_ex((elsewhere, port)) == 0

    wait_until(answers, 20, "the web process")
    yield port
    child.terminate()
    assert child.wait(10) == 0


def trusting(home):
    return ssl.create_default_context(cafile=str(home / "ca" / "ca.pem"))


def test_a_device_elsewhere_enrols_and_believes_no_other_registry(everywhere, elsewhere, home, tmp_path):
    running, port = everywhere
    assert running.state()["url"] == f"https://registry.example:{port}"
    catalogue = Catalogue.open(home)
    token = create_token(home, catalogue, "press-1", "osaka", 60, time.time)
    agent = AgentHome(tmp_path / "agent")
    url = f"https://{elsewhere}:{port}"
    other = token[:-32] + "0" * 32
    who = {"device": "press-1", "site": "osaka", "profile": "x86", "probe": {}}
    with pytest.raises(EnrolmentError, match="is not the registry that made this token"):
        enrol(agent, registry=url, token=other, **who)
    with pytest.raises(EnrolmentError, match="would send the token unencrypted"):
        enrol(agent, registry=f"http://{elsewhere}:{port}", token=token, **who)
    enrol(agent, registry=url, token=token, **who)
    assert agent.settings().registry_url == url
    catalogue.close()


def test_nothing_answers_unencrypted_and_nobody_reads_without_the_token(web, elsewhere, home, monkeypatch):
    port = web
    with pytest.raises((OSError, http.client.HTTPException)):
        urllib.request.urlopen(f"http://{elsewhere}:{port}/healthz", timeout=5)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"https://{elsewhere}:{port}/api/v1/devices", timeout=5, context=trusting(home))
    assert refused.value.code == 401
    refused.value.close()
    client = RegistryClient(f"https://{elsewhere}:{port}")
    with pytest.raises(RegistryUnreachableError, match="GENBA_CA"):
        client.get("/devices")
    monkeypatch.setenv("GENBA_CA", str(home / "ca" / "ca.pem"))
    secret = Catalogue.open(home).tokens.create("test")
    assert RegistryClient(f"https://{elsewhere}:{port}", secret).get("/devices") == []


def test_a_large_upload_and_many_silent_connections_hold_up_nobody(web, elsewhere, home):
    port = web
    silent = [socket.create_connection((elsewhere, port)) for _ in range(40)]
    secret = Catalogue.open(home).tokens.create("test")
    body = b"x" * 3_000_000
    request = urllib.request.Request(
        f"https://{elsewhere}:{port}/api/v1/datasets?name=large.csv",
        body,
        {"Authorization": f"Bearer {secret}", "Content-Type": "text/csv"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=30, context=trusting(home)) as reply:  # noqa: S310
        assert reply.status == 201
    for one in silent:
        one.close()
