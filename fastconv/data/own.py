"""Data of one's own: what kind they are of, and a data set made of them."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fastconv._files import as_text
from fastconv.data.arrangement import Arranged, Plan, Portion, arranged
from fastconv.data.class_labels import class_names_of, class_numbers, label_values
from fastconv.data.dataset import Array, Dataset, IndexArray, Samples, require_labels
from fastconv.data.errors import DataError, MissingData
from fastconv.data.own_options import OwnOptions, data_name
from fastconv.data.part_division import divide, divide_by_file
from fastconv.data.picture_folder import ENDINGS, picture_folder
from fastconv.data.source import PARTS, Rows, Source

_TABLES = (".csv", ".tsv", ".parquet")
_KINDS = (
    "a folder or a .zip with one folder of pictures for each class, .npz, .npy, .csv, .parquet, "
    "IDX files, cifar-100-python or its .tar.gz, or SVHN's train_32x32.mat"
)


def load_own(path: str | PathLike[str], *, title: str | None = None, **options: Any) -> Dataset:
    """Load data of one's own.

    Parameters
    ----------
    path
        A folder, or a zip archive, with one folder of pictures for each class (perhaps within
        ``train``, ``validation`` and ``test``); an .npz file or .npy files of images and labels; a
        CSV or a Parquet file; IDX files; CIFAR-100's Python version; SVHN's .mat files.
    title
        Name of the data set; by default that of the file or folder.
    **options
        The other fields of :class:`fastconv.data.OwnOptions`.

    Returns
    -------
    Dataset
        Test and validation parts are held out where the data have none.

    Raises
    ------
    MissingData
        If there is no such file or folder.
    DataError
        If the data are not as they must be; the message names what and where.
    """
    place, chosen = chosen_options(path, options)
    source = find_source(place, chosen)
    split_file = () if chosen.split_file is None else (Path(chosen.split_file).expanduser(),)
    for file in split_file:
        if not file.is_file():
            raise MissingData(f"{file}: there is no such file; correct data.split_file")
    made = arranged(place, (*source.files, *split_file), chosen, lambda: plan_of(source, chosen))
    name = as_text(data_name(str(place.resolve()))) if title is None else title
    return _dataset(name, made)


def chosen_options(path: str | PathLike[str], options: dict[str, Any]) -> tuple[Path, OwnOptions]:
    """Check a path and options.

    Raises
    ------
    MissingData
        If there is no such file or folder.
    DataError
        If an option is out of range, or the path is the address of a page.
    """
    text = str(path)
    if "://" in text:
        raise DataError(
            f"{text}: is an address, and nothing is fetched; download it, and give the path of "
            f"the file"
        )
    place = Path(text).expanduser()
    try:
        listed: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in options.items()
        }
        chosen = OwnOptions(text, **listed)
    except DataError:
        raise
    except ValueError as fault:
        raise DataError(f"{place}: {fault}") from None
    if not place.exists():
        raise MissingData(
            f"{place}: there is no such file or folder; correct the path, or say with --data-dir "
            f"where the data of a run are now"
        )
    return place, chosen


def find_source(path: Path, options: OwnOptions) -> Source:
    """Decide what kind of data a path is.

    Raises
    ------
    DataError
        If it is of none.
    """
    try:
        return _folder_source(path, options) if path.is_dir() else _file_source(path, options)
    except OSError as fault:
        raise DataError(
            f"{fault.filename or path}: cannot be read ({fault.strerror or fault}); correct its "
            f"permissions"
        ) from None
    except DataError:
        raise
    except ValueError as fault:  # such as a group of pictures that is no regular expression
        raise DataError(f"{path}: {fault}") from None


def _file_source(path: Path, options: OwnOptions) -> Source:
    from fastconv.data.array_files import array_file
    from fastconv.data.cifar100 import cifar100_place, cifar100_source
    from fastconv.data.idx_pairs import idx_pairs, idx_shape
    from fastconv.data.svhn import svhn_source
    from fastconv.data.tables import table_files

    ending = path.suffix.lower()
    if ending in (".npz", ".npy"):
        return array_file(path, options)
    if ending in _TABLES:
        return table_files(path, options)
    if ending == ".zip":
        from fastconv.data.picture_archive import picture_archive

        return picture_archive(path, options)
    if ending == ".mat":
        return svhn_source(path)
    if cifar100_place(path) is not None:
        return cifar100_source(path, options)
    if idx_shape(path) is not None:
        return idx_pairs(path)
    if ending in ENDINGS:
        raise DataError(
            f"{path}: is one picture; expected a folder with one folder of pictures for each class"
        )
    raise DataError(f"{path}: is of no known kind; expected {_KINDS}")


def _folder_source(path: Path, options: OwnOptions) -> Source:
    from fastconv.data.array_files import array_file
    from fastconv.data.cifar100 import cifar100_place, cifar100_source
    from fastconv.data.idx_pairs import idx_files, idx_pairs
    from fastconv.data.svhn import svhn_files, svhn_source
    from fastconv.data.tables import table_files, tables_of_parts

    if idx_files(path):
        return idx_pairs(path)
    if cifar100_place(path) is not None:
        return cifar100_source(path, options)
    if svhn_files(path):
        return svhn_source(path)
    inner = list(path.iterdir())
    if any(file.suffix.lower() in (".npy", ".npz") and file.is_file() for file in inner):
        return array_file(path, options)
    if tables_of_parts(path):
        return table_files(path, options)
    return picture_folder(path, options)


def plan_of(source: Source, options: OwnOptions) -> Plan:
    """Read what there is, number its classes, and divide it into parts.

    Parameters
    ----------
    source
        The data.
    options
        How they are divided.

    Raises
    ------
    DataError
        If a part has no labels, there is one class only, or a class that training lacks.
    """
    remarks: list[str] = []
    found = dict(source.read(remarks))
    owner = str(source.path)
    values = {}
    for part, rows in found.items():
        if rows.labels is None:
            raise DataError(f"{owner}: the {part} part has no labels; add them")
        if not len(rows):
            raise DataError(f"{owner}: the {part} part has no samples; add some")
        values[part], remark = label_values(
            f"{owner} ({part} part)", rows.labels, are_targets=options.target is not None
        )
        if remark and remark not in remarks:
            remarks.append(remark)
    names, labels = _numbered(owner, source.class_names(), values)
    portions = _portions(owner, found, labels, options)
    if names:
        _require_every_class(owner, portions, names)
    return Plan(portions, names, remarks)


def _numbered(
    owner: str, said: tuple[str, ...], values: dict[str, Array]
) -> tuple[tuple[str, ...], dict[str, Array]]:
    """Return the names of the classes, and class numbers or targets by part."""
    training = values["training"]
    for part, each in values.items():
        if each.shape[1:] != training.shape[1:]:
            raise DataError(
                f"{owner}: the labels of the {part} part have shape {each.shape} but those of the "
                f"training part {training.shape}; expected classes, or targets, in both"
            )
    if training.ndim == 2:
        wide = np.result_type(*values.values())
        return (), {part: each.astype(wide) for part, each in values.items()}
    if said and training.dtype.kind == "i":
        for part, each in values.items():
            require_labels(f"{owner} ({part} part)", each, said)
        return said, values
    names = said or class_names_of(training)
    labels = {
        part: class_numbers(f"{owner} ({part} part)", each, names) for part, each in values.items()
    }
    return names, labels


def _require_every_class(owner: str, portions: list[Portion], names: tuple[str, ...]) -> None:
    used = {portion.part: set(portion.labels[portion.indices].tolist()) for portion in portions}
    training = used["training"]
    if len(names) == 1 or len(set.union(*used.values())) == 1:
        only = names[next(iter(training))] if training else names[0]
        raise DataError(
            f"{owner}: there is one class only, {only!r}; expected two or more to tell apart"
        )
    for part, numbers in used.items():
        for number in sorted(numbers - training):
            raise DataError(
                f"{owner}: class {names[number]!r} is in the {part} part, but the training part "
                f"lacks it; add samples, or divide otherwise (data.split_seed, data.group, "
                f"data.split_file)"
            )


def _portions(
    owner: str, found: dict[str, Rows], labels: dict[str, Array], options: OwnOptions
) -> list[Portion]:
    """Hold out of the training part what parts are missing."""
    rows, numbers = found["training"], labels["training"]
    indices = _training_indices(owner, rows, numbers, set(found), options)
    portions = []
    for part in PARTS:
        if part in indices and len(indices[part]):
            chosen = indices[part]
            if part == "training":
                chosen = _mixed(chosen, numbers, options.split_seed or 0)
            portions.append(Portion(part, owner, rows, chosen, numbers))
        elif part in found and part != "training":
            there = np.arange(len(found[part]))
            portions.append(Portion(part, owner, found[part], there, labels[part]))
    return portions


def _mixed(indices: IndexArray, numbers: Array, seed: int) -> IndexArray:
    """Draw an order for samples that lie class by class: their first or last are a fair part."""
    if numbers.ndim != 1 or (np.diff(numbers[indices]) < 0).any():
        return indices
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,))).permutation(indices)


def _training_indices(
    owner: str, rows: Rows, numbers: Array, parts: set[str], options: OwnOptions
) -> dict[str, IndexArray]:
    if options.split_file is not None:
        if len(parts) > 1:
            raise DataError(
                f"{owner}: the data have the parts {', '.join(sorted(parts))} already, and "
                f"data.split_file is {options.split_file!r}; leave it out"
            )
        names = rows.names or [str(number) for number in range(len(rows))]
        return divide_by_file(owner, names, Path(options.split_file).expanduser())
    shares = {"test": options.test_share, "validation": options.validation_share}
    shares = {part: share for part, share in shares.items() if part not in parts}
    is_stratified = options.stratify is not False and numbers.ndim == 1
    return divide(
        owner,
        numbers if is_stratified else None,
        len(rows),
        shares,
        options.split_seed or 0,
        rows.groups,
    )


def _dataset(name: str, made: Arranged) -> Dataset:
    def samples(part: str) -> Samples:
        start, end = made.ranges.get(part, (0, 0))
        return Samples(made.images[start:end], made.labels[start:end])

    validation = samples("validation") if "validation" in made.ranges else None
    return Dataset(
        name, samples("training"), samples("test"), made.class_names, validation, made.remarks,
        made.bits,
    )  # fmt: skip
