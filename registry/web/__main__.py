"""`python -m registry.web --home DIR --host H --port N`: the web process, served by waitress."""

import argparse
import logging
import shutil
import signal
import sys
from pathlib import Path

import waitress  # type: ignore[import-untyped]

from protocols.errors import GenbaError
from registry.errors import PortInUseError
from registry.logs import start_logs
from registry.processes import die_with_parent
from registry.web.admission import admit
from registry.web.app import create_app

_THREADS = 8
_ADDRESS_IN_USE = 98


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m registry.web", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the registry's home")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--broker", help="what devices are told at enrolment: mqtts://host:8883")
    arguments = parser.parse_args()
    die_with_parent()
    start_logs("web")
    logging.getLogger("waitress").setLevel(logging.ERROR)
    try:
        return serve(arguments.home, arguments.host, arguments.port, arguments.broker)
    except GenbaError as error:
        print(f"genba: {error}", file=sys.stderr)
        return 1


def serve(home: Path, host: str, port: int, broker_url: str | None) -> int:
    """Serve until SIGTERM or SIGINT.

    Raises:
        PortInUseError: another process listens there.
        NotInitialisedError: there is no registry in `home`.
    """
    app = create_app(home, broker_url=broker_url, host=host)
    for cut_short in (home / "run").glob("upload-*"):
        shutil.rmtree(cut_short, ignore_errors=True)
    limit = app.extensions["genba"].settings.upload_limit_bytes
    try:
        server = waitress.create_server(
            app,
            host=host,
            port=port,
            threads=_THREADS,
            ident=None,
            max_request_body_size=limit,
            clear_untrusted_proxy_headers=False,
        )
    except OSError as error:
        if error.errno == _ADDRESS_IN_USE:
            raise PortInUseError(host, port) from error
        raise
    admit(server, app.extensions["genba"].catalogue.tokens.check)
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
