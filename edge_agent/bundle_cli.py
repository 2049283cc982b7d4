"""`genba bundle install` and `collect`: from a USB stick into this device, and what it recorded onto one."""

import argparse
import sys
from pathlib import Path

from edge_agent.cli import DEFAULT_HOME
from edge_agent.settings import AgentHome, lock_holder


def install_bundle(argv: list[str]) -> int:
    """Check a bundle and hand it to the agent; print what it assigns."""
    from edge_agent.bundles import install

    parser = argparse.ArgumentParser(
        prog="genba bundle install",
        description="Check a bundle as the agent checks what comes over MQTT, and hand it to the agent. No network "
        "is needed. The agent may run or not: it installs the bundle now, or when it starts.",
    )
    home = _home(parser, "the bundle's folder, as `genba bundle export` wrote it", argv)
    assignment = install(home[0], home[1])
    releases = ", ".join(str(release.ref) for release in assignment.releases) or "no release"
    print(f"{releases} (revision {assignment.revision})")
    holder = lock_holder(home[1])
    running = f"the running agent (process {holder}) installs it; `genba agent status` shows how it goes"
    print("verified; " + (running if holder is not None else "the agent installs it when it starts"), file=sys.stderr)
    return 0


def collect_bundle(argv: list[str]) -> int:
    """Write what waits for the registry to a stick; print how many messages."""
    from edge_agent.returns import collect

    parser = argparse.ArgumentParser(
        prog="genba bundle collect",
        description="Write what this device recorded to a stick, signed with its key, and take the registry's receipts "
        "from it. The agent may run or not. `genba bundle return` hands it in at the registry.",
    )
    folder, home = _home(parser, "the stick's folder; a bundle's will do", argv)
    print(f"{collect(folder, home)} messages")
    return 0


def _home(parser: argparse.ArgumentParser, folder_help: str, argv: list[str]) -> tuple[Path, AgentHome]:
    parser.add_argument("folder", type=Path, metavar="DIR", help=folder_help)
    parser.add_argument("--home", default=DEFAULT_HOME, help=f"the agent's home (default {DEFAULT_HOME})")
    options = parser.parse_args(argv)
    return options.folder, AgentHome(Path(options.home).expanduser().absolute())
