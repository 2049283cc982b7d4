"""The agent's updater behind the command line that theupdateframework/tuf-conformance asks of a client.

    client.py --metadata-dir DIR init ROOT
    client.py --metadata-dir DIR --metadata-url URL refresh
    client.py --metadata-dir DIR --metadata-url URL --target-name NAME --target-base-url URL --target-dir DIR download

The updater is the one that `edge_agent.verification.Verifier` uses; only the transport is another (HTTP).
"""

import argparse
import shutil
import sys
import time
from pathlib import Path
from urllib.parse import quote

from tuf.api.exceptions import DownloadError, RepositoryError

from edge_agent.disk import replacing
from edge_agent.updater import MetadataUpdater
from protocols.errors import GenbaError


def main() -> int:
    options = _options()
    if options.command == "init":
        shutil.copyfile(options.trusted_root, options.metadata_dir / "root.json")
        return 0
    try:
        if options.command == "refresh":
            _updater(options).refresh()
        else:
            _download(options)
    except (GenbaError, RepositoryError, DownloadError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name", action="append")
    parser.add_argument("--target-dir", type=Path)
    parser.add_argument("--target-base-url")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted_root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    return parser.parse_args()


def _updater(options: argparse.Namespace) -> MetadataUpdater:
    return MetadataUpdater(
        options.metadata_dir,
        options.metadata_url,
        options.target_base_url or "",
        None,  # python-tuf's own HTTP
        root=None,
        now=lambda root: time.time(),
    )


def _download(options: argparse.Namespace) -> None:
    updater = _updater(options)
    for name in options.target_name:
        target = updater.get_targetinfo(name)
        if target is None:
            raise RepositoryError(f"{name} is not a target of this repository")
        path = options.target_dir / quote(name, safe="")
        if updater.find_cached_target(target, str(path)) is None:
            with updater.open_target(target) as source, replacing(path) as file:
                shutil.copyfileobj(source, file)


if __name__ == "__main__":
    sys.exit(main())
