"""The public Uptane vectors of advancedtelematic/tuf-test-vectors, run on the device's verifier (`make vectors`).

    vectors.py [--key-type TYPE] [VECTOR ...]

Each vector is a director and an image repository, step by step, and says whether a device may install. The generator
is taken at a pinned commit, or from the checkout that TUF_VECTORS names. It writes metadata of 2017; its one method
that signs is replaced, so that it writes today's form with its own keys (`dialect.py`). What it writes lies in a folder
that the agent's own fetcher reads, as from a stick, and `Verifier.fetch` installs or refuses.

A vector passes where the device installs what the vector installs, and otherwise refuses for the vector's reason.
Those that do not apply are in vectors.md, with the reason. Exit status: 0 all others passed, 1 some did not, 77 they
cannot be run here (the last line says why).
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dialect

from edge_agent.fetchers import DirectoryFetcher
from edge_agent.releases import ReleaseStore
from edge_agent.signed_metadata import PinnedRoots
from edge_agent.verification import Verifier
from protocols.errors import GenbaError
from protocols.resources import RELEASE_FILES

REPOSITORY = "https://github.com/advancedtelematic/tuf-test-vectors"
COMMIT = "b0fb682ff4ee140d04873880f4ca5121ae4253f6"
ROOT = Path(__file__).parents[2]
LISTED = Path(__file__).with_name("vectors.md")
CANNOT = 77
DEVICE, PROFILE = "press-1", "x86"
SCHEMES = {"ed25519": "ed25519", "rsa-2048": "rsassa-pss-sha256", "rsa-4096": "rsassa-pss-sha512"}

#: What the refusal says, by the vector's name for its cause; {role} is the role that the vector names.
CAUSES = {
    "BadKeyId": r"^TrustError: .*was signed by \d/\d keys",
    "UnmetThreshold": r"^TrustError: .*{role} was signed by \d/\d keys",
    "IllegalThreshold": r"^TrustError: .*threshold should be at least 1",
    "NonUniqueSignatures": r"^TrustError: .*(Multiple signatures found for keyid|keyids should be a list of unique)",
    "ExpiredMetadata": r"^TrustError: .*({role}.json|{role}) is expired",
    "VersionMismatch": r"^TrustError: .*(Expected {role} v|{role} was delegated but is not part of snapshot)",
    "RootRotationError": r"^TrustError: .*Expected root version",
    "SecurityException": r"^TrustError: .*unrecognized metadata type",
    "DelegationMissing": r"^ResourceFinalError: .*{role}.json: it is not there",
    "MetadataFetchFailure": r"^TrustError: .*{role}.json is longer than",
    "DirectorDelegation": r"^TrustError: director: it lets others sign in its name",
    "BadEcuId": rf"^TrustError: .*signed it for device '{DEVICE}-XXX', not '{DEVICE}'",
    "BadHardwareId": r"^ReleaseRefusedError: .*profiles",
    "TargetMismatch": r"^ReleaseRefusedError: .*(sha256|length|profiles|target)|^TrustError: .*foo is expired",
    "OversizedTarget": r"^TrustError: .*more arrives than may",
    "TargetHashMismatch": r"^TrustError: .*more arrives than may",
}

#: What the vectors call a repository, and what the device calls it.
BLAMED = {"director": "director", "image_repo": "image"}


class CannotRunError(Exception):
    """The vectors are not to be had."""


class Device:
    """A device before the repositories of one vector; what it trusts stays from step to step."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._wire = folder, folder / "wire"
        self._verifier: Verifier | None = None

    def after(self, step: dialect.Step, number: int) -> dict[str, GenbaError | None]:
        """Serve a step; return, for each file that the director names, why it was refused, or None."""
        shutil.rmtree(self._wire, ignore_errors=True)
        for name, data in step.files.items():
            path = self._wire / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if self._verifier is None:
            roots = PinnedRoots(step.files["image/metadata/1.root.json"], step.files["director/metadata/1.root.json"])
            fetcher = DirectoryFetcher(self._wire)
            self._verifier = Verifier(self._folder / "metadata", roots, fetcher, device=DEVICE, profile=PROFILE)
        store = ReleaseStore(self._folder / f"releases-{number}")
        return {name: self._install(self._verifier, name, content, store) for name, content in step.contents.items()}

    def _install(self, verifier: Verifier, name: str, content: bytes, store: ReleaseStore) -> GenbaError | None:
        ref = dialect.release(name)
        try:
            verifier.fetch(ref, store)
        except GenbaError as error:
            if store.path(ref).exists():
                raise AssertionError(f"{ref} was refused, and is installed") from error
            return error
        installed = [(store.path(ref) / file).read_bytes() for file in RELEASE_FILES]
        if installed != [content] * len(RELEASE_FILES):
            raise AssertionError(f"{ref} is not what the vector signed")
        return None


def judge(expected: dict[str, Any], name: str, error: GenbaError | None) -> str | None:
    """Return what is wrong with the outcome for one file, or None where it is the vector's."""
    causes = [
        (repository, cause)
        for repository in BLAMED
        for outcome in (expected[repository]["update"], expected[repository]["targets"].get(name, {}))
        if (cause := outcome.get("err")) is not None
    ]
    if not causes:
        return f"refused, and should be installed: {said(error)}" if error else None
    if error is None:
        return f"INSTALLED, and should be refused: {causes}"
    if any(_is(error, *cause) for cause in causes):
        return None
    return f"refused for another reason than {causes}: {said(error)}"


def _is(error: GenbaError, repository: str, cause: str) -> bool:
    """Whether an error names the cause. What the two must agree on is neither one's fault."""
    name, _, rest = cause.partition("::")
    role, text = re.escape(rest.partition("::")[0].lower()), said(error)
    if rest and re.search(rf"^\w+: (?!{BLAMED[repository]})(director|image)\b", text):
        return False
    return name in CAUSES and re.search(CAUSES[name].replace("{role}", role), text) is not None


def said(error: BaseException | None) -> str:
    """Return an error's text and its causes'."""
    texts = []
    while error is not None:
        texts.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return " <- ".join(texts)


def listed() -> dict[str, str]:
    """Return the vectors that do not apply, with the reason."""
    return dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", LISTED.read_text(), re.MULTILINE))


def checkout() -> Path:
    """Return a folder with the generator.

    Raises:
        CannotRunError: there is none, and none can be had.
    """
    given = os.environ.get("TUF_VECTORS")
    folder = Path(given) if given else ROOT / ".conformance" / "vectors"
    if not given:
        _clone(folder)
    if not (folder / "tuf_vectors").is_dir():
        raise CannotRunError(f"{folder} is no checkout of {REPOSITORY}")
    return folder


def _clone(folder: Path) -> None:
    """Have the pinned commit in a folder."""
    try:
        if folder.is_dir() and _git("-C", folder, "rev-parse", "HEAD") == COMMIT:
            return
        shutil.rmtree(folder, ignore_errors=True)
        _git("clone", "--quiet", REPOSITORY, folder)
        _git("-C", folder, "checkout", "--quiet", COMMIT)
    except (OSError, subprocess.SubprocessError) as error:
        why = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise CannotRunError(f"{REPOSITORY} cannot be cloned ({why}); set TUF_VECTORS to a checkout of it") from error


def _git(*arguments: str | Path) -> str:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", *arguments]
    done = subprocess.run(command, env=environment, check=True, timeout=120, capture_output=True, text=True)
    return done.stdout.strip()


def run(make: Callable[..., Any]) -> list[str]:
    """Run one vector on a new device; return what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        vector, device = make(output_dir=folder), Device(Path(folder))
        return [
            f"step {number}, {name}: {wrong}"
            for number, (step, expected) in enumerate(zip(dialect.steps(vector), vector.meta()["steps"], strict=True))
            for name, error in device.after(step, number).items()
            if (wrong := judge(expected, name, error)) is not None
        ]


def main() -> int:
    options = _options()
    try:
        vectors = dialect.vectors(checkout(), DEVICE, PROFILE, options.key_type, SCHEMES[options.key_type])
    except CannotRunError as error:
        print(f"vectors: not run: {error}", file=sys.stderr)
        return CANNOT
    aside = listed()
    applicable = {name: make for name, make in vectors.items() if name not in aside}
    found = {name: run(make) for name, make in applicable.items() if name in options.vector or not options.vector}
    for name in sorted(aside.keys() - vectors.keys()):
        print(f"{name}: is in {LISTED.name}, and is no vector")
    for name, wrong in found.items():
        print("".join(f"{name}: {line}\n" for line in wrong), end="")
    passed = sum(not wrong for wrong in found.values())
    print(f"vectors: {passed} of {len(applicable)} applicable passed, of {len(vectors)}")
    return int(passed < len(found) or not aside.keys() <= vectors.keys())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--key-type", choices=SCHEMES, default="ed25519")
    parser.add_argument("vector", nargs="*")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
