"""What instructions declare to read and write is what their kernels do."""

import math
from dataclasses import replace

import numpy as np
import pytest
from guarded_memory import GuardedMemory, Processor
from kernel_calls import KERNELS, calls_of, specs_of
from watched import parameters_of

from fastconv.backends.compiled.instructions.instruction import Pointer, Target
from fastconv.backends.compiled.instructions.kernels import BF16_KERNELS
from fastconv.backends.compiled.instructions.layouts import LAYOUTS
from fastconv.backends.compiled.lowering.batch_blocking import block_batches
from fastconv.backends.compiled.lowering.lowered_kernels import lower_kernel
from fastconv.backends.compiled.lowering.lowering import lower
from fastconv.backends.selection import backend_state
from fastconv.layers import (
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    LeakyReLU,
    LogSoftmax,
    MaxPool2D,
    ReLU,
    Residual,
    Tanh,
)  # fmt: skip
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Augmentation, Preprocessing

if not backend_state("cython").works:
    pytest.skip(backend_state("cython").reason, allow_module_level=True)

from fastconv.backends.cython import _engine


def processors():
    for each in _engine.instruction_sets():
        addresses = _engine.kernel_addresses(each["name"])
        yield Processor(lambda *key, addresses=addresses: addresses[key], Target(**each))


PROCESSORS = list(processors())
PROCESSOR = pytest.mark.parametrize("processor", PROCESSORS, ids=lambda each: each.target.name)


def dtypes_of(processor):
    """Both on the best instruction set, one on the others: what differs is the width of vectors."""
    return ("float32", "float64") if processor is PROCESSORS[0] else ("float32",)


def watch_all(instructions, memory, processor):
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        for instruction in instructions:
            # Whether or not its condition holds.
            fault = processor.watch(replace(instruction, condition=None), memory, rng)
            assert fault is None, f"{instruction}: {fault}"


def arrays_of(call):
    """The call's arrays in order, those that are written full of zeros."""
    there = {name: np.zeros(*size) for name, size in call.outputs.items()}
    there |= {k: v for k, v in (call.reads | call.updates).items() if v is not None}
    return [there.get(name) for name in parameters_of(call.kernel)]


def lowered_kernels_of(kernel, dtype, target):
    """The arrays and the lowered of every case of a kernel of the contract."""
    for spec in specs_of(kernel):
        for call in calls_of(kernel, spec, np.dtype(dtype).type):
            arrays = arrays_of(call)
            types = tuple(None if a is None else a.dtype.name for a in arrays)
            yield arrays, lower_kernel(kernel, call.spec, types, target)


OF_THE_CONTRACT = [k for k in KERNELS if not k.startswith(("random.", "input."))]
"""Those of the input and random words have specs of their own; steps below begin with them."""


@PROCESSOR
@pytest.mark.parametrize("kernel", OF_THE_CONTRACT)
def test_kernels_of_the_contract(kernel, processor):
    for dtype in dtypes_of(processor):
        for arrays, lowered in lowered_kernels_of(kernel, dtype, processor.target):
            there = {n: a for n, a in enumerate(arrays) if a is not None}
            sizes = {n: a.nbytes for n, a in there.items()} | {-1: lowered.workspace_bytes}
            watch_all(lowered.instructions, GuardedMemory(sizes, there), processor)


CLASSES = 10
NETWORKS = {
    "behind pools": (
        (Conv2D(16), LeakyReLU(0.1), Conv2D(32), ReLU(), MaxPool2D(2), Conv2D(16), ReLU(),
         MaxPool2D(2), Flatten(), Dense(64), ReLU(), Dense(CLASSES)),
        (16, 17, 3), "min_max",
    ),
    "few channels, strided": (
        (Conv2D(8, stride=2, padding=1), ReLU(), Conv2D(5, kernel=2, stride=2), ReLU(),
         ConvTranspose2D(3, stride=2), Tanh(), MaxPool2D(3, stride=1), Flatten(), Dense(CLASSES)),
        (13, 12, 1), "scale",
    ),
    "Winograd and norms": (
        (Conv2D(32, padding=1), BatchNorm(), ReLU(),
         Residual([Conv2D(32, padding=1), ReLU(), Conv2D(32, 1), BatchNorm()]), ReLU(),
         Dropout(0.3), Conv2D(32, groups=32), GlobalAvgPool2D(), Dense(CLASSES), LogSoftmax()),
        (10, 12, 16), "standardize",
    ),
    "dense": (
        (Flatten(), Dense(256), ReLU(), Dense(40), Dense(CLASSES)), (1, 1, 100), "min_max",
    ),
    "dense, for several threads": (
        (Conv2D(13, kernel=1), Flatten(), Dense(CLASSES)), (27, 27, 2), "scale",
    ),
    "regression": ((Flatten(), Dense(20), Tanh(), Dense(3)), (4, 4, 1), "min_max"),
}  # fmt: skip
IMAGES = 40


def step_of(name, dtype, batch, kind, target):
    """The memory and the instructions of one training step."""
    layers, shape, scaling = NETWORKS[name]
    network = Sequential(layers, shape, dtype=dtype)
    last = layers[-1]
    loss = "nll" if isinstance(last, LogSoftmax) else "softmax_cross_entropy"
    if last.kind == "dense" and last.units != CLASSES:
        loss = "mean_squared_error"
    purpose = Purpose(True, True, loss, Optimizer(kind, l2=0.01).spec(network))
    mean = np.full(shape[-1], 100.0)
    both = {"mean": mean, "std": mean} if scaling == "standardize" else {}
    preprocessing = Preprocessing(scaling, **both)
    # Bytes that are gathered and scaled at once are not changed in between.
    rotation = 0.0 if name in ("behind pools", "dense") else 10.0
    augmentation = Augmentation(flip=rotation > 0, rotation=rotation, contrast=rotation / 100)
    source = Source(IMAGES, "uint8", preprocessing, augmentation)
    plan = block_batches(build_plan(network, batch, purpose, source, 3), target).plan
    lowered = lower(plan, target)
    rng = np.random.default_rng(1)
    shared = {
        "images": rng.integers(0, 256, (IMAGES, *shape), np.uint8),
        "labels": rng.integers(0, CLASSES, IMAGES),
        "targets": rng.standard_normal((IMAGES, *network.output_shape)).astype(dtype),
        "parameters": network.parameters, "state": network.state,
        "factor": np.array([1 / 255]), "mean": mean.astype(dtype), "std": mean.astype(dtype),
        **{
            each: np.zeros_like(network.parameters)
            for each in ("gradients", "first_moment", "second_moment")
        },
    }  # fmt: skip
    fill = {n: shared[buffer.name] for n, buffer in enumerate(plan.buffers) if buffer.shared}
    fill[plan.number_of("indices")] = rng.integers(0, IMAGES, batch)
    fill[plan.number_of("rate")] = np.array([0.05])
    sizes = {
        number: math.prod(buffer.shape) * np.dtype(buffer.dtype).itemsize
        for number, buffer in enumerate(plan.buffers)
        if buffer.parent is None
    }
    sizes |= {-1 - number: size for number, size in enumerate(lowered.memory_bytes)}
    return GuardedMemory(sizes, fill), rooted(lowered.instructions, plan)


def rooted(instructions, plan):
    """The instructions, with pointers to the buffers that own the memory of views."""

    def moved(pointer):
        if pointer.argument < 0:
            return pointer
        owner, offset = plan.memory_of(pointer.argument)
        itemsize = np.dtype(plan.buffers[owner].dtype).itemsize
        return Pointer(owner, pointer.offset + offset * itemsize)

    return [instruction.with_pointers(moved) for instruction in instructions]


@PROCESSOR
@pytest.mark.parametrize(
    ("batch", "kind"), [(1, "sgd"), (2, "momentum"), (16, "sgd"), (16, "adam")]
)
@pytest.mark.parametrize("name", NETWORKS)
def test_whole_steps(name, batch, kind, processor):
    for dtype in dtypes_of(processor):
        memory, instructions = step_of(name, dtype, batch, kind, processor.target)
        watch_all(instructions, memory, processor)


def test_the_cases_above_reach_every_kernel():
    target, seen = PROCESSORS[0].target, set()
    for kernel in OF_THE_CONTRACT:
        for _, lowered in lowered_kernels_of(kernel, "float32", target):
            seen |= {instruction.kernel for instruction in lowered.instructions}
    for name in NETWORKS:
        for batch, kind in ((1, "sgd"), (2, "momentum"), (16, "adam")):
            seen |= {
                instruction.kernel
                for instruction in step_of(name, "float32", batch, kind, target)[1]
            }
    if PROCESSORS[0].target.registers < 32:
        seen |= {name for name in LAYOUTS if name.startswith("pooled")} | {"transpose_weights"}
    # Those of bf16 are run over guarded memory in test_cpu_bf16.py.
    assert set(LAYOUTS) - seen - BF16_KERNELS == {"random_words"}
