"""The search's own notebook on disk: every finished trial, so that a run that was killed loses none.

Optuna keeps settings and losses in its journal file; beside it lies, for each finished trial, what it predicted.
"""

import json
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from trainer.families import FAMILIES, Parameters, Shape
from trainer.limits import UNLIMITED, Limits
from trainer.search.front import beyond
from trainer.search.trial import Tried

_STUDY = "search"
_PRUNED = optuna.trial.TrialState.PRUNED
_ARRAYS = ("seen", "held_out")
#: Settings that TPE draws again although they were tried are drawn anew, at most so often.
REDRAWS = 8

_Key = tuple[str, tuple[tuple[str, Any], ...]]


class Proposal(msgspec.Struct, frozen=True):
    """What is to be tried next; `trial` is Optuna's number for it."""

    trial: int
    family: str
    parameters: Parameters


class Journal:
    """One search's trials, in a folder of their own.

    Args:
        limits: TPE is told that what is so many times beyond them loses so many times as much.
    """

    def __init__(self, folder: Path, seed: int, limits: Limits = UNLIMITED) -> None:
        """Open or begin it. Whoever opens it owns the folder (`RunFolder`): what a killed owner left is mended."""
        self._folder, self._limits = folder, limits
        folder.mkdir(parents=True, exist_ok=True)
        _mend(folder / "journal.log")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `multivariate` and `group` are called experimental
            sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=1, multivariate=True, group=True, constant_liar=True
            )
            storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
            self._study = optuna.create_study(storage=storage, study_name=_STUDY, sampler=sampler, load_if_exists=True)
        self._running: dict[int, optuna.trial.Trial] = {}
        self.finished: list[Tried] = []
        self._begun: set[tuple[tuple[str, Any], ...]] = set()
        self._losses: dict[_Key, float] = {}
        self._read_back()

    def _read_back(self) -> None:
        """Take in what an earlier run found; what it had begun or meant to begin is open again."""
        states = optuna.trial.TrialState
        for trial in self._study.get_trials(deepcopy=False):
            state = trial.state
            found = _load(self._folder, trial.number) if state in (states.COMPLETE, states.RUNNING) else None
            if state == states.RUNNING:  # it was killed in the middle, or between the two notes of `finish`
                loss = None if found is None else self._told(found)
                self._study.tell(trial.number, loss, state=states.FAIL if loss is None else states.COMPLETE)
            if found is not None:
                self._keep(found)
            if found is not None or state == states.PRUNED:
                self._begun.add(_key(trial))
        while any(one.state == states.WAITING for one in self._study.get_trials(deepcopy=False)):
            self._study.tell(self._study.ask(), state=states.FAIL)

    def propose(self, starts: Sequence[tuple[str, Parameters]], shape: Shape) -> Proposal:
        """Return the first of `starts` that nobody has tried, or else what TPE suggests."""
        for family, parameters in starts:
            fixed = {"family": family, **{f"{family}.{name}": value for name, value in parameters.items()}}
            key = tuple(sorted(fixed.items()))
            if key not in self._begun:
                self._begun.add(key)
                self._study.enqueue_trial(fixed, user_attrs={"start": sorted(fixed.items())})
                return self._ask(starts, shape, parameters)
        for _ in range(REDRAWS):
            proposal = self._ask(starts, shape, None)
            loss = self._losses.get(_key_of(proposal.family, proposal.parameters))
            if loss is None:
                break
            self._study.tell(self._running.pop(proposal.trial), loss)
        else:
            return self._ask(starts, shape, None)
        return proposal

    def _ask(self, starts: Sequence[tuple[str, Parameters]], shape: Shape, fixed: Parameters | None) -> Proposal:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a start may lie outside the range that is drawn from
            trial = self._study.ask()
            family: str = trial.suggest_categorical("family", list(dict.fromkeys(name for name, _ in starts)))
            drawn = FAMILIES[family].suggest(_Named(trial, family), shape)
        self._running[trial.number] = trial
        return Proposal(trial.number, family, drawn if fixed is None else fixed)

    def finish(self, proposal: Proposal, tried: Tried) -> None:
        """Note what a trial found: on disk before Optuna hears of it."""
        trial = self._running.pop(proposal.trial)
        if tried.loss is None:
            self._study.tell(trial, state=_PRUNED)
            return
        _save(self._folder, proposal.trial, tried)
        self._study.tell(trial, self._told(tried))
        self._keep(tried)

    def _keep(self, tried: Tried) -> None:
        self.finished.append(tried)
        self._losses[_key_of(tried.family, tried.parameters)] = self._told(tried)

    def _told(self, tried: Tried) -> float:
        loss = tried.loss or 0.0
        return loss + abs(loss) * max(beyond(tried, self._limits) - 1.0, 0.0)

    def prune(self, proposal: Proposal) -> None:
        """Note that a trial was not worth its time."""
        self._study.tell(self._running.pop(proposal.trial), state=_PRUNED)

    def fail(self, proposal: Proposal) -> None:
        """Note that a trial gave nothing."""
        self._study.tell(self._running.pop(proposal.trial), state=optuna.trial.TrialState.FAIL)


class _Named:
    """An Optuna trial whose names belong to one family."""

    def __init__(self, trial: optuna.trial.Trial, family: str) -> None:
        self._trial, self._family = trial, family

    def __getattr__(self, method: str) -> Any:
        suggest = getattr(self._trial, method)
        return lambda name, *args, **options: suggest(f"{self._family}.{name}", *args, **options)


def _key(trial: optuna.trial.FrozenTrial) -> tuple[tuple[str, Any], ...]:
    return tuple((name, value) for name, value in trial.user_attrs.get("start", ()))


def _key_of(family: str, parameters: Parameters) -> _Key:
    return family, tuple(sorted(parameters.items()))


def _mend(log: Path) -> None:
    """Take away the lock of an owner that is no more, and a last line that it had not written to its end."""
    log.with_name(f"{log.name}.lock").unlink(missing_ok=True)
    if not log.exists():
        return
    whole = 0
    for line in (data := log.read_bytes()).splitlines(keepends=True):
        try:
            json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        whole += len(line)
    if whole < len(data):
        with log.open("r+b") as file:
            file.truncate(whole)


def _save(folder: Path, number: int, tried: Tried) -> None:
    about = {
        name: getattr(tried, name)
        for name in ("family", "parameters", "settled", "losses", "loss", "fit_s", "size_bytes", "latency_ms")
    }
    made = folder / f".{number}.npz"
    text = np.frombuffer(msgspec.json.encode(about), dtype=np.uint8)
    np.savez(made, about=text, **{name: getattr(tried, name) for name in _ARRAYS})
    made.rename(folder / f"{number}.npz")


def _load(folder: Path, number: int) -> Tried | None:
    """Return what a trial found; None where there is no such file, or the machine went down before it was whole."""
    try:
        with (folder / f"{number}.npz").open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            about = msgspec.json.decode(file["about"].tobytes())
            return Tried(**{**about, "losses": tuple(about["losses"])}, **{name: file[name] for name in _ARRAYS})
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, msgspec.MsgspecError):
        return None
