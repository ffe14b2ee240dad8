"""Dividing samples into parts: by shares, evenly by class, by group, or as a file says."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastconv.data.dataset import IndexArray
from fastconv.data.errors import DataError
from fastconv.data.source import part_named

Indices = dict[str, IndexArray]


def divide(
    owner: str,
    labels: IndexArray | None,
    count: int,
    shares: dict[str, float],
    seed: int,
    groups: Sequence[str] | None = None,
) -> Indices:
    """Draw which samples are held out.

    Parameters
    ----------
    owner
        The data, for error messages.
    labels
        Class numbers, for about the same share of each class in every part; every class keeps a
        sample for training. None draws without looking at them.
    count
        Samples there are.
    shares
        Of the parts that are held out, such as {"test": 0.2}; each of them that is more than 0
        gets a sample at least.
    seed
        Of the draw.
    groups
        Of the samples: those of one group are in one part. ``labels`` are not looked at then.

    Returns
    -------
    dict
        Indices in rising order, by part; "training" has the rest.

    Raises
    ------
    DataError
        If there are too few samples or groups.

    Examples
    --------
    >>> {part: len(i) for part, i in divide("x", None, 10, {"test": 0.2}, seed=0).items()}
    {'test': 2, 'training': 8}
    """
    wanted = {part: share for part, share in shares.items() if share > 0}
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    if not wanted:
        return {"training": np.arange(count)}
    units, what = count, "samples"
    if groups is not None:
        units, what = len(set(groups)), "groups"
    if units <= len(wanted):
        raise DataError(
            f"{owner}: there are {units} {what} for {len(wanted) + 1} parts (training, "
            f"{', '.join(wanted)}); give more, or hold nothing out with data.test_fraction=0 and "
            f"data.validation_fraction=0"
        )
    part_of = np.zeros(count, np.int64)
    if groups is not None:
        _by_group(part_of, groups, list(wanted.values()), generator)
    else:
        _by_class(part_of, labels, list(wanted.values()), generator)
    parts = {part: np.flatnonzero(part_of == n + 1) for n, part in enumerate(wanted)}
    return {**parts, "training": np.flatnonzero(part_of == 0)}


def _by_class(
    part_of: IndexArray,
    labels: IndexArray | None,
    shares: Sequence[float],
    generator: np.random.Generator,
) -> None:
    count = len(part_of)
    sizes = [max(1, round(share * count)) for share in shares]
    while sum(sizes) >= count:
        sizes[int(np.argmax(sizes))] -= 1
    shuffled = generator.permutation(count)
    if labels is None:
        start = 0
        for number, size in enumerate(sizes):
            part_of[shuffled[start : start + size]] = number + 1
            start += size
        return
    # Each class is spread evenly over a line; what a part takes at even steps of that line has the
    # shares of the classes, and exactly its size. The first of each class stays for training.
    classes = labels[shuffled]
    order = np.argsort(classes, kind="stable")
    _, starts, lengths = np.unique(classes[order], return_index=True, return_counts=True)
    position = np.empty(count)
    for start, length in zip(starts, lengths, strict=True):
        members = order[start : start + length]
        position[members[0]] = np.inf
        position[members[1:]] = (np.arange(length - 1) + generator.random()) / max(1, length - 1)
    line = shuffled[np.argsort(position, kind="stable")]
    free = count - len(starts)
    start = 0
    for number, size in enumerate(sizes):
        if free <= 0:
            break
        size = min(size, max(0, free - start))
        part_of[line[start : start + size]] = number + 1
        start += size


def _by_group(
    part_of: IndexArray,
    groups: Sequence[str],
    shares: Sequence[float],
    generator: np.random.Generator,
) -> None:
    """Fill the parts with whole groups, in an order that is drawn, until each has its share."""
    names, member_of = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    member_of = member_of.reshape(-1)
    sizes = np.bincount(member_of)
    order = generator.permutation(len(names)).tolist()
    for number, share in enumerate(shares):
        wanted, taken = share * len(part_of), 0
        still = len(shares) - number  # parts behind this one, with training, need a group each
        while len(order) > still and (taken == 0 or taken + sizes[order[0]] / 2 <= wanted):
            group = order.pop(0)
            part_of[member_of == group] = number + 1
            taken += int(sizes[group])


def divide_by_file(owner: str, names: Sequence[str], file: Path) -> Indices:
    """Read from a CSV file of ``name,part`` which sample is in which part.

    Parameters
    ----------
    owner
        The data, for error messages.
    names
        Of the samples, such as their paths within the folder.
    file
        A line for each sample that is held out: its name, and train, validation or test; a name
        alone is for the test. What is not named is for training.

    Raises
    ------
    DataError
        If the file cannot be read, or a line names no sample, no part, or a sample again.
    """
    index_of = {name: index for index, name in enumerate(names)}
    part_of: dict[int, str] = {}
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            for number, row in enumerate(csv.reader(lines), 1):
                cells = [cell.strip() for cell in row]
                if not any(cells) or (number == 1 and cells[0].lower() in ("name", "file")):
                    continue
                _take_line(f"{file}: line {number}", owner, cells, index_of, part_of)
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        reason = getattr(fault, "strerror", None) or " ".join(str(fault).split())
        raise DataError(
            f"{file}: the file of parts cannot be read ({reason}); correct data.split_file"
        ) from None
    parts: dict[str, list[int]] = {"training": []}
    for index in range(len(names)):
        parts.setdefault(part_of.get(index, "training"), []).append(index)
    if not parts["training"]:
        raise DataError(f"{file}: holds out every sample of {owner}; leave some for training")
    return {part: np.array(indices, np.int64) for part, indices in parts.items()}


def _take_line(
    where: str, owner: str, cells: list[str], index_of: dict[str, int], part_of: dict[int, str]
) -> None:
    part = part_named(cells[1]) if len(cells) > 1 else "test"
    if part is None or len(cells) > 2:
        raise DataError(f"{where}: is {','.join(cells)!r}; expected name,part with part train, "
                        f"validation or test")  # fmt: skip
    index = index_of.get(cells[0])
    if index is None:
        example = next(iter(index_of), "")
        raise DataError(
            f"{where}: {owner} has no sample {cells[0]!r}; expected a name such as {example!r}"
        )
    if part_of.setdefault(index, part) != part:
        raise DataError(f"{where}: {cells[0]!r} is in two parts; leave one of them")
