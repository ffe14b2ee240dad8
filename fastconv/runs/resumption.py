"""Going on with a run that stopped: its folder, its recipe, and the checkpoint to take."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastconv.backends.configuration import environment
from fastconv.data import Dataset
from fastconv.data.identity import PartIdentity, differences, identify_parts
from fastconv.execution.checkpoint import Checkpoint, CheckpointError
from fastconv.recipe import Recipe, load_written_recipe, read_recipe, set_keys
from fastconv.recipes.schema import RecipeError
from fastconv.runs.checkpoints import newest_checkpoint
from fastconv.runs.run_folder import OutputError, RunFolder
from fastconv.runs.saved_run import DAMAGE, RunError
from fastconv.runs.written_run import (
    ENDS,
    FREE,
    first_difference,
    read_environment,
    read_json,
)
from fastconv.trainer import Trainer
from fastconv.training_loop import Progress


@dataclass(frozen=True, eq=False)
class Resumption:
    """A run that is to go on.

    Parameters
    ----------
    folder
        Of the run; no other process writes there.
    recipe
        To go on with.
    checkpoint
        To go on from; None where the run was killed before the first one.
    environment
        As in environment.json; empty where there is none yet.
    was_finished
        Whether the run came to its end.
    stopped_early
        Whether that was because nothing got better.
    remarks
        What its user should know, each in one line.
    """

    folder: RunFolder
    recipe: Recipe
    checkpoint: Checkpoint | None
    environment: dict[str, Any]
    was_finished: bool = False
    remarks: list[str] = field(default_factory=list)
    stopped_early: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """Options that the run was begun with, by their names; empty where none are known."""
        found = self.environment.get("options", {})
        return found if isinstance(found, dict) else {}

    def restore(self, trainer: Trainer, steps: int) -> Progress:
        """Bring a trainer and the files of the run back to the checkpoint; return the loop's state.

        Parameters
        ----------
        trainer
            Of the same recipe and data.
        steps
            That the run is to have in the end.

        Raises
        ------
        RunError, CheckpointError
            If the run has as many already, or the checkpoint does not fit.
        """
        if self.checkpoint is None:
            self.folder.write_history(())
            self.folder.write_probe("")
            return Progress()
        state, there = self.checkpoint.state, self._steps()
        if self.stopped_early:
            raise RunError(
                f"run {self.folder.path}: stopped early at step {there}, by its validation."
                f"patience; begin another run from its weights with --init-from"
            )
        if there > steps or (self.was_finished and there == steps):
            raise RunError(
                f"run {self.folder.path}: has {there} steps already and is to have {steps}; train "
                f"longer with --epochs or --steps, or begin another run with --init-from"
            )
        try:
            progress = Progress.from_table(state["progress"])
        except DAMAGE as fault:
            raise self._damaged(f"{type(fault).__name__}: {fault}") from None
        try:
            trainer.restore(self.checkpoint)
        except CheckpointError as fault:
            raise CheckpointError(f"run {self.folder.path}: {fault}") from None
        self.folder.write_history(progress.history)
        self.folder.write_probe(state["probe"])
        (self.folder.path / "summary.json").unlink(missing_ok=True)
        return progress

    def _steps(self) -> int:
        """Steps of the checkpoint, once all of its state that is read here is what it may be."""
        assert self.checkpoint is not None
        try:
            trained = self.checkpoint.part("trainer", {"step": int, "config": dict})
        except CheckpointError as fault:
            raise CheckpointError(f"run {self.folder.path}: {fault}") from None
        for name, kind in (("environment", dict), ("probe", str), ("progress", dict)):
            if not isinstance(self.checkpoint.state.get(name), kind):
                raise self._damaged(f"no {name}")
        return int(trained["step"])

    def _damaged(self, why: str) -> CheckpointError:
        return CheckpointError(
            f"run {self.folder.path}: its newest checkpoint is damaged ({' '.join(why.split())}); "
            f"remove it, so that the one before is taken"
        )

    def check_data(
        self, dataset: Dataset, identity: Mapping[str, PartIdentity] | None = None
    ) -> None:
        """Raise a RunError unless data are those that the run was trained on.

        Parameters
        ----------
        dataset
            The data.
        identity
            Which samples its parts have, where that is known already.
        """
        model = read_json(self.folder.path, "model.json")
        if self.checkpoint is None or model is None:
            return
        try:
            tables = model.get("data", {}).items()
            expected = {part: PartIdentity.from_table(table) for part, table in tables}
        except DAMAGE as fault:
            raise RunError(
                f"run {self.folder.path}: model.json is damaged ({type(fault).__name__}: {fault}); "
                f"train it again"
            ) from None
        other = differences(expected, identify_parts(dataset) if identity is None else identity)
        if other:
            raise RunError(
                f"run {self.folder.path}: was trained on other data than this {dataset.name}, "
                f"which has {', '.join(other)}; give the folder of its data with --data-dir, or "
                f"begin another run from its weights with --init-from"
            )

    def remarks_on(self, trainer: Trainer) -> list[str]:
        """Say what is otherwise than before, where the bits of the result may depend on it.

        Parameters
        ----------
        trainer
            With which the run goes on.
        """
        if self.checkpoint is None:
            return ["no checkpoint was made before it stopped: it begins again"]
        state = self.checkpoint.state
        then, now = state["trainer"]["config"], trainer.config.fields()
        said = [
            f"{name} {then.get(name)} before, {now[name]} now"
            for name in now
            if then.get(name) != now[name] and (name != "threads" or now["backend"] == "numpy")
        ]
        machine = environment()
        said += [
            f"{name} {state['environment'].get(name)} before, {machine[name]} now"
            for name in ("fastconv", "processor")
            if state["environment"].get(name) != machine[name]
        ]
        remarks = [f"goes on from step {state['trainer']['step']}"]
        own = repr(trainer.momentum_schedule)
        if state["trainer"].get("momentum_schedule", own) != own:
            remarks.append(f"its momentum is spread over another length: {own} from here on")
        of_groups = [repr(each) for each in trainer.optimizer.schedules]
        if state["trainer"].get("group_schedules", of_groups) != of_groups:
            remarks.append(
                f"the schedules of its groups are spread over another length: "
                f"{', '.join(of_groups)} from here on"
            )
        if state["trainer"]["schedule"] != repr(trainer.schedule):
            remarks.append(
                f"its schedule is spread over another length: {trainer.schedule!r} from here on"
            )
        if said:
            remarks.append(
                f"{', '.join(said)}: the result is not that of an undisturbed run bit for bit"
            )
        elif then.get("threads") != now["threads"]:
            remarks.append(
                f"threads {then.get('threads')} before, {now['threads']} now: the bits are the same"
            )
        return remarks


def reopen(path: str | Path, settings: Sequence[tuple[str, Any]] = ()) -> Resumption:
    """Open the folder of a run that is to go on.

    Parameters
    ----------
    path
        The folder.
    settings
        Keys of the recipe to change, of those that may be: its length.

    Raises
    ------
    RunError
        If there is no run there, or it cannot go on.
    RecipeError
        If another key is to be changed.
    OutputError
        If another process trains there.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise RunError(f"run {folder}: no such folder; give one that fastconv.train wrote")
    if not (folder / "recipe.toml").is_file():
        raise RunError(
            f"run {folder}: recipe.toml is missing, so there is nothing to go on with; train it "
            f"with --out"
        )
    for key, value in settings:
        if key not in FREE:
            raise RecipeError(
                f"--resume: {key} is to become {value!r}; expected only {', '.join(FREE)}, for "
                f"the rest is as it was; begin another run from these weights with --init-from"
            )
    opened = RunFolder.reopened(folder)
    try:
        return _resumption(opened, settings)
    except BaseException:
        opened.close()
        raise


def _resumption(folder: RunFolder, settings: Sequence[tuple[str, Any]]) -> Resumption:
    recipe = load_written_recipe(folder.path / "recipe.toml")
    if settings:
        table = recipe.table()
        set_keys(table, settings)
        recipe = read_recipe(table)
    checkpoint, wrong = newest_checkpoint(folder.path)
    summary = read_json(folder.path, "summary.json")
    if checkpoint is None and summary is not None:
        raise RunError(
            f"run {folder.path}: has no checkpoints, as runs of earlier versions and those with "
            f"--checkpoint-every never; begin another run from its weights with --init-from "
            f"{shlex.quote(str(folder.path))}"
        )
    return Resumption(
        folder,
        recipe,
        checkpoint,
        read_environment(folder.path),
        summary is not None and summary.get("stopped") in ENDS,
        [f"{each}; the one before is taken" for each in wrong],
        summary is not None and summary.get("stopped") == "stopped early",
    )


def reopen_unfinished(path: str | Path, recipe: Recipe) -> Resumption | None:
    """Open a folder if it holds the same run as is asked for, begun and not finished.

    Parameters
    ----------
    path
        The folder.
    recipe
        Of the run that is asked for.

    Returns
    -------
    Resumption or None
        None where there is no folder, or nothing in it.

    Raises
    ------
    OutputError
        If it holds something else.
    """
    folder = Path(path)
    try:
        names = {entry.name for entry in folder.iterdir()}
    except OSError:  # it will be made, or cannot be: RunFolder says so
        return None
    if not names:
        return None
    opened = RunFolder.reopened(folder)
    try:
        names = {entry.name for entry in folder.iterdir()}
        if names <= {"history.csv", "environment.json"} and _is_begun(folder):
            return Resumption(opened, recipe, None, {})
        found = _found_run(opened, names)
        if found is None or found.was_finished:
            what = "a finished run" if found else min(names, default="")
            raise OutputError(
                f"output folder {folder}: not empty ({what}); choose another with --out, or "
                f"remove it{'; train it longer with --resume' if found else ''}"
            )
        key = first_difference(recipe, found.recipe)
        if key:
            raise OutputError(
                f"output folder {folder}: not empty: it holds an unfinished run of another recipe "
                f"({key} differs); choose another with --out, or go on with that one by --resume"
            )
        return dataclasses.replace(found, recipe=dataclasses.replace(
            found.recipe, epochs=recipe.epochs, steps=recipe.steps,
            evaluate_train=recipe.evaluate_train,
        ))  # fmt: skip
    except BaseException:
        opened.close()
        raise


def _found_run(opened: RunFolder, names: set[str]) -> Resumption | None:
    if not {"recipe.toml", "history.csv"} <= names:
        return None
    try:
        return _resumption(opened, ())
    except RunError:  # of an earlier version
        return None


def _is_begun(folder: Path) -> bool:
    """Whether the history has no line, as that of a run that was killed at once."""
    file = folder / "history.csv"
    try:
        return not file.exists() or len(file.read_text(encoding="utf-8").splitlines()) <= 1
    except (OSError, ValueError):  # whatever it is, it is no beginning
        return False
