"""Tables, CSV or Parquet, as sources: one file, or one for each part in a folder."""

from __future__ import annotations

from pathlib import Path

from fastconv.data.csv_table import read_csv
from fastconv.data.errors import DataError
from fastconv.data.own_options import OwnOptions
from fastconv.data.source import Rows, Source, part_named

_ENDINGS = (".csv", ".tsv", ".parquet")


def read_table(path: Path, options: OwnOptions, *, requires_label: bool = True) -> Rows:
    """Read a CSV or a Parquet file, whichever its ending says.

    Parameters
    ----------
    path
        The file.
    options
        Which columns are what.
    requires_label
        Whether a table without a column of classes is a mistake.
    """
    if path.suffix.lower() == ".parquet":
        from fastconv.data.parquet_table import read_parquet

        return read_parquet(path, options, requires_label=requires_label)
    return read_csv(path, options, requires_label=requires_label)


def tables_of_parts(folder: Path) -> dict[str, Path]:
    """Return the tables of a folder whose names say which part they are.

    Raises
    ------
    DataError
        If two are the same part.
    """
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        part = part_named(file.stem)
        if file.suffix.lower() not in _ENDINGS or part is None or file.name.startswith("."):
            continue
        if part in found:
            raise DataError(
                f"{folder}: {found[part].name} and {file.name} are both the {part} part; take one "
                f"away, or give the path of a file"
            )
        found[part] = file
    return found


def table_files(path: Path, options: OwnOptions) -> Source:
    """Find the tables of a path.

    Parameters
    ----------
    path
        One file; or a folder with train, and perhaps validation and test.
    options
        Which columns are what.

    Raises
    ------
    DataError
        If a folder has none for training.
    """
    files = tables_of_parts(path) if path.is_dir() else {"training": path}
    if "training" not in files:
        raise DataError(
            f"{path}: there is no table for training; expected a file such as train.csv beside "
            f"{', '.join(file.name for file in files.values())}"
        )

    def read(remarks: list[str]) -> dict[str, Rows]:
        return {part: read_table(file, options) for part, file in files.items()}

    kind = f"{files['training'].suffix[1:].lower()} table"
    return Source(path, kind, tuple(files.values()), read)
