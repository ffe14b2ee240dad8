"""Kernels on images in either layout: what is computed as it lies, and what is transposed.

The kernels of every backend take NHWC. Those of :data:`_ON_NCHW` have a twin that takes NCHW as
it lies, or transposes it chunk by chunk within its one launch. For all others, images in NCHW are
transposed before, and transposed back after.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.backends.selection import choose_backend
from fastconv.functional.array_types import module_of
from fastconv.functional.arrays import FLOATS, Array, Layout, dense, is_dense, launch
from fastconv.plans.operation import InputSpec

_ON_NCHW = {"conv": "nchw"}
"""Modules of kernels, and the modules of their twins for NCHW."""
_LAST, _FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
"""Axes of NCHW in the order of NHWC, and the other way."""
_WORTH_A_KERNEL = {"cython": 1 << 14, "numba": 1 << 17}
"""Elements from which on a backend's kernel is faster than NumPy's strided copy: what its call
costs, against several times the bandwidth."""
_LEAST_FOR_A_KERNEL = min(_WORTH_A_KERNEL.values())


def kernels_of(module: str, layout: Layout) -> str:
    """Return the module of kernels that take images in a layout, where it is not transposed."""
    return _ON_NCHW[module] if layout == "NCHW" else module


@functools.cache
def _twin(kernel: str) -> str | None:
    """The kernel for NCHW, where there is one."""
    module, _, function = kernel.partition(".")
    twin = _ON_NCHW.get(module)
    return None if twin is None else f"{twin}.{function}"


def launch_on_images(
    backend: str | None,
    kernel: str,
    spec: object,
    dtype: np.dtype[np.generic],
    layout: Layout,
    images: str,
    *arrays: Array | None,
) -> None:
    """Call one kernel of the chosen backend on images in either layout.

    Parameters
    ----------
    backend, spec
        The backend that was asked for, and the kernel's spec.
    kernel
        ``module.function``, as it is for NHWC.
    dtype
        Of the call.
    layout
        Of the images, and of the weights of a convolution.
    images
        A letter for each array: "r" for images that are read, "w" for images that are written,
        "." for what has no layout.
    *arrays
        In the kernel's order. All but images that are read are dense, and so are those of a kernel
        that has a twin.
    """
    twin = _twin(kernel)
    if twin is not None:
        launch(backend, twin if layout == "NCHW" else kernel, spec, dtype, *arrays)
        return
    given, written = list(arrays), []
    for number, letter in enumerate(images):
        array = given[number]
        if array is None or letter == ".":
            continue
        if layout == "NHWC":
            given[number] = dense(array)
        elif letter == "r":
            given[number] = to_nhwc(array, backend)
        else:
            n, c, h, w = array.shape
            if c == 1 or h * w == 1:  # the same memory in both layouts
                given[number] = array.reshape(n, h, w, c)
                continue
            room = module_of(array).empty((n, h, w, c), array.dtype)
            given[number] = room
            written.append((room, array))
    launch(backend, kernel, spec, dtype, *given)
    for room, array in written:
        to_nchw(room, array, backend)


def to_nhwc(images: Array, backend: str | None) -> Array:
    """Return images in NCHW as a kernel takes them in NHWC: copied unless they lie so already."""
    transposed: Array = images.transpose(_LAST)
    is_small = images.size < _LEAST_FOR_A_KERNEL and isinstance(images, np.ndarray)
    if is_small or not is_dense(images) or is_dense(transposed):
        return dense(module_of(images).ascontiguousarray(transposed))
    out: Array = module_of(images).empty(transposed.shape, images.dtype)
    _transpose(images, _LAST, out, "layout.nchw_to_nhwc", backend)
    return out


def to_nchw(images: Array, out: Array, backend: str | None) -> None:
    """Write images in NHWC over others in NCHW."""
    _transpose(images, _FIRST, out, "layout.nhwc_to_nchw", backend)


def _is_worth_a_kernel(array: Array, backend: str | None) -> bool:
    """Whether a kernel of the backend moves an array faster than a strided copy."""
    if not is_dense(array):
        return False
    if not isinstance(array, np.ndarray):
        return True
    return array.size >= _WORTH_A_KERNEL.get(choose_backend(backend).name, array.size + 1)


def _transpose(
    array: Array, axes: tuple[int, ...], out: Array, kernel: str, backend: str | None
) -> None:
    """Write images into others of another layout."""
    is_small = array.size < _LEAST_FOR_A_KERNEL and isinstance(array, np.ndarray)
    if not is_small and _is_worth_a_kernel(array, backend):
        n, c, h, w = array.shape if kernel.endswith("nhwc") else out.shape
        # Places in max pooling are int32: bits are moved, whatever they mean.
        bits = array.dtype if array.dtype in FLOATS else np.dtype(f"f{array.itemsize}")
        launch(backend, kernel, InputSpec(n, h, w, c), bits, array.view(bits), out.view(bits))
    else:
        out[...] = array.transpose(axes)
