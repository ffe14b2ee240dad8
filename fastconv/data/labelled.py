"""Labelled samples for a network that is trained already: its classes, its form of images."""

from __future__ import annotations

import dataclasses
from os import PathLike
from typing import Any

import numpy as np

from fastconv.data.arrangement import Plan, Portion, arranged
from fastconv.data.class_labels import class_numbers, label_values
from fastconv.data.dataset import Samples
from fastconv.data.errors import DataError
from fastconv.data.own import chosen_options, find_source
from fastconv.data.own_options import OwnFit, OwnOptions


def load_labelled(
    path: str | PathLike[str],
    class_names: tuple[str, ...],
    image_shape: tuple[int, int, int],
    *,
    part: str = "test",
    **options: Any,
) -> tuple[Samples, str, tuple[str, ...]]:
    """Load samples of data of one's own, whole and in their order.

    Parameters
    ----------
    path
        As for :func:`fastconv.data.load_own`.
    class_names
        Of the network, in the order of its outputs; empty for a regression.
    image_shape
        (height, width, channels) that the network takes; pictures are brought to it.
    part
        Which part, where the data have parts.
    **options
        As for :func:`fastconv.data.load_own`; how to divide the data is not looked at.

    Returns
    -------
    samples, part, remarks
        The part is "all" where the data have none.

    Raises
    ------
    DataError
        If the data cannot be read, or have a class that is none of the network's.
    """
    given = {key: value for key, value in options.items() if key not in _NOT_LOOKED_AT}
    place, chosen = chosen_options(path, given)
    # As predict brings pictures to the form where nothing was said of it.
    fit: OwnFit = "center_crop" if chosen.effective_fit == "refuse" else chosen.effective_fit
    height, width, channels = image_shape
    chosen = dataclasses.replace(
        chosen,
        fit=fit,
        size=(height, width),
        channels=channels if channels in (1, 3) else None,
    )
    source = find_source(place, chosen)

    def plan() -> Plan:
        remarks: list[str] = []
        found = source.read(remarks)
        name = part if len(found) > 1 else "training"
        rows = found.get(name)
        if rows is None or rows.labels is None or not len(rows):
            raise DataError(
                f"{place}: has no labelled {part} part; expected one of {', '.join(found)}"
            )
        owner = str(place)
        values, remark = label_values(owner, rows.labels, are_targets=chosen.target is not None)
        if remark:
            remarks.append(remark)
        if (values.ndim == 1) != bool(class_names):
            kind = "classes" if values.ndim == 1 else "targets of a regression"
            raise DataError(
                f"{place}: its labels are {kind}, which is not what the network was trained on; "
                f"give data of the same form"
            )
        if class_names:
            said = source.class_names()
            if said and values.dtype.kind == "i":
                values = np.array(said)[values]
            values = class_numbers(owner, values, class_names)
        shown = "all" if len(found) == 1 else name
        return Plan([Portion(shown, owner, rows, np.arange(len(rows)), values)], (), remarks)

    made = arranged(place, source.files, chosen, plan, purpose=f"evaluation-{part}")
    (shown,) = made.ranges
    return Samples(made.images, made.labels), shown, made.remarks


_NOT_LOOKED_AT = frozenset(
    field.name
    for field in dataclasses.fields(OwnOptions)
    if field.name.startswith(("split", "test_", "validation_", "strat", "group", "path"))
) | {"title"}
