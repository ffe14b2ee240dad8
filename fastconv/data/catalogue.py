"""The data sets by name, and where their files are looked for."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from fastconv.data.dataset import Dataset
from fastconv.data.download import CIFAR10_FILES, MNIST_FILES, RemoteFile, download
from fastconv.data.errors import DataError, MissingData
from fastconv.data.names import DATASETS, OWN


@dataclass(frozen=True)
class _Source:
    """Loader of one data set: the function load_NAME of the module of its name.

    It takes a folder and options; or options alone where there are no files, because the data come
    with a library or are made in code.
    """

    name: str
    files: tuple[RemoteFile, ...] = ()

    @property
    def load(self) -> Callable[..., Dataset]:
        """The function; its module is imported now, and those of other data sets are not."""
        module = importlib.import_module(f"fastconv.data.{self.name}")
        loader: Callable[..., Dataset] = getattr(module, f"load_{self.name}")
        return loader


_SOURCES = {
    source.name: source
    for source in (
        _Source("digits"),
        _Source("mnist", MNIST_FILES),
        _Source("cifar10", CIFAR10_FILES),
        _Source("curve"),
    )
}


def load(name: str, data_dir: str | PathLike[str] | None = None, **options: Any) -> Dataset:
    """Load a data set by its name.

    Parameters
    ----------
    name
        One of :data:`DATASETS`; or "own" for :func:`fastconv.data.load_own`, whose path is
        ``data_dir``.
    data_dir
        Folder of the data sets: the files are in ``data_dir/name``, or in ``data_dir`` itself where
        that does not exist. By default the folder that the environment variable FASTCONV_DATA
        names; without that too, the files are downloaded once and kept in the user's cache folder.
        Nothing is downloaded when a folder is given. A data set without files, such as digits,
        needs no folder and looks at none.
    **options
        Of the data set, such as ``training`` and ``validation`` of
        :func:`fastconv.data.load_cifar10`.

    Returns
    -------
    Dataset

    Raises
    ------
    MissingData
        If the folder or a file is not there, or no mirror has it.
    DataError
        If there is no such data set, or its files are damaged.
    TypeError
        If the data set has no such option.

    Examples
    --------
    >>> len(load("digits").training)
    1297
    """
    if name == OWN:
        from fastconv.data.own import load_own

        if data_dir is None:
            raise MissingData(
                f"{OWN}: there is no path of the data; give it by --data PATH, in a recipe "
                f"as data.path, or as data_dir"
            )
        return load_own(data_dir, **options)
    source = _SOURCES.get(name)
    if source is None:
        nearest = difflib.get_close_matches(name.lower(), DATASETS, n=1, cutoff=0)
        raise DataError(
            f"load: name is {name!r}; expected one of {', '.join(DATASETS)}; "
            f"did you mean {nearest[0]!r}?"
        )
    if not source.files:
        return source.load(**options)
    given = os.environ.get("FASTCONV_DATA") or None if data_dir is None else data_dir
    if given is None:
        return source.load(download(name, source.files), **options)
    return source.load(_folder(name, source, Path(given).expanduser(), data_dir is None), **options)


def has_files(name: str) -> bool:
    """Whether a data set is read from files, which there may be others of, rather than made."""
    return name == OWN or bool(_SOURCES[name].files)


def _folder(name: str, source: _Source, data_dir: Path, from_environment: bool) -> Path:
    if not data_dir.is_dir():
        origin = "FASTCONV_DATA" if from_environment else "--data-dir"
        raise MissingData(
            f"{name}: the data folder {data_dir} (from {origin}) is not there; create it with "
            f"{', '.join(file.name for file in source.files)} in {data_dir / name}, or correct "
            f"{origin}; with neither --data-dir nor FASTCONV_DATA the files are downloaded"
        )
    folder = data_dir / name
    return folder if folder.is_dir() else data_dir
