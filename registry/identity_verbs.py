"""`genba registry broker-config`, `revoke`, `certificate` and `devices`: who may come in, and who no longer."""

import argparse
import getpass
import re
import shlex
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from protocols.enrolment import identity_name
from protocols.names import check_name
from registry.catalogue import Catalogue
from registry.catalogue.devices import Device
from registry.certificates import Holder
from registry.errors import BrokerFilesError, CertificateRefusedError
from registry.identity import SERVICE, Authority
from registry.mosquitto import files
from registry.mosquitto.keeper import BrokerKeeper
from registry.mosquitto.place import BrokerPlace, write_place
from registry.revocation import revoke
from registry.signing.metadata import write_atomic

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z|[0-9a-fA-F:.]{2,45}\Z")


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add these verbs to `genba registry`."""
    verb = verbs.add_parser(
        "broker-config", help="write a broker's listener, certificate and access list, and keep them"
    )
    verb.add_argument("broker", choices=("mosquitto",), help="which broker")
    _add_home(verb)
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder of the broker's files")
    verb.add_argument(
        "--host",
        action="append",
        required=True,
        metavar="NAME",
        help="by what name or address clients reach it; repeat",
    )
    verb.add_argument("--port", type=int, default=8883, help="of its TLS listener (default 8883)")
    verb.add_argument("--bind", default="", metavar="ADDRESS", help="the address it listens on (default: all)")
    verb.add_argument("--user", metavar="NAME", help="whom mosquitto runs as (default: you)")
    verb.add_argument(
        "--reload",
        type=shlex.split,
        default=[],
        metavar="COMMAND",
        help="makes it read its files again (default: SIGHUP)",
    )
    verb.set_defaults(run=_broker_config)

    verb = verbs.add_parser(
        "revoke", help="lock a device out, or a system of the plant; within seconds, at the broker too"
    )
    verb.add_argument("name", metavar="DEVICE", help="or a name that `genba registry certificate` was given")
    _add_home(verb)
    verb.set_defaults(run=_revoke)

    verb = verbs.add_parser("certificate", help="make key and certificate of a system of the plant, for the broker")
    verb.add_argument("name", metavar="NAME", help="what it is called in plant.acl")
    _add_home(verb)
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder for NAME.key, NAME.crt, ca.crt")
    verb.set_defaults(run=_certificate)

    verb = verbs.add_parser("devices", help="list the enrolled devices and the state of their certificates")
    _add_home(verb)
    verb.set_defaults(run=_devices)


def _add_home(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--home", type=Path, required=True, metavar="DIR", help="made by `genba registry init`")


def _broker_config(options: argparse.Namespace) -> int:
    catalogue = Catalogue.open(options.home)
    place = BrokerPlace(
        folder=str(options.out.absolute()),
        hosts=tuple(options.host),
        port=options.port,
        bind=options.bind,
        user=options.user or getpass.getuser(),
        reload=tuple(options.reload),
    )
    _check_place(place)
    try:
        options.out.mkdir(parents=True, exist_ok=True, mode=0o755)
        BrokerKeeper(options.home, catalogue, time.time).write(place)
    except (OSError, LookupError) as error:
        raise BrokerFilesError(f"--out {options.out}: {error}; name a folder and a user that are there") from error
    write_place(options.home, place)
    print(f"start the broker: mosquitto -c {options.out.absolute() / files.CONFIG}")
    print(f"and the registry: genba registry serve --home {options.home} --broker {place.url}")
    return 0


def _check_place(place: BrokerPlace) -> None:
    """Mosquitto's file has no quotes: a line ends a value, and spaces end some."""
    for host in place.hosts:
        if not _HOST.match(host):
            raise BrokerFilesError(f"--host {host!r} is no host name and no address; write broker.example or 10.0.0.7")
    for name, value in (("--out", place.folder), ("--bind", place.bind), ("--user", place.user)):
        if any(sign.isspace() or not sign.isprintable() for sign in value):
            raise BrokerFilesError(f"{name} {value!r}: mosquitto's configuration can hold no space in it; name another")


def _revoke(options: argparse.Namespace) -> int:
    catalogue = Catalogue.open(options.home)
    done = revoke(options.home, catalogue, options.name, time.time, revoked_by="command line")
    BrokerKeeper(options.home, catalogue, time.time).keep()
    word = "certificate" if done.certificates == 1 else "certificates"
    print(f"{options.name} is locked out ({done.certificates} {word} revoked)")
    return 0


def _certificate(options: argparse.Namespace) -> int:
    name = check_name("system", options.name)
    if name == SERVICE:
        raise CertificateRefusedError(f"{SERVICE!r} is the registry's own name; choose another")
    catalogue = Catalogue.open(options.home)
    key = ec.generate_private_key(ec.SECP256R1())
    authority = Authority(options.home, time.time)
    made = authority.issue(Holder(name), key.public_key())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        write_atomic(options.out / f"{name}.key", pem)
        write_atomic(options.out / f"{name}.crt", made.pem.encode(), 0o644)
        write_atomic(options.out / "ca.crt", authority.pem.encode(), 0o644)
    except OSError as error:
        raise BrokerFilesError(f"--out {options.out}: {error.strerror}; name another folder") from error
    catalogue.certificates.add(name, made.serial, made.pem, made.expires_at)
    catalogue.events.record("certificate-made", f"a certificate was made for {name}", detail={"by": "command line"})
    print(f"{options.out / name}.key and .crt, good until {_day(made.expires_at)}; say in plant.acl what it may do")
    return 0


def _devices(options: argparse.Namespace) -> int:
    catalogue = Catalogue.open(options.home)
    rows = [("DEVICE", "SITE", "STATE", "CERTIFICATE UNTIL", "IDENTITY")]
    for device in catalogue.devices.list():
        until = _day(catalogue.certificates.of(identity_name(device.site, device.name))[0].expires_at)
        rows.append((device.name, device.site, "online" if device.online else "offline", until, _standing(device)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _standing(device: Device) -> str:
    if device.revoked_at is not None:
        return f"revoked since {_day(device.revoked_at)}"
    return f"used twice, seen {_day(device.cloned_at)}" if device.cloned_at is not None else "good"


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
