"""Explanation of what a backend does for one convolution, pooling or dense layer."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, TypeAlias

from fastconv.backends.compiled.instructions.instruction import Instruction, Target
from fastconv.backends.compiled.instructions.work import copied_bytes, is_product, tile_of
from fastconv.backends.compiled.lowering.lowered_kernels import lower_kernel
from fastconv.backends.selection import BackendError, choose_backend, load_module
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec, describe

Spec: TypeAlias = ConvSpec | PoolSpec | DenseSpec

_PASSES: dict[type, tuple[tuple[str, str, int], ...]] = {
    ConvSpec: (
        ("forward", "conv.conv2d_forward", 4),
        ("data gradient", "conv.conv2d_backward_data", 3),
        ("weight gradient", "conv.conv2d_backward_weight", 4),
    ),
    DenseSpec: (
        ("forward", "dense.dense_forward", 4),
        ("data gradient", "dense.dense_backward_data", 3),
        ("weight gradient", "dense.dense_backward_weight", 4),
    ),
    PoolSpec: (
        ("max, forward", "pool.max_pool2d_forward", 3),
        ("max, gradient", "pool.max_pool2d_backward", 3),
        ("average, forward", "pool.avg_pool2d_forward", 2),
        ("average, gradient", "pool.avg_pool2d_backward", 2),
    ),
}
"""Names of the passes, their kernels, and how many arrays these take."""


@dataclass(frozen=True, slots=True)
class KernelUse:
    """One kernel of a pass.

    Parameters
    ----------
    kernel
        Its name in the engine, or for numpy what is done.
    tile
        (rows, vectors) of sums in registers, or None.
    outputs, lanes
        Output channels of a group, and the elements of the vectors that hold them; 0 without tiles.
    copied_bytes
        Bytes of the copy that it makes, 0 for none.
    threads
        Threads that find work in it, at most; None where the BLAS library decides.
    """

    kernel: str
    tile: tuple[int, int] | None = None
    outputs: int = 0
    lanes: int = 0
    copied_bytes: int = 0
    threads: int | None = None

    def __str__(self) -> str:
        parts = [self.kernel]
        if self.tile is not None:
            rows, vectors = self.tile
            parts.append(f"tiles of {rows} rows x {vectors} vector{'s' if vectors > 1 else ''}")
            filled = f"outputs of a group fill {self.outputs} of {self.lanes} lanes"
            parts.append(filled if self.lanes else "samples fill the lanes")
        if self.copied_bytes:
            parts.append(f"copies {self.copied_bytes:,} bytes")
        if self.threads is not None:
            plural = "" if self.threads == 1 else "s"
            parts.append(f"work for {self.threads:,} thread{plural}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Pass:
    """Forward, the data gradient, or the weight gradient.

    Parameters
    ----------
    name
        Which.
    flops
        Dense operations; of pooling, one for each cell of a window.
    stages
        What runs, in this order.
    workspace_bytes
        Bytes of scratch memory; copies are in it.
    """

    name: str
    flops: int
    stages: tuple[KernelUse, ...]
    workspace_bytes: int

    @property
    def copied_bytes(self) -> int:
        """Bytes of all copies: padded images, packed weights, repeated channels."""
        return sum(stage.copied_bytes for stage in self.stages)

    def __str__(self) -> str:
        head = (
            f"{self.name}: {self.flops / 1e6:,.3f} MFLOP, workspace {self.workspace_bytes:,} bytes"
        )
        return "\n".join([head, *(f"  {stage}" for stage in self.stages)])


@dataclass(frozen=True, slots=True)
class Explanation:
    """Result of :func:`explain`; printed, one line for each kernel.

    Parameters
    ----------
    spec
        In its one-line form.
    backend, dtype
        For which.
    instruction_set
        Of the processor; None where a library decides.
    passes
        Forward and gradients.
    """

    spec: str
    backend: str
    dtype: str
    instruction_set: str | None
    passes: tuple[Pass, ...]

    def __str__(self) -> str:
        where = f", {self.instruction_set}" if self.instruction_set else ""
        head = f"{self.spec}\nbackend {self.backend}{where}, {self.dtype}"
        return "\n".join([head, *map(str, self.passes)])


def explain(spec: Spec | str, backend: str | None = None, *, dtype: str = "float32") -> Explanation:
    """Say what a backend does for a convolution, a pooling or a dense layer.

    For the compiled backends it reads the very instructions that a call of the kernel runs. Within
    a training step neighbours may be fused into them: ``python -m fastconv.profile`` shows that.

    Parameters
    ----------
    spec
        A ConvSpec, PoolSpec or DenseSpec, or the text form of one of the first two.
    backend
        As for :func:`fastconv.conv2d`.
    dtype
        "float32" or "float64".

    Returns
    -------
    Explanation
        With a readable ``str``.

    Raises
    ------
    ValueError
        If ``spec`` or ``dtype`` is something else.
    BackendError
        If the backend is not there, or its work cannot be told from its instructions.

    Examples
    --------
    >>> import fastconv
    >>> spec = "g1mb1ic3ih32iw32oc32kh3kw3sh1sw1ph1pw1dh1dw1"
    >>> print(fastconv.explain(spec, "numpy"))  # doctest: +ELLIPSIS
    g1mb1ic3ih32iw32oc32kh3kw3sh1sw1ph1pw1dh1dw1
    backend numpy, float32
    forward: 1.769 MFLOP, workspace ... bytes
      im2col in chunks of about 4 MiB, one BLAS product each
    data gradient: ...
    """
    made = _as_spec(spec)
    if dtype not in ("float32", "float64"):
        raise ValueError(f"explain: dtype is {dtype!r}; expected 'float32' or 'float64'")
    chosen = choose_backend(backend).name
    target = None
    if chosen != "numpy":
        target = _target(chosen)
    passes = [
        _numpy_pass(made, dtype, name, kernel)
        if target is None
        else _native_pass(made, dtype, name, kernel, arrays, target)
        for name, kernel, arrays in _PASSES[type(made)]
    ]
    instruction_set = None if target is None else target.name
    return Explanation(describe(made), chosen, dtype, instruction_set, tuple(passes))


def _as_spec(spec: object) -> Spec:
    if isinstance(spec, (ConvSpec, PoolSpec, DenseSpec)):
        return spec
    if isinstance(spec, str):
        return ConvSpec.parse(spec) if spec.strip().startswith("g") else PoolSpec.parse(spec)
    raise ValueError(
        f"explain: spec is of type {type(spec).__name__}; expected a ConvSpec, a PoolSpec, a "
        f"DenseSpec or a line such as 'g1mb1ic3ih32iw32oc32kh3kw3sh1sw1ph1pw1dh1dw1'"
    )


def _target(backend: str) -> Target:
    if importlib.util.find_spec(f"fastconv.backends.{backend}.engine") is None:
        raise BackendError(
            f"backend {backend!r} does not tell what it does; use 'numpy', 'numba' or 'cython'"
        )
    engine: Any = load_module(backend, "engine")
    target: Target = engine.target()
    return target


def _native_pass(
    spec: Spec, dtype: str, name: str, kernel: str, arrays: int, target: Target
) -> Pass:
    types = [dtype] * arrays
    if kernel.startswith("pool.max"):
        types[2 if kernel.endswith("forward") else 1] = "int32"
    lowered = lower_kernel(kernel, spec, tuple(types), target)
    stages = tuple(_stage(instruction, target) for instruction in lowered.instructions)
    return Pass(name, spec.flops, stages, lowered.workspace_bytes)


def _stage(instruction: Instruction, target: Target) -> KernelUse:
    tile = tile_of(instruction, target) if is_product(instruction) else None
    threads = max(1, instruction.max_threads)
    if tile is None:
        return KernelUse(
            instruction.kernel, copied_bytes=copied_bytes(instruction), threads=threads
        )
    return KernelUse(
        instruction.kernel, (tile.rows, tile.vectors), tile.outputs, tile.lanes, 0, threads
    )


def _numpy_pass(spec: Spec, dtype: str, name: str, kernel: str) -> Pass:
    module, _, function = kernel.partition(".")
    workspace = load_module("numpy", module).workspace_bytes(function, spec, dtype)
    return Pass(name, spec.flops, (KernelUse(_numpy_words(spec, function)),), workspace)


def _numpy_words(spec: Spec, function: str) -> str:
    """Line about the numpy backend; see the modules of ``fastconv.backends.numpy``."""
    if isinstance(spec, PoolSpec):
        return "NumPy loops, one for each cell of the window"
    if isinstance(spec, DenseSpec):
        outer = function == "dense_backward_weight" and spec.batch == 1
        return "one outer product" if outer else "one BLAS product"
    each = "one BLAS product" if spec.groups == 1 else f"{spec.groups} BLAS products, by group,"
    pointwise = spec.kernel == (1, 1) and spec.stride == (1, 1) and not any(map(any, spec.padding))
    if function == "conv2d_backward_data":
        return each.rstrip(",") if pointwise else f"{each} for each tap, added to its pixels"
    columns = "the input as it lies" if pointwise else "im2col"
    added = ", added up" if function == "conv2d_backward_weight" else ""
    return f"{columns} in chunks of about 4 MiB, {each} each{added}"
