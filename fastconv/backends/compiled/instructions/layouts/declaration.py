"""One layout written down: names in order, with marks, and their meanings."""

from __future__ import annotations

from collections.abc import Mapping

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layout import Group, Layout

COMMON_MEANINGS = {
    "a": "the array that is read along its patches: x for a forward pass, dy for a data gradient",
    "b": "the weights",
    "batch": "samples",
    "beta": "what is added at the end, for each channel",
    "bias": "for each output channel of all groups",
    "channels": "channels",
    "classes": "elements of a row",
    "columns": "columns of what is written",
    "db": "gradient of the bias; with UPDATE the bias, which is updated",
    "depth": "elements of a tap, which lie side by side in the array that is read",
    "dw": "gradient of the weights; with UPDATE the weights, which are updated",
    "dx": "gradient of the input",
    "dy": "gradient of the output",
    "elements": "elements of an image",
    "gamma": "for each channel",
    "height": "rows of the images that are read",
    "indices": "int64: for each step of the run, the samples of its batch",
    "inputs": "input channels",
    "key0": "low word of the key",
    "key1": "high word of the key",
    "labels": "int64: the class of each sample",
    "losses": "one for each sample",
    "mean": "for each channel",
    "other": "LEAKY_GRADIENT: the array whose signs choose, with the strides of what is written",
    "outputs": "output channels of a group",
    "packed": "the copy in blocks, each filled up to whole vectors with zeros",
    "pixels": "pixels of all images",
    "rate": "float64: the learning rate of each step of the run",
    "rows": "rows of what is written",
    "samples": "samples",
    "scale": "factor of what is written",
    "slope": "of a leaky ReLU below 0",
    "size": "elements",
    "step": "int64: the number of the run's first step",
    "stream": "number of the stream",
    "sums": "float64: two sums of each channel for each block of rows",
    "w": "the weights",
    "width": "columns of the images that are read",
    "x": "the input",
    "y": "the output",
}
"""Meanings of names that are the same in most layouts."""


def declare(
    kernel: Kernel,
    formula: str,
    pointers: str,
    integers: str = "",
    reals: str = "",
    *,
    field_groups: tuple[Group, ...] = (),
    **meanings: str,
) -> tuple[Kernel, Layout]:
    """Declare a layout.

    Parameters
    ----------
    kernel
        Of which kernel.
    formula
        What it computes.
    pointers
        Names; one that ends in ``?`` may be null.
    integers
        Names; one that ends in ``-`` may be negative. ``{name}`` stands for the fields of a group.
    reals
        Names; ``{name}`` likewise.
    field_groups
        Fields that stand side by side in several kernels.
    meanings
        What each field is that is not one of ``COMMON_MEANINGS``.
    """
    fields = {group.name: " ".join(group.fields) for group in field_groups}
    in_order = [names.format(**fields).split() for names in (pointers, integers, reals)]
    plain = [tuple(name.rstrip("?-") for name in names) for names in in_order]
    pointer_names, integer_names, real_names = plain
    return kernel, Layout(
        kernel,
        formula,
        pointer_names,
        integer_names,
        real_names,
        _meanings(plain, meanings),
        frozenset(name[:-1] for name in in_order[0] if name.endswith("?")),
        frozenset(name[:-1] for name in in_order[1] if name.endswith("-")),
        tuple(
            Group(group.name, tuple(name.rstrip("-") for name in group.fields))
            for group in field_groups
        ),
    )


def _meanings(names: list[tuple[str, ...]], own: Mapping[str, str]) -> dict[str, str]:
    known = COMMON_MEANINGS | dict(own)
    found = {name: known[name] for kind in names for name in kind if name in known}
    if unused := own.keys() - found.keys():
        raise ValueError(f"a meaning for {', '.join(sorted(unused))}, which is no field")
    return found
