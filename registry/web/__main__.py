"""`python -m registry.web --home DIR --host H --port N`: the web process, served by waitress."""

import argparse
import logging
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import waitress  # type: ignore[import-untyped]

from protocols.broker import LOOPBACK
from protocols.errors import GenbaError
from registry.addresses import is_loopback, is_wildcard, own_names
from registry.errors import PortInUseError
from registry.identity import Authority
from registry.logs import start_logs
from registry.processes import die_with_parent
from registry.web.admission import admit
from registry.web.app import create_app
from registry.web.tls import TlsFront

_THREADS = 8
_ADDRESS_IN_USE = 98


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m registry.web", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the registry's home")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--name", action="append", default=[], help="by what name it is reached from elsewhere; repeat")
    parser.add_argument("--broker", help="what devices are told at enrolment: mqtts://host:8883")
    arguments = parser.parse_args()
    die_with_parent()
    start_logs("web")
    logging.getLogger("waitress").setLevel(logging.ERROR)
    try:
        return serve(arguments.home, arguments.host, arguments.port, arguments.broker, arguments.name)
    except GenbaError as error:
        print(f"genba: {error}", file=sys.stderr)
        return 1


def serve(home: Path, host: str, port: int, broker_url: str | None, names: Sequence[str] = ()) -> int:
    """Serve until SIGTERM or SIGINT: plain HTTP on this machine alone, TLS everywhere else.

    Raises:
        PortInUseError: another process listens there.
        NotInitialisedError: there is no registry in `home`.
    """
    app = create_app(home, broker_url=broker_url, host=host)
    for cut_short in (home / "run").glob("upload-*"):
        shutil.rmtree(cut_short, ignore_errors=True)
    limit = app.extensions["genba"].settings.upload_limit_bytes
    with tempfile.TemporaryDirectory(prefix="genba-") as private:
        inner = None if is_loopback(host) else Path(private) / "web"
        where = {"host": host, "port": port} if inner is None else {"unix_socket": str(inner), "url_scheme": "https"}
        try:
            server = waitress.create_server(
                app,
                **where,
                threads=_THREADS,
                ident=None,
                max_request_body_size=limit,
                clear_untrusted_proxy_headers=False,
            )
            if inner is not None:
                _front(home, host, port, inner, names).start()
        except OSError as error:
            if error.errno == _ADDRESS_IN_USE:
                raise PortInUseError(host, port) from error
            raise
        admit(server, app.extensions["genba"].catalogue.tokens.check)
        return _run(server)


def _front(home: Path, host: str, port: int, inner: Path, names: Sequence[str]) -> TlsFront:
    authority, paths = Authority(home, time.time), (home / "ca" / "web.pem", home / "ca" / "web.key")
    known = [*names, *(own_names() if is_wildcard(host) else [host, "localhost", LOOPBACK])]

    def keep() -> bool:
        return authority.renew_server(*paths, known)

    keep()
    return TlsFront(host, port, inner, paths, keep)


def _run(server: Any) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        server.run()
    except SystemExit:
        pass
    finally:
        server.close()
    return 0


def _leave(*_: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
