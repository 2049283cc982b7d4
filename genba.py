"""The front door: the `genba` command, and the same verbs in Python. Each is loaded only when it is called.

import genba

model = genba.train("press.csv", "scrap", budget="60s")
model.predict(rows)
"""

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from protocols.errors import GenbaError

if TYPE_CHECKING:
    from edge_agent.scoring import Summary
    from trainer.sdk.estimators import Classifier, Regressor
    from trainer.sdk.trained import TrainedModel
    from trainer.sdk.verbs import choose, import_model, load, reproduce, train

__all__ = [
    "Classifier",
    "GenbaError",
    "Regressor",
    "TrainedModel",
    "__version__",
    "choose",
    "import_model",
    "load",
    "main",
    "publish",
    "reproduce",
    "score",
    "train",
]
__version__ = "0.1.0"

#: What Python has of the trainer, and where it lives: loaded when it is first asked for.
_OF_TRAINER = {
    "Classifier": "trainer.sdk.estimators",
    "Regressor": "trainer.sdk.estimators",
    "TrainedModel": "trainer.sdk.trained",
    "choose": "trainer.sdk.verbs",
    "import_model": "trainer.sdk.verbs",
    "load": "trainer.sdk.verbs",
    "reproduce": "trainer.sdk.verbs",
    "train": "trainer.sdk.verbs",
}


class Verb(NamedTuple):
    """Where a verb lives, the extra that brings what it imports, and one line of help."""

    target: str
    extra: str | None
    help: str


#: The sides of `genba bundle` know nothing of each other: each command is loaded from its own.
BUNDLE_VERBS: dict[str, Verb] = {
    "export": Verb("registry.client.bundle_cli:export_bundle", None, "write what a device is to run to a folder"),
    "collect": Verb("edge_agent.bundle_cli:collect_bundle", None, "write what this device recorded to the stick"),
    "return": Verb("registry.client.bundle_cli:return_bundle", None, "hand in at the registry what devices recorded"),
    "install": Verb("edge_agent.bundle_cli:install_bundle", None, "check a bundle and hand it to this device's agent"),
}

VERBS: dict[str, Verb] = {
    "demo": Verb("registry.demo.cli:demo", "demo", "run the whole loop on this machine and explain each step"),
    "registry": Verb("registry.cli:registry", "registry", "init and serve the registry; make enrolment tokens"),
    "train": Verb("genba:_train_verb", "trainer", "train a release candidate from a table"),
    "reproduce": Verb("trainer.cli:reproduce", "trainer", "train a release again and compare the digests"),
    "choose": Verb("trainer.cli:choose", "trainer", "release another entry of the front that training found"),
    "publish": Verb("registry.client.cli:publish", None, "upload a candidate to a registry, which signs it"),
    "export-signature": Verb(
        "registry.client.signature_cli:export_signature", None, "sign a release folder for OpenSSF model signing"
    ),
    "import": Verb("trainer.cli:import_model", "trainer", "turn a model of another framework into a candidate"),
    "assign": Verb("registry.client.cli:assign", None, "say which devices should run a release"),
    "bundle": Verb("genba:bundle", None, "carry releases to a device on a USB stick, and what it recorded back"),
    "agent": Verb("edge_agent.cli:agent", "cpu", "enrol, run and inspect this device's agent"),
    "score": Verb("genba:_score_verb", "cpu", "score a file with a release, offline"),
    "explain": Verb(
        "genba:_explain_verb", "trainer", "say why a release answers rows as it does, and what would change it"
    ),
    "devices": Verb("genba:devices", None, "list profiles, probe this machine, tune or measure a model, write kits"),
    "simulate": Verb("rehearsal.cli:simulate", "demo", "a production line, or a fleet of devices"),
}


def usage() -> str:
    lines = [f"  {name:<16} {verb.help}" for name, verb in VERBS.items()]
    return "\n".join(
        [
            "usage: genba VERB ...",
            "",
            "Genba trains, proves, signs, delivers, serves and watches ONNX models on a factory's own machines.",
            "",
            *lines,
            "",
            "`genba VERB --help` explains one; `genba --version` names this release.",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Run one verb. Returns the exit status: 0 done, 1 failed, 2 wrong usage."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(f"genba {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in VERBS:
        return _fail(f"no verb {name!r}; `genba --help` lists them", 2)
    try:
        return _call(VERBS[name], rest)
    except GenbaError as error:
        return _fail(_told(error, str(error)), 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as error:
        return _fail(_told(error, "interrupted"), 130)


def bundle(argv: list[str]) -> int:
    """Run one of the commands that a USB stick needs."""
    if argv and argv[0] in BUNDLE_VERBS:
        return _call(BUNDLE_VERBS[argv[0]], argv[1:])
    lines = "\n".join(f"  {name:<8} {verb.help}" for name, verb in BUNDLE_VERBS.items())
    text = f"usage: genba bundle COMMAND ...\n\n{lines}\n\n`genba bundle COMMAND --help` explains one."
    asked = bool(argv) and argv[0] in ("-h", "--help", "help")
    print(text, file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


def _train_verb(argv: list[str]) -> int:
    """Train; a board that is to be measured is asked by the side that knows registries."""
    from trainer import cli

    return cli.train(argv, _measuring)


def _measuring(registry: str, kind: str) -> Any:
    """Return what has graphs measured on a registry's devices; loaded only where one is named."""
    from registry.client import RegistryClient, measuring_on

    return measuring_on(RegistryClient(registry, os.environ.get("GENBA_TOKEN")), kind, timeout_s=600)


def _score_verb(argv: list[str]) -> int:
    """Score a file; a release that a registry has is fetched first, by the side that knows registries."""
    from edge_agent import score_cli

    return score_cli.score(argv, _bring)


def _explain_verb(argv: list[str]) -> int:
    """Explain a release's answers; the release is proven by the side that knows signatures."""
    from trainer.explain import cli as explain_cli

    return explain_cli.explain(argv, _proven)


@contextlib.contextmanager
def _proven(release: str, home: Path | None, registry: str | None) -> Iterator[tuple[Path, str]]:
    """Yield a release's folder and what proves it."""
    from edge_agent.proof import proven
    from edge_agent.settings import AgentHome

    if registry and "@" in release and not Path(release).exists():
        release = str(_bring(registry, release))
    with proven(release, AgentHome(home) if home else None, registry or "") as found:
        yield found.folder, found.note


def _bring(registry: str, release: str) -> Path:
    """Fetch a release from a registry; loaded only where one is named."""
    from registry.client.cached_bundle import bring

    return bring(registry, release)


def devices(argv: list[str]) -> int:
    """Run one of the commands on devices; `tune` runs models, so it is the agent's, and `measure` asks a registry."""
    if argv and argv[0] == "tune":
        return _call(Verb("edge_agent.tune_cli:tune", "cpu", ""), argv[1:])
    if argv and argv[0] == "measure":
        return _call(Verb("registry.client.measure_cli:measure", None, ""), argv[1:])
    from devices import cli

    return cli.devices(argv)


def publish(candidate: "TrainedModel | Path | str", registry: str | None = None, *, token: str | None = None) -> str:
    """Upload a candidate to a registry, which checks its proof and signs it; return `model@version`.

    Args:
        candidate: a model, or the folder of one.
        registry: its URL; None: GENBA_REGISTRY, or this machine's.
        token: the API token; None: GENBA_TOKEN.

    Raises:
        GenbaError: it is no candidate, or the registry cannot be reached or refuses it; the text says why.
    """
    from registry.client.upload import publish_candidate

    return publish_candidate(_folder_of(candidate), registry, token)


def score(
    release: "TrainedModel | Path | str",
    data: Path | str,
    out: Path | str,
    *,
    home: Path | str | None = None,
    registry: str | None = None,
    **options: Any,
) -> "Summary":
    """Score a file of any size with a release, offline, and return what was done.

    Args:
        release: a model, a candidate's folder, a bundle, or `model@version` with home or registry.
        data: a table's file, or a folder of images.
        out: the file of the result, by its name: .csv, .parquet, .jsonl, .sqlite.
        home: an agent's home: its releases, and the root that it trusts.
        registry: URL to fetch the release from; the API token is in GENBA_TOKEN.
        options: more of `edge_agent.scoring.Options`, such as `keep`, `on_error` or `resume`.

    Raises:
        GenbaError: nothing proves the release, or the file cannot be scored; the text says why.
    """
    from edge_agent.scoring import Options, score_file

    named = str(_folder_of(release))
    with _proven(named, Path(home) if home else None, registry) as (folder, _):
        return score_file(folder, Path(data), Path(out), Options(**options))


class _Registries:
    """What the trainer, which knows no registry, asks of the side that does."""

    publish = staticmethod(publish)
    measuring = staticmethod(_measuring)


def _folder_of(given: "TrainedModel | Path | str") -> Path:
    return Path(given) if isinstance(given, str | Path) else given.folder


def __getattr__(name: str) -> Any:
    """Load what Python has of the trainer. Raises MissingExtraError where its packages are not installed."""
    if name not in _OF_TRAINER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _explained("trainer"), warnings.catch_warnings():
        # Of tqdm, which Optuna brings, in a notebook without widgets; nothing here uses it.
        warnings.filterwarnings("ignore", message="IProgress not found")
        registries = importlib.import_module("trainer.sdk.registries")
        found = getattr(importlib.import_module(_OF_TRAINER[name]), name)
    registries.introduce(_Registries)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_OF_TRAINER})


class MissingExtraError(GenbaError):
    """What is asked for needs a package that is not installed."""


def _call(verb: Verb, rest: list[str]) -> int:
    """Load a verb and run it; verbs import what is slow to load only when they run."""
    module, _, function = verb.target.partition(":")
    with _explained(verb.extra):
        loaded: Callable[[list[str]], int] = getattr(importlib.import_module(module), function)
        return loaded(rest)


@contextlib.contextmanager
def _explained(extra: str | None) -> Iterator[None]:
    """Name the extra that brings a package which is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or extra is None or error.name.split(".")[0] in _OURS:
            raise
        # ONNX Runtime is an extra of its own: its builds exclude one another.
        extra = "cpu" if error.name == "onnxruntime" else extra
        raise MissingExtraError(
            f"this needs the package {error.name!r}, which is not installed: pip install 'genba[{extra}]'"
        ) from error


_OURS = ("protocols", "devices", "edge_agent", "trainer", "registry", "rehearsal")


def _told(error: BaseException, text: str) -> str:
    return "; ".join([text, *getattr(error, "__notes__", ())])


def _fail(text: str, status: int) -> int:
    print(f"genba: {text}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
