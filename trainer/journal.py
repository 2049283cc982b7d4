"""The search's own notebook on disk: every finished trial, so that a run that was killed loses none.

Optuna keeps settings and losses in its journal file; beside it lies, for each finished trial, what it predicted.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from trainer.families import FAMILIES, Parameters, Shape
from trainer.trial import Tried

_STUDY = "search"
_ARRAYS = ("seen", "held_out")


class Proposal(msgspec.Struct, frozen=True):
    """What is to be tried next; `trial` is Optuna's number for it."""

    trial: int
    family: str
    parameters: Parameters


class Journal:
    """One search's trials, in a folder of their own."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Open or begin it."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `multivariate` and `group` are called experimental
            sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=1, multivariate=True, group=True, constant_liar=True
            )
            storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
            self._study = optuna.create_study(storage=storage, study_name=_STUDY, sampler=sampler, load_if_exists=True)
        self._running: dict[int, optuna.trial.Trial] = {}
        over = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        self._begun = {_key(trial) for trial in self._study.get_trials(deepcopy=False) if trial.state in over}
        self.finished: list[Tried] = [
            _load(folder, trial.number) for trial in self._study.get_trials(deepcopy=False) if _complete(trial, folder)
        ]
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state == optuna.trial.TrialState.RUNNING:  # it was killed in the middle
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def propose(self, starts: Sequence[tuple[str, Parameters]], shape: Shape) -> Proposal:
        """Return the first of `starts` that nobody has tried, or else what TPE suggests."""
        for family, parameters in starts:
            fixed = {"family": family, **{f"{family}.{name}": value for name, value in parameters.items()}}
            key = tuple(sorted(fixed.items()))
            if key not in self._begun:
                self._begun.add(key)
                self._study.enqueue_trial(fixed, user_attrs={"start": sorted(fixed.items())})
                return self._ask(starts, shape, parameters)
        return self._ask(starts, shape, None)

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
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
        _save(self._folder, proposal.trial, tried)
        self._study.tell(trial, tried.loss)
        self.finished.append(tried)

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


def _complete(trial: optuna.trial.FrozenTrial, folder: Path) -> bool:
    return trial.state == optuna.trial.TrialState.COMPLETE and (folder / f"{trial.number}.npz").exists()


def _save(folder: Path, number: int, tried: Tried) -> None:
    about = {
        name: getattr(tried, name)
        for name in ("family", "parameters", "settled", "losses", "loss", "fit_s", "size_bytes", "latency_ms")
    }
    made = folder / f".{number}.npz"
    text = np.frombuffer(msgspec.json.encode(about), dtype=np.uint8)
    np.savez(made, about=text, **{name: getattr(tried, name) for name in _ARRAYS})
    made.rename(folder / f"{number}.npz")


def _load(folder: Path, number: int) -> Tried:
    with np.load(folder / f"{number}.npz", allow_pickle=False) as file:
        about = msgspec.json.decode(file["about"].tobytes())
        return Tried(**{**about, "losses": tuple(about["losses"])}, **{name: file[name] for name in _ARRAYS})
