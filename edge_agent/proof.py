"""What proves a release before anything is scored with it: signatures, or for a candidate its own digests alone.

An expired signature proves still who signed: expiry stops installations, never the use of what is named by version.

What reads signatures is loaded where there are some: it takes as long as the scoring of 200,000 rows.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_agent.errors import ScoreError
from edge_agent.releases import read_manifest, read_release
from edge_agent.settings import AgentHome
from protocols.bundles import BUNDLE_FILE
from protocols.errors import NameRefusedError
from protocols.names import ReleaseRef, check_name


@dataclass(frozen=True, slots=True)
class Proven:
    """A release's folder, and one line for a person: what proves it."""

    folder: Path
    note: str


@contextlib.contextmanager
def proven(named: str, home: AgentHome | None, registry: str = "") -> Iterator[Proven]:
    """Yield the release that is named, once every file of it is what was signed.

    Args:
        named: a release folder, a candidate's, a bundle's; or with a home `model@version`, `model@latest`.
        home: whose trusted root counts.
        registry: the URL that the bundle was fetched from, if it was.

    Raises:
        ScoreError: nothing is there, or nothing proves it.
        ReleaseDamagedError, TrustError, BundleRefusedError: a file or a signature is not right.
    """
    folder = Path(named)
    if folder.is_dir() and (folder / BUNDLE_FILE).exists():
        from edge_agent.signed_proof import unpacked

        with unpacked(folder, home, registry) as (files, note):
            yield Proven(files, note)
    elif folder.is_dir():
        yield _from_folder(folder, home or _home_around(folder))
    elif "@" in named and home is not None:
        yield _installed(_resolved(named, home), home)
    elif "@" in named:
        raise ScoreError(f"{named}: say where it is: --home HOME (installed there), or --registry URL")
    else:
        raise ScoreError(f"{named} is not a release folder; give the folder that holds release.json and model.onnx")


def _from_folder(folder: Path, home: AgentHome | None) -> Proven:
    manifest = read_manifest(folder)
    if not manifest.version:
        read_release(folder)
        return Proven(folder, "not signed: a candidate; its files are those that its release.json lists")
    if home is None:
        read_release(folder)
        raise ScoreError(
            f"{folder} says that it is {manifest.release}, and no signature beside it proves that: give --home HOME of "
            f"an agent, or a bundle (`genba bundle export {manifest.release} --out DIR`)"
        )
    return _checked(folder, manifest.release, home)


def _installed(ref: ReleaseRef, home: AgentHome) -> Proven:
    folder = home.releases / ref.model / str(ref.version)
    if not folder.is_dir():
        raise ScoreError(f"{ref} is not installed in {home.folder}; `genba agent status` shows what is")
    return _checked(folder, ref, home)


def _checked(folder: Path, ref: ReleaseRef, home: AgentHome) -> Proven:
    from edge_agent.signed_proof import check_files

    check_files(folder, ref, home)
    return Proven(folder, f"{ref} is as it was signed, by the root that this device trusts")


def _resolved(named: str, home: AgentHome) -> ReleaseRef:
    model, _, version = named.partition("@")
    if version != "latest":
        try:
            return ReleaseRef.parse(named)
        except NameRefusedError as error:
            raise ScoreError(f"{error}; on a device: MODEL@VERSION or MODEL@latest") from error
    found = [int(path.name) for path in (home.releases / check_name("model", model)).glob("[0-9]*")]
    if not found:
        raise ScoreError(f"no release of {model!r} is installed in {home.folder}")
    return ReleaseRef(model, max(found))


def _home_around(folder: Path) -> AgentHome | None:
    """Return the agent's home that a release folder lies in: HOME/releases/<model>/<version>."""
    parents = folder.resolve().parents
    if len(parents) < 3 or parents[1].name != "releases":
        return None
    home = AgentHome(parents[2])
    return home if home.enrolled else None
