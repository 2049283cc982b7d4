"""A registry that really serves, and the `genba` command against it."""

import pytest
from simulators.web_server import WebServer

import genba
from registry.catalogue import Catalogue
from registry.cli import init
from registry.web import create_app


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("client") / "registry"


@pytest.fixture(scope="module")
def token(home):
    return init(home)


@pytest.fixture(scope="module")
def url(home, token):
    server = WebServer(create_app(home), threads=2)
    yield f"http://127.0.0.1:{server.port}"
    server.close()


@pytest.fixture
def command(url, token, monkeypatch, capfd):
    """Run one `genba` command and return (status, stdout, stderr)."""
    monkeypatch.setenv("GENBA_REGISTRY", url)
    monkeypatch.setenv("GENBA_TOKEN", token)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = genba.main([str(argument) for argument in arguments])
        return status, *capfd.readouterr()

    return run


@pytest.fixture(scope="module")
def devices(home, token):
    catalogue = Catalogue.open(home)
    for name, site in (("press-1", "osaka"), ("press-2", "osaka"), ("oven-1", "nagoya")):
        catalogue.devices.add(name, site, "x86", "PEM", "1")
    yield catalogue
    catalogue.close()
