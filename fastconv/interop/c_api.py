"""The C interface: plans of public functions for compiled code, by the table of ``fastconv.h``.

C finds the table in the capsule ``_C_API`` of this module. A plan is the instruction stream of the
kernels that the public function of its name calls, with the same checks before. It is made here,
once for each description; C keeps it, and runs it without Python. ``docs/doors.md`` has examples.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.compiled.instructions.instruction import Pointer, encode
from fastconv.functional.arrays import Array, Layout, check_shape, shape_from_nhwc
from fastconv.functional.conv import conv_spec, transposed_spec
from fastconv.functional.dense import dense_spec
from fastconv.functional.pool import input_spec, pool_spec
from fastconv.interop.descriptions import (
    DB,
    DTYPES,
    DW,
    DX,
    FUNCTIONS,
    LAYOUTS,
    read_description,
    words_of,
)
from fastconv.interop.joined_kernels import JoinedKernels, Place
from fastconv.plans.activations import ACTIVATION_KINDS, activation_of
from fastconv.plans.operation import ActivationSpec, InputSpec, LossSpec, SoftmaxSpec
from fastconv.spec import ConvSpec, Shape, SpecError

CAPSULE_NAME = "fastconv.interop.c_api._C_API"

_NAMES = {"rows": "rows", "batch": "rows", "outputs": "classes"}
"""Fields of specs of rows, as ``struct fastconv_rows`` calls them."""


class PlanArray(NamedTuple):
    """One array of a plan.

    Parameters
    ----------
    name
        As the public function calls it.
    shape
        As the caller sees it.
    why
        Where the shape comes from, for an error.
    is_needed
        Whether it must not be NULL.
    """

    name: str
    shape: Shape
    why: str = ""
    is_needed: bool = True


class PlanParts(NamedTuple):
    """What C makes a plan of.

    Parameters
    ----------
    owner
        The public function.
    arrays
        Its arrays, in order.
    stream, relocations
        As :func:`~fastconv.backends.compiled.instructions.instruction.encode` returns them.
    workspace_bytes
        Bytes that the kernels work in, from the beginning of a cache line on.
    """

    owner: str
    arrays: list[PlanArray]
    stream: NDArray[np.int64]
    relocations: NDArray[np.int64]
    workspace_bytes: int


class _Draft:
    """The arrays and kernels of a plan, as they are found."""

    def __init__(self, owner: str, dtype: str) -> None:
        from fastconv.backends.cython import engine

        self._engine = engine
        self.owner, self.dtype = owner, dtype
        self.arrays: list[PlanArray] = []
        self.kernels = JoinedKernels(engine.target())

    def array(
        self, name: str, shape: Shape, why: str = "", dtype: str = "", *, is_needed: bool = True
    ) -> Place | None:
        """Add an array; None where it is left out."""
        self.arrays.append(PlanArray(name, shape, why, is_needed))
        return Place(Pointer(len(self.arrays) - 1), dtype or self.dtype) if is_needed else None

    def add_on_images(
        self, layout: Layout, kernel: str, spec: Any, *images: tuple[Place | None, Shape, bool]
    ) -> None:
        """Add a kernel that takes NHWC on images in any layout.

        Parameters
        ----------
        images
            Place, shape in NHWC, whether they are written.
        """
        given: list[Place | None] = []
        around: list[tuple[InputSpec, Place, Place, bool]] = []
        for place, shape, is_written in images:
            n, h, w, c = shape
            if layout == "NHWC" or place is None or c == 1 or h * w == 1:  # the same memory
                given.append(place)
                continue
            # Places in max pooling are int32: bits are moved, whatever they mean.
            bits = f"float{8 * np.dtype(place.dtype).itemsize}"
            room = self.kernels.room(math.prod(shape), bits)
            given.append(Place(room.pointer, place.dtype))
            around.append((InputSpec(n, h, w, c), Place(place.pointer, bits), room, is_written))
        for sizes, place, room, is_written in around:
            if not is_written:
                self.kernels.add("layout.nchw_to_nhwc", sizes, place, room)
        self.kernels.add(kernel, spec, *given)
        for sizes, place, room, is_written in around:
            if is_written:
                self.kernels.add("layout.nhwc_to_nchw", sizes, room, place)

    def parts(self) -> PlanParts:
        """Encode what was added."""
        lowered = self.kernels.lowered()
        stream, relocations = encode(lowered.instructions, self._engine.address_of)
        return PlanParts(self.owner, self.arrays, stream, relocations, lowered.workspace_bytes)


def _shaped(shape: Sequence[int]) -> Array:
    """Return an array of a shape for the checks of the public functions, without its memory."""
    return np.broadcast_to(np.float32(0), tuple(shape))


def _checked(owner: str, field: str, number: int, choices: Sequence[str]) -> int:
    """Return the number of a choice that there is."""
    if not 0 <= number < len(choices):
        named = ", ".join(f"{each} ({choice})" for each, choice in enumerate(choices))
        raise ValueError(f"{owner}: {field} is {number}; expected one of {named}")
    return number


def _flag(owner: str, field: str, number: int) -> bool:
    return bool(_checked(owner, field, number, ("no", "yes")))


def _layout(owner: str, given: SimpleNamespace) -> Layout:
    return LAYOUTS[_checked(owner, "layout", given.layout, LAYOUTS)]


def _padding(owner: str, given: SimpleNamespace) -> object:
    top, bottom, left, right = given.padding
    return "same" if _flag(owner, "same", given.same) else ((top, bottom), (left, right))


def _bias(draft: _Draft, given: SimpleNamespace, outputs: int, why: str) -> Place | None:
    if given.bias:
        check_shape(draft.owner, "b", _shaped((max(0, given.bias),)), (outputs,), why)
    return draft.array("b", (outputs,), is_needed=bool(given.bias))


def _gradients(
    draft: _Draft, bits: int, x: Shape, w: Shape, outputs: int
) -> tuple[Place | None, Place | None, Place | None]:
    """Add dx, dw and db, each where it is asked for."""
    if not 0 < bits < 2 * DB or (bits & DB and not bits & DW):
        raise ValueError(
            f"{draft.owner}: gradients is {bits}; expected a sum of {DX} (dx), {DW} (dw) and "
            f"{DB} (db), which comes with dw alone"
        )
    return (
        draft.array("dx", x, is_needed=bool(bits & DX)),
        draft.array("dw", w, is_needed=bool(bits & DW)),
        draft.array("db", (outputs,), is_needed=bool(bits & DB)),
    )


def _convolution(draft: _Draft, given: SimpleNamespace) -> None:
    owner = draft.owner
    layout, padding = _layout(owner, given), _padding(owner, given)
    x, w = _shaped(given.x), _shaped(given.w)
    plain = not owner.startswith("conv_transpose2d")
    spec: ConvSpec
    if plain:
        spec, _ = conv_spec(
            owner, x, w, given.stride, padding, given.dilation, given.groups, layout
        )  # fmt: skip
        shape, outputs, why = spec.y_shape, spec.out_channels, "one for each filter of w"
    else:
        spec = transposed_spec(
            owner, x, w, given.stride, padding, given.output_padding, given.dilation, given.groups,
            layout,
        )  # fmt: skip
        shape, outputs, why = spec.x_shape, spec.in_channels, "one for each output channel"
    y = shape_from_nhwc(shape, layout)
    if not owner.endswith("_backward"):
        arrays = [draft.array("x", given.x), draft.array("w", given.w)]
        arrays.append(_bias(draft, given, outputs, why))
        arrays.append(draft.array("out", y, "the shape of the result"))
        module = "nchw" if layout == "NCHW" else "conv"
        draft.kernels.add(f"{module}.{owner}_forward", spec, *arrays)
        return
    result = "the shape of conv2d's result" if plain else "the shape of the result"
    dy = draft.array("dy", y, result)
    x_place, w_place = draft.array("x", given.x), draft.array("w", given.w)
    dx, dw, db = _gradients(draft, given.gradients, given.x, given.w, outputs)
    if layout == "NCHW":
        draft.kernels.add(f"nchw.{owner}", spec, dy, x_place, w_place, dx, dw, db)
        return
    if dx is not None:
        draft.kernels.add(f"conv.{owner}_data", spec, dy, w_place, dx)
    if dw is not None:
        draft.kernels.add(f"conv.{owner}_weight", spec, dy, x_place, dw, db)


def _pooling(draft: _Draft, given: SimpleNamespace) -> None:
    owner = draft.owner
    layout = _layout(owner, given)
    function = owner.removesuffix("_backward")
    kernel = f"pool.{owner}" if owner != function else f"pool.{owner}_forward"
    images: dict[str, tuple[Place | None, Shape, bool]] = {}
    if function == "global_avg_pool2d":
        sizes = input_spec(owner, "the shape of x", given.x, layout)
        channels, one_pixel = (sizes.batch, sizes.channels), (sizes.batch, 1, 1, sizes.channels)
        if owner == function:
            images["x"] = draft.array("x", given.x), sizes.x_shape, False
            images["y"] = draft.array("out", channels), one_pixel, True
        else:
            images["dy"] = draft.array("dy", channels, "(N, C) of x_shape"), one_pixel, False
            images["dx"] = draft.array("dx", given.x), sizes.x_shape, True
        draft.add_on_images(layout, kernel, sizes, *images.values())
        return
    counts = function == "max_pool2d" or _flag(owner, "count_include_pad", given.count_include_pad)
    spec = pool_spec(
        owner, given.x, given.kernel, given.stride if any(given.stride) else None,
        _padding(owner, given), _flag(owner, "ceil_mode", given.ceil_mode), counts, layout,
    )  # fmt: skip
    y_shape = shape_from_nhwc(spec.y_shape, layout)
    is_max = function == "max_pool2d"
    if owner == function:
        images["x"] = draft.array("x", given.x), spec.x_shape, False
        images["y"] = draft.array("out", y_shape), spec.y_shape, True
        if is_max:
            images["where"] = draft.array("where", y_shape, dtype="int32"), spec.y_shape, True
    else:
        why = f"the shape of {function}'s result"
        images["dy"] = draft.array("dy", y_shape, why), spec.y_shape, False
        if is_max:
            where = draft.array("where", y_shape, "the shape of dy", "int32")
            images["where"] = where, spec.y_shape, False
        images["dx"] = draft.array("dx", given.x), spec.x_shape, True
    draft.add_on_images(layout, kernel, spec, *images.values())


def _matrix(draft: _Draft, given: SimpleNamespace) -> None:
    spec = dense_spec(draft.owner, _shaped(given.x), _shaped(given.w))
    y = spec.batch, spec.outputs
    if draft.owner == "dense":
        x, w = draft.array("x", given.x), draft.array("w", given.w)
        b = _bias(draft, given, spec.outputs, "one for each output of w")
        result = draft.array("out", y, "the shape of the result")
        draft.kernels.add("dense.dense_forward", spec, x, w, b, result)
        return
    dy = draft.array("dy", y, "the shape of dense's result")
    x, w = draft.array("x", given.x), draft.array("w", given.w)
    dx, dw, db = _gradients(draft, given.gradients, given.x, given.w, spec.outputs)
    if dx is not None:
        draft.kernels.add("dense.dense_backward_data", spec, dy, w, dx)
    if dw is not None:
        draft.kernels.add("dense.dense_backward_weight", spec, dy, x, dw, db)


def _elements(draft: _Draft, given: SimpleNamespace) -> None:
    is_backward = draft.owner.endswith("_backward")
    kind = ACTIVATION_KINDS[_checked(draft.owner, "kind", given.kind, ACTIVATION_KINDS)]
    function = "gelu" if kind == "gelu_tanh" else kind
    draft.owner = f"{function}_backward" if is_backward else function
    try:
        spec = ActivationSpec(kind, given.size, given.alpha)
    except SpecError as fault:
        raise fault.of(draft.owner) from None
    shape = (given.size,)
    if not is_backward:
        x, y = draft.array("x", shape), draft.array("out", shape)
        draft.kernels.add("activation.activation_forward", spec, x, y)
        return
    keeps = activation_of(kind).keeps
    dy = draft.array("dy", shape, f"the shape of {keeps}")
    x = draft.array("x", shape, is_needed=keeps == "x")
    y = draft.array("y", shape, is_needed=keeps == "y")
    draft.kernels.add(
        "activation.activation_backward", spec, dy, x, y, draft.array("dx", shape)
    )  # fmt: skip


def _rows(draft: _Draft, given: SimpleNamespace) -> None:
    owner, shape = draft.owner, (given.rows, given.classes)
    try:
        softmax_of, loss_of = SoftmaxSpec(*shape), LossSpec(*shape)
    except SpecError as fault:
        raise fault.of(owner, **_NAMES) from None
    why = "one integer for each sample"
    if owner == "softmax_cross_entropy":
        scores = draft.array("scores", shape)
        labels = draft.array("labels", shape[:1], why, "int64")
        losses, probabilities = (
            draft.array("losses", shape[:1]),
            draft.array("probabilities", shape),
        )
        draft.kernels.add(
            f"loss.{owner}_forward", loss_of, scores, labels, losses, probabilities
        )  # fmt: skip
    elif owner == "softmax_cross_entropy_backward":
        probabilities = draft.array("probabilities", shape)
        labels = draft.array("labels", shape[:1], why, "int64")
        dscores = draft.array("dscores", shape)
        draft.kernels.add(f"loss.{owner}", loss_of, probabilities, labels, dscores)
    elif owner.endswith("_backward"):
        dy, y = draft.array("dy", shape, "the shape of y"), draft.array("y", shape)
        draft.kernels.add(f"activation.{owner}", softmax_of, dy, y, draft.array("dx", shape))
    else:
        x, y = draft.array("x", shape), draft.array("out", shape)
        draft.kernels.add(f"activation.{owner}_forward", softmax_of, x, y)


_MAKERS: dict[str, Callable[[_Draft, SimpleNamespace], None]] = {
    "convolution": _convolution, "pooling": _pooling, "matrix": _matrix, "elements": _elements,
    "rows": _rows,
}  # fmt: skip
_OWNERS = {function.number: owner for owner, function in FUNCTIONS.items()}


def make_plan(function: int, words: tuple[int, ...]) -> PlanParts:
    """Make the parts of a plan; C calls it the first time that it meets a description.

    Parameters
    ----------
    function
        Of ``enum fastconv_function``.
    words
        Of the structure that describes it.

    Raises
    ------
    ValueError
        If a value is not what it may be; the message is that of the public function.

    Examples
    --------
    >>> make_plan(99, (0, 20, 10))
    Traceback (most recent call last):
    ValueError: plan: function is 99; expected 1 to 20
    """
    owner = _OWNERS.get(function)
    if owner is None:
        raise ValueError(f"plan: function is {function}; expected 1 to {len(FUNCTIONS)}")
    described = FUNCTIONS[owner]
    if len(words) != words_of(described.fields):
        raise ValueError(
            f"{owner}: the description has {8 * len(words)} bytes; expected "
            f"{8 * words_of(described.fields)}, those of struct fastconv_{described.structure}"
        )
    given = read_description(described.fields, words)
    draft = _Draft(owner, DTYPES[_checked(owner, "dtype", given.dtype, DTYPES)])
    _MAKERS[described.structure](draft, given)
    return draft.parts()


@functools.cache
def _capsule() -> object:
    from fastconv.backends.cython import engine

    return engine.c_api(make_plan, CAPSULE_NAME)


def __getattr__(name: str) -> object:
    """Make the capsule when it is first asked for: it needs the engine in C."""
    if name == "_C_API":
        return _capsule()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
