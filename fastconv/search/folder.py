"""The folder of a search: study, table of trials, summary, page."""

from __future__ import annotations

import contextlib
import csv
import fcntl
from collections.abc import Iterator
from pathlib import Path

from fastconv._files import replace_file, write_toml
from fastconv.runs.run_folder import OutputError, to_json
from fastconv.search.definition import Search
from fastconv.search.outcome import Outcome, csv_rows

_DEFINITION, _STUDY, _LOCK = "search.toml", "study.sqlite3", "search.lock"


class SearchFolder:
    """Writes a search's files, and finds those of the same search again.

    Parameters
    ----------
    path
        The folder; it is made, with its parents. It must be empty, not exist, or be a search's.

    Raises
    ------
    OutputError
        If it cannot be made, or holds other files.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            taken = next(self.path.iterdir(), None)
        except OSError as fault:
            raise OutputError(
                f"output folder {self.path}: cannot be written ({fault.strerror}); choose another "
                f"with --out"
            ) from None
        own = (_DEFINITION, _STUDY, _LOCK)
        if taken is not None and not any((self.path / name).is_file() for name in own):
            raise OutputError(
                f"output folder {self.path}: holds other files ({taken.name}) and no search; "
                f"choose another with --out"
            )
        for name in own:
            if (self.path / name).is_symlink():
                raise OutputError(
                    f"output folder {self.path}: its {name} is a link, and nothing is written "
                    f"through links; remove it, or choose another with --out"
                )

    @property
    def study_path(self) -> Path:
        """URL of the file of SQLite that keeps the trials, where no other storage is asked for."""
        return self.path / _STUDY

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from the folder's own study.

        Raises
        ------
        OutputError
            If one is at work there.
        """
        with open(self.path / _LOCK, "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(
                    f"output folder {self.path}: another search is at work there; wait for it, or "
                    f"let both share one study with --storage"
                ) from None
            yield

    def write_definition(self, search: Search) -> None:
        """Write search.toml: what is searched, with the options of the command."""
        write_toml(search.table(), self.path / _DEFINITION)

    def write_results(self, outcome: Outcome) -> None:
        """Write trials.csv and summary.json."""
        heads, rows = csv_rows(outcome)
        with replace_file(self.path / "trials.csv") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(heads)
            writer.writerows(rows)
        with replace_file(self.path / "summary.json") as file:
            file.write(to_json(outcome.summary()))
