"""`genba agent`."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

DEFAULT_HOME = "~/.genba/agent"


def agent(argv: list[str]) -> int:
    """Enrol, run and inspect this device's agent."""
    parser = argparse.ArgumentParser(prog="genba agent", description="enrol, run and inspect this device's agent")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("enrol", "get this device an identity with a one-time token"),
        ("run", "serve until SIGTERM"),
        ("status", "show what runs here"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--home", type=_folder, default=_folder(DEFAULT_HOME), help=f"default {DEFAULT_HOME}")
        if name == "enrol":
            _add_enrol(command)
        elif name == "run":
            command.add_argument(
                "--http-port",
                type=_port,
                metavar="N",
                help="serve predictions and metrics over HTTP on 127.0.0.1; 0: do not; default http_port in agent.toml",
            )
            command.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
        else:
            command.add_argument("--json", action="store_true", help="for a machine")
            command.add_argument("--check", action="store_true", help="exit status 1 unless it runs and its loop turns")
    arguments = parser.parse_args(argv)
    return {"enrol": _enrol, "run": _run, "status": _status}[arguments.command](arguments)


def _folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 to 65535")
    return int(text)


def _add_enrol(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--registry", default=os.environ.get("GENBA_REGISTRY"), help="its URL; default $GENBA_REGISTRY"
    )
    command.add_argument(
        "--token", required=True, help="from `genba registry token` on the server; `-` reads it from stdin"
    )
    command.add_argument("--device", required=True, help="this device's name")
    command.add_argument("--site", required=True, help="the plant it stands in")
    command.add_argument("--profile", required=True, help="what it is: `genba devices list` shows the profiles")


def _enrol(arguments: argparse.Namespace) -> int:
    from edge_agent.enrolment import check_writable, enrol
    from edge_agent.errors import EnrolmentError
    from edge_agent.hardware import Hardware
    from edge_agent.settings import AgentHome

    if not arguments.registry:
        raise EnrolmentError("no registry is named; give --registry URL or set GENBA_REGISTRY")
    check_writable(arguments.home)
    hardware = Hardware(arguments.profile, arguments.home)
    from_stdin = arguments.token == "-"  # noqa: S105 - a dash is no password
    token = sys.stdin.readline() if from_stdin else arguments.token
    enrol(
        AgentHome(arguments.home),
        registry=arguments.registry,
        token=token,
        device=arguments.device,
        site=arguments.site,
        profile=arguments.profile,
        probe=hardware.probe().flat(),
    )
    print(f"enrolled {arguments.device} at {arguments.site}; start it with `genba agent run --home {arguments.home}`")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from edge_agent.assembly import build_daemon
    from edge_agent.logs import start_logs
    from edge_agent.service_manager import ServiceManager
    from edge_agent.settings import AgentHome, HomeLock

    home = AgentHome(arguments.home)
    home.settings()
    lock = HomeLock(home)
    start_logs(arguments.log_level)
    daemon = build_daemon(home, ServiceManager.of_environment(os.environ), arguments.http_port)

    def stop(*_: Any) -> None:
        daemon.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    daemon.run()
    lock.release()
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from edge_agent.settings import AgentHome
    from edge_agent.status import is_alive, read_status
    from edge_agent.status_text import describe

    page = read_status(AgentHome(arguments.home))
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(page), indent=2).decode())
    else:
        print(describe(page, time.time()))
    return 0 if is_alive(page, time.time()) or not arguments.check else 1
