"""Optuna's studies: where trials are kept and counted."""

from __future__ import annotations

import contextlib
import inspect
import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.trial import FrozenTrial, TrialState

from fastconv.recipes.schema import read_dataclass
from fastconv.search.definition import Definition, SearchError
from fastconv.search.draws import AGAIN, INDEX, Draws, derived_seed, draw_index, suggest
from fastconv.search.outcome import State, Trial
from fastconv.search.space import Dimension, Settings, Space, combinations

_HEARTBEAT_SECONDS = 15
_GRACE_SECONDS = 90
"""A trial on another machine that has shown no sign of life for so long is taken for dead."""
_ATTEMPTS, _PAUSE_SECONDS = 4, 0.5
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

# What Optuna keeps of a trial beside its settings and its score.
_STATE, _SCORES, _TRAINING_SCORES, _SECONDS, _REASON = (
    "state", "scores", "training_scores", "seconds", "reason"
)  # fmt: skip


def url_of_file(path: Path) -> str:
    """Return the URL of a file of SQLite.

    Parameters
    ----------
    path
        Of any name: as a URI, which has an escape for each byte that is no text.
    """
    database = path.resolve().as_uri()
    url = sqlalchemy.engine.URL.create("sqlite", database=database, query={"uri": "true"})
    return url.render_as_string()


def open_storage(url: str, *, is_shared: bool) -> optuna.storages.RDBStorage:
    """Open the data base that keeps the trials; a file of SQLite is made if need be.

    Parameters
    ----------
    url
        As SQLAlchemy reads it, such as "sqlite:///study.sqlite3" or
        "postgresql://user:word@host/name".
    is_shared
        Whether other processes may use it at the same time: each then shows signs of life.

    Raises
    ------
    SearchError
        If it cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options: dict[str, Any] = {}
    if is_shared:
        options.update(heartbeat_interval=_HEARTBEAT_SECONDS, grace_period=_GRACE_SECONDS)
        # Optuna 4.9 gave this argument another name.
        known = inspect.signature(optuna.storages.RDBStorage.__init__).parameters
        callback = "heartbeat_stale_trial_callback"
        options[callback if callback in known else "failed_trial_callback"] = _repeat
    try:
        return _opened(url, options, _ATTEMPTS)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, ValueError, RuntimeError) as fault:
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise SearchError(
            f"--storage {_without_password(url)}: cannot be opened ({reason}); expected a data "
            f"base that is there, such as sqlite:///study.sqlite3"
        ) from None


def _opened(url: str, options: dict[str, Any], attempts: int) -> optuna.storages.RDBStorage:
    """Open a data base; where another process makes its tables just now, try again."""
    try:
        with _as_meant():
            return optuna.storages.RDBStorage(url, **options)
    except sqlalchemy.exc.DBAPIError:
        if attempts == 1:
            raise
    time.sleep(_PAUSE_SECONDS)
    return _opened(url, options, attempts - 1)


def _without_password(url: str) -> str:
    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.SQLAlchemyError:
        return repr(url.partition("@")[2] or url)


def stored_space(storage: optuna.storages.RDBStorage, name: str) -> dict[str, Dimension] | None:
    """Return the space of a study that is there already."""
    try:
        kept = optuna.load_study(study_name=name, storage=storage).user_attrs.get("search")
    except KeyError:
        return None
    return kept and {
        key: read_dataclass(Dimension, table, f"space.{key}")
        for key, table in kept["space"].items()
    }


def study_name(definition: Definition, stage: int) -> str:
    """Name of a stage's study."""
    return f"{definition.name}, finer" if stage else definition.name


class Stage:
    """One stage of a search: a study of Optuna's.

    Parameters
    ----------
    storage
        Where it is kept, and found again.
    definition
        What is searched and how.
    number
        0: the first stage; 1: the finer one.
    space
        What may be chosen.
    wanted
        How many trials there are to be.
    identity
        What must be the same when the stage is found again.

    Raises
    ------
    SearchError
        If the storage has another search of this name.
    """

    def __init__(
        self,
        storage: optuna.storages.RDBStorage,
        definition: Definition,
        number: int,
        space: Space,
        wanted: int,
        identity: Mapping[str, Any],
    ) -> None:
        self.number, self.space, self.wanted = number, space, wanted
        self._definition, self._storage = definition, storage
        self._study = optuna.create_study(
            storage=storage,
            study_name=study_name(definition, number),
            direction="maximize" if definition.is_maximised else "minimize",
            pruner=optuna.pruners.MedianPruner(),
            load_if_exists=True,
        )
        self._points = combinations(space) if definition.method == "grid" else []
        self._open: dict[int, optuna.Trial] = {}
        self._keep_identity(json.loads(json.dumps(identity)))

    def _keep_identity(self, identity: dict[str, Any]) -> None:
        found = self._study.user_attrs.get("search")
        if found is None:
            self._study.set_user_attr("search", identity)
        elif found != identity:
            raise SearchError(
                f"search {self._definition.name}: the study that is there is another, whose "
                f"{_difference(found, identity)}; choose another folder with --out, or another "
                f"name in the search file"
            )

    def ask(self) -> tuple[int, Settings] | None:
        """Begin a trial; None if there are enough.

        Returns
        -------
        number, settings
            Of the trial.
        """
        while self._count((*_FINISHED, TrialState.RUNNING)) < self.wanted:
            self._study.sampler = self._sampler()
            with _as_meant():
                trial = self._study.ask()
            self._open[trial.number] = trial
            self.record_heartbeats()
            index = draw_index(self._study, self._frozen(trial.number))
            trial.set_user_attr(INDEX, index)
            if index >= self.wanted:
                # Two machines asked at once for the last one. It may be wanted another time.
                self._fail(trial.number)
                del self._open[trial.number]
                continue
            settings = {key: suggest(trial, key, self.space[key]) for key in self.space}
            return trial.number, settings
        return None

    def report(self, number: int, line: int, value: float) -> bool:
        """Take a score down before a trial's end; return whether the trial should be given up."""
        trial = self._open[number]
        trial.report(value, line)
        return trial.should_prune()

    def tell(
        self,
        number: int,
        state: State,
        scores: Sequence[float],
        seconds: float,
        reason: str = "",
        training_scores: Sequence[float] = (),
    ) -> Trial:
        """End a trial."""
        trial = self._open.pop(number)
        trial.set_user_attr(_STATE, state)
        trial.set_user_attr(_SCORES, list(scores))
        trial.set_user_attr(_TRAINING_SCORES, list(training_scores))
        trial.set_user_attr(_SECONDS, seconds)
        trial.set_user_attr(_REASON, reason)
        if state == "completed":
            self._study.tell(trial, sum(scores) / len(scores))
        else:
            # Not failed, for Optuna: it is to keep away from there.
            self._study.tell(trial, state=TrialState.PRUNED)
        return self._trial(self._frozen(number))

    def repeat(self, number: int) -> None:
        """Mark a trial of this process as failed, to be made again with the same settings.

        Parameters
        ----------
        number
            Of the trial.
        """
        self._fail(number)
        del self._open[number]

    def index_of(self, number: int) -> int:
        """Return the number of a trial's draw, which it keeps when it is made again."""
        return draw_index(self._study, self._frozen(number))

    def give_up(self) -> None:
        """Mark the trials that this process began and did not end as failed, to be repeated."""
        for number in list(self._open):
            self.repeat(number)

    def fail_interrupted(self, *, is_alone: bool) -> None:
        """Mark trials that nobody trains any more as failed, to be repeated.

        Parameters
        ----------
        is_alone
            Whether no other process uses the storage, so that all but one's own are dead; else
            those are that have shown no sign of life for a while.
        """
        if is_alone:
            for trial in self._trials((TrialState.RUNNING,)):
                if trial.number not in self._open:
                    self._fail(trial.number)
            return
        with _as_meant():
            optuna.storages.fail_stale_trials(self._study)

    def record_heartbeats(self) -> None:
        """Show that the trials of this process are alive."""
        if self._storage.get_heartbeat_interval() is not None:
            for trial in self._open.values():
                self._storage.record_heartbeat(trial._trial_id)

    @property
    def backend(self) -> str:
        """The backend that trained last, or nothing."""
        return str(self._study.user_attrs.get("backend", ""))

    def keep_backend(self, name: str) -> None:
        """Take down which backend trains."""
        if name and name != self.backend:
            self._study.set_user_attr("backend", name)

    def is_complete(self) -> bool:
        """Whether there are as many finished trials as are wanted."""
        return self._count(_FINISHED) >= self.wanted

    def finished(self) -> list[Trial]:
        """Return the trials that ended, in the order of their draws."""
        trials = [self._trial(trial) for trial in self._trials(_FINISHED)]
        return sorted(trials, key=lambda trial: trial.index)

    def _count(self, states: Sequence[TrialState]) -> int:
        return len(self._trials(states))

    def _trials(self, states: Sequence[TrialState] | None = None) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states)

    def _frozen(self, number: int) -> FrozenTrial:
        return next(trial for trial in self._trials() if trial.number == number)

    def _fail(self, number: int) -> None:
        self._study.tell(number, state=TrialState.FAIL)
        _repeat(self._study, self._frozen(number))

    def _sampler(self) -> optuna.samplers.BaseSampler:
        seed = self._definition.seed
        if self._definition.method != "tpe":
            return Draws(seed, self.number, self._points)
        with _as_meant():
            return optuna.samplers.TPESampler(
                seed=derived_seed(seed, self.number, len(self._trials())),
                # Those at work elsewhere count as bad, so that not all go to the same place.
                constant_liar=True,
            )

    def _trial(self, trial: FrozenTrial) -> Trial:
        kept = trial.user_attrs
        return Trial(
            self.number,
            int(kept[INDEX]),
            {key: trial.params[key] for key in self.space if key in trial.params},
            kept[_STATE],
            tuple(kept[_SCORES]),
            kept[_SECONDS],
            kept[_REASON],
            tuple(kept.get(_TRAINING_SCORES, ())),  # which older studies do not have
        )


def _repeat(study: optuna.Study, trial: FrozenTrial) -> None:
    """Have a failed trial made again, with the same settings."""
    study.enqueue_trial(trial.params, user_attrs={AGAIN: True, INDEX: draw_index(study, trial)})


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first thing that is not the same."""
    for key in dict.fromkeys((*found, *wanted)):
        there, here = found.get(key), wanted.get(key)
        if there != here:
            if isinstance(there, dict) and isinstance(here, dict):
                return f"{key}.{_difference(there, here)}"
            return f"{key} is {there!r}, not {here!r}"
    raise ValueError("there is no difference")


@contextlib.contextmanager
def _as_meant() -> Iterator[None]:
    """Leave out what Optuna says of functions that are experimental, and of asking for trials."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used with")
        yield
