"""`genba registry`: init, serve, token, and the verbs of `registry.identity_verbs` and `registry.key_verbs`."""

import argparse
import os
import sys
import time
from pathlib import Path

from registry import identity_verbs, key_verbs
from registry.catalogue import Catalogue
from registry.catalogue.catalogue import FILE
from registry.enrolment import create_token
from registry.errors import OperatorError
from registry.identity import Authority
from registry.settings import read_settings, write_template
from registry.signing.director import DirectorRepository
from registry.signing.image import ImageRepository
from registry.signing.keys import create_keys

DEFAULT_PORT = 8080


def registry(argv: list[str]) -> int:
    """Run one verb of `genba registry`; return the exit status."""
    options = _parser().parse_args(argv)
    status: int = options.run(options)
    return status


def init(home: Path, label: str = "operator") -> str:
    """Make a registry's home: keys, certificate authority, signed roots, catalogue. Returns the first API token.

    The catalogue comes last, so that a home which was cut short is simply made again.

    Raises:
        OperatorError: it is one already, or cannot be written.
    """
    if (home / FILE).exists():
        raise OperatorError(
            f"{home} is a registry's home already; `genba registry token --home {home} --api LABEL` makes an API token"
        )
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        create_keys(home)
        Authority(home, time.time).create()
        ImageRepository(home).create()
        DirectorRepository(home).create()
        write_template(home)
        (home / "run").mkdir(exist_ok=True)
        catalogue = Catalogue.create(home)
    except OSError as error:
        raise OperatorError(f"{home} cannot be written: {error.strerror}; give another folder with --home") from error
    return catalogue.tokens.create(label)


def _init(options: argparse.Namespace) -> int:
    if options.token_file is not None and options.token_file.exists():
        raise OperatorError(f"--token-file {options.token_file} exists already; name a new file")
    secret = init(options.home)
    if options.token_file is not None:
        _write_private(options.token_file, secret)
        print(f"The API token is in {options.token_file}, readable by you alone.")
    else:
        print(secret)
        print("This is the API token. It is shown this once; every change to the registry needs it.", file=sys.stderr)
    print(f"Next: genba registry serve --home {options.home}", file=sys.stderr)
    return 0


def _serve(options: argparse.Namespace) -> int:
    from registry.logs import start_logs
    from registry.supervisor import serve

    start_logs("supervisor")
    broker_url = options.broker or read_settings(options.home).broker_url
    return serve(options.home, options.host, options.port, broker_url, options.name)


def _token(options: argparse.Namespace) -> int:
    if options.api is None and (options.device is None or options.site is None):
        options.usage("give --device NAME and --site SITE for an enrolment token, or --api LABEL for an API token")
    catalogue = Catalogue.open(options.home)
    if options.api is not None:
        print(catalogue.tokens.create(options.api))
        return 0
    ttl_s = options.ttl_s if options.ttl_s is not None else read_settings(options.home).enrolment_ttl_s
    made = create_token(
        options.home, catalogue, options.device, options.site, ttl_s, time.time, replace=options.replace
    )
    print(made)
    print(f"It enrols {options.device} at {options.site} once, within {ttl_s:.0f} seconds.", file=sys.stderr)
    return 0


def _write_private(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
    except OSError as error:
        raise OperatorError(f"--token-file {path}: {error.strerror}; the token itself: {text}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="genba registry", description="Make, serve and administer a registry.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    verb = verbs.add_parser("init", help="make a registry's home: keys, certificate authority, catalogue, API token")
    verb.add_argument("--home", type=Path, required=True, metavar="DIR", help="a new folder; it will hold private keys")
    verb.add_argument(
        "--token-file", type=Path, metavar="FILE", help="write the API token here (0600), do not print it"
    )
    verb.set_defaults(run=_init)

    verb = verbs.add_parser("serve", help="serve pages, API, MQTT service and worker until Ctrl-C")
    verb.add_argument("--home", type=Path, required=True, metavar="DIR", help="made by `genba registry init`")
    verb.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only; others by TLS alone)"
    )
    verb.add_argument(
        "--name", action="append", default=[], metavar="NAME", help="by what name others reach it, for TLS; repeat"
    )
    verb.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"0 takes a free one (default {DEFAULT_PORT})")
    verb.add_argument("--broker", metavar="URL", help="mqtts://host:8883; without it, a broker of its own is started")
    verb.set_defaults(run=_serve)

    verb = verbs.add_parser("token", help="make a one-time enrolment token for a device, or another API token")
    verb.add_argument("--home", type=Path, required=True, metavar="DIR", help="made by `genba registry init`")
    verb.add_argument("--device", metavar="NAME", help="the device that the token enrols")
    verb.add_argument("--site", metavar="SITE", help="the plant that the device stands in")
    verb.add_argument("--replace", action="store_true", help="the name is enrolled: another machine takes its place")
    verb.add_argument("--ttl-s", type=float, metavar="S", help="seconds that the token is good for")
    verb.add_argument("--api", metavar="LABEL", help="make an API token instead; changes are put down to LABEL")
    verb.set_defaults(run=_token, usage=verb.error)
    identity_verbs.add_verbs(verbs)
    key_verbs.add_verbs(verbs)
    return parser
