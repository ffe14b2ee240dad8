"""Data sets of recipes, loaded once for all who want them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

from fastconv.data import Dataset
from fastconv.data.identity import PartIdentity, identify_parts
from fastconv.recipe import Recipe
from fastconv.runs.data_of_run import check_data
from fastconv.runs.experiment import load_dataset
from fastconv.runs.saved_run import RunError, SavedRun

_MOST_DATASETS = 3


class Datasets:
    """Data sets of recipes, the last few kept: many trainings share one, in several threads too.

    Parameters
    ----------
    data_dir
        As for :func:`fastconv.data.load`.
    any_data
        Whether other data than those of a run will do.
    tell
        Is told, once for each run, that its data are others or could not be compared.
    """

    def __init__(
        self,
        data_dir: str | Path | None = None,
        *,
        any_data: bool = False,
        tell: Callable[[str], None] = lambda remark: None,
    ) -> None:
        self._data_dir, self._any_data, self._tell = data_dir, any_data, tell
        self._kept: OrderedDict[str, Dataset] = OrderedDict()
        self._identities: dict[str, Mapping[str, PartIdentity]] = {}
        self._told: set[str] = set()
        self._turn = threading.RLock()

    def of(self, recipe: Recipe) -> Dataset:
        """Return the data set of a recipe, with the parts that it asks for."""
        key = repr(recipe.data)
        with self._turn:
            if key not in self._kept:
                self._kept[key] = load_dataset(recipe, self._data_dir)
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST_DATASETS:
                self._kept.popitem(last=False)
            return self._kept[key]

    def identity_of(self, recipe: Recipe) -> Mapping[str, PartIdentity]:
        """Return which samples the parts of that data set have; they are read once."""
        key = repr(recipe.data)
        with self._turn:
            if key not in self._identities:
                self._identities[key] = identify_parts(self.of(recipe))
            return self._identities[key]

    def check(self, run: SavedRun) -> str:
        """Compare the data set with that of a run; return the remark, if there is one.

        Raises
        ------
        RunError
            If they differ, and others will not do.
        """
        dataset, found = self.of(run.recipe), self.identity_of(run.recipe)
        try:
            remark = check_data(run, dataset, any_data=self._any_data, found=found).remark
        except RunError as fault:
            raise RunError(f"{fault}; --again trains it again") from None
        if remark and remark not in self._told:
            self._told.add(remark)
            self._tell(remark)
        return remark
