"""The compiled engine: the same bits on any number of threads, every instruction set, forks."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cases
import numpy as np
import pytest
from cases import CLIPPED_VALUE
from kernel_calls import DTYPES, KERNELS, calls_of
from share_of_cases import KERNELS_OF_C, SHARES, share_of_cases, start
from watched import parameters_of, run

import fastconv
from fastconv.backends.reference import dense as reference
from fastconv.backends.selection import backend_state
from fastconv.plans.augmentation import CropSpec, MixSpec
from fastconv.plans.gradient import AccumulateSpec, ClipSpec, MuonSpec, PolynomialSpec
from fastconv.plans.jitter import JitterSpec
from fastconv.plans.lookahead import LookaheadSpec
from fastconv.plans.loss_operation import (
    ELEMENTWISE_LOSS_KINDS,
    ElementwiseLossSpec,
    LabelWeightSpec,
    SoftCrossEntropySpec,
)
from fastconv.plans.merging import BroadcastSpec, ConcatenateSpec
from fastconv.plans.norm_operation import GroupNormSpec
from fastconv.plans.operation import (
    ACTIVATION_KINDS,
    ActivationSpec,
    AugmentSpec,
    DropoutSpec,
    InputSpec,
    LossSpec,
    NormSpec,
    OptimizerSpec,
    PReLUSpec,
    RandomSpec,
    SoftmaxSpec,
)
from fastconv.plans.resample_operation import (
    RESAMPLE_KINDS,
    ChannelDropoutSpec,
    ResampleSpec,
)
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec

if not backend_state("cython").works:
    if os.environ.get("FASTCONV_REQUIRE_CYTHON") == "1":
        raise ImportError(backend_state("cython").reason)
    pytest.skip(backend_state("cython").reason, allow_module_level=True)

from fastconv.backends.compiled.instructions.instruction import Target, encode
from fastconv.backends.compiled.instructions.layout import MAX_THREADS
from fastconv.backends.compiled.lowering.lowered_kernels import lower_kernel
from fastconv.backends.cython import _engine, dense, engine

SETS = [each["name"] for each in _engine.instruction_sets()]
KNOWN = ("avx512", "avx512vl", "avx2", "sse2", "neon", "plain")
DTYPE = pytest.mark.parametrize("dtype", DTYPES)

# The same bits on any number of threads

RANDOM = RandomSpec(2**40 + 17, 3)
LARGE = {
    "conv": [
        ConvSpec.parse(text)
        for text in (
            "g1mb5ic3ih31iw29oc20kh5kw5sh1sw1ph2pw2dh1dw1",
            "g1mb5ic33ih14iw15oc37kh3kw3sh1sw1ph1pw1dh1dw1",
            "g1mb5ic33ih15iw14oc37kh3kw3sh2sw2ph1pw1dh1dw1",  # strided
            "g1mb5ic33ih14iw14oc40kh1kw1sh1sw1ph0pw0dh1dw1",
            "g1mb5ic16ih19iw17oc21kh3kw2sh1sw1ph2pw2dh2dw3",  # dilated
            "g3mb5ic33ih14iw15oc36kh3kw3sh1sw2ph1pw0dh1dw1",  # grouped
            "g64mb5ic64ih14iw15oc64kh3kw3sh1sw1ph1pw1dh1dw1",  # depthwise
            "g40mb5ic40ih17iw15oc80kh3kw3sh2sw2ph1pw1dh1dw1",
        )
    ],
    "nchw": [
        ConvSpec.parse(text)
        for text in (
            "g20mb5ic20ih31iw33oc20kh3kw3sh1sw1ph1pw1dh1dw1",
            "g20mb5ic20ih31iw33oc20kh3kw3sh2sw2ph1pw1dh1dw1",
            "g2mb50ic2ih31iw33oc2kh5kw3sh1sw2ph2pw1dh1dw2",
            "g1mb6ic36ih20iw21oc33kh1kw1sh1sw1ph0pw0dh1dw1",  # 1x1
            "g1mb40ic33ih28iw27oc40kh3kw3sh1sw1ph1pw1dh1dw1",  # in chunks
            "g1mb40ic66ih28iw27oc40kh1kw1sh1sw1ph0pw0dh1dw1",
            "g1mb2ic33ih9iw9oc131kh3kw3sh1sw1ph0pw0dh1dw1",
        )
    ],
    "dense": [DenseSpec(1, 1600, 256), DenseSpec(67, 331, 65), DenseSpec(300, 400, 10)],
    "pool": [
        PoolSpec.parse("mb5ic33ih30iw31kh2kw2sh2sw2ph0pw0cm0ip1"),
        PoolSpec.parse("mb5ic20ih30iw31kh3kw3sh2sw2ph1pw1cm1ip0"),
        PoolSpec.parse("mb5ic65ih20iw21kh3kw3sh1sw1ph1pw1cm0ip1"),
    ],
    "images": [InputSpec(40, 32, 32, 3), InputSpec(7, 8, 8, 300), InputSpec(30000, 1, 1, 2)],
    "layout": [InputSpec(5, 31, 29, 17), InputSpec(2, 120, 120, 3), InputSpec(1, 8, 8, 600)],
    "norm": [NormSpec(5000, 33), NormSpec(40, 3000), NormSpec(50000, 1)],
    "group_norm": [GroupNormSpec(40, 60, 33, 3), GroupNormSpec(500, 1, 100)],
    "activation": [ActivationSpec(kind, 60001, 0.5) for kind in ACTIVATION_KINDS],
    "elementwise": [replace(cases.ELEMENTWISE[0], size=60001)],
    "prelu": [PReLUSpec(60001, 3, 3), PReLUSpec(5000, 70)],
    "softmax": [SoftmaxSpec(5000, 10), SoftmaxSpec(40, 3000)],
    "dropout": [DropoutSpec(90001, 0.3, RANDOM)],
    "drop_channels": [ChannelDropoutSpec(40, 60, 33, 0.5), ChannelDropoutSpec(3, 40000, 1, 0.5)],
    "resample": [ResampleSpec(kind, 7, 20, 21, 40, 38, 42, 9, 10) for kind in RESAMPLE_KINDS],
    "merge": [
        BroadcastSpec(5, 450, 33),
        BroadcastSpec(5, 450, 33, per_channel=True),
        BroadcastSpec(2, 40, 700, per_channel=True),
    ],
    "concatenate": [ConcatenateSpec(3000, 17, 9), ConcatenateSpec(1, 30000, 20000)],
    "loss": [LossSpec(9001, 10), LossSpec(100, 1000)],
    "soft_cross_entropy": [SoftCrossEntropySpec(9001, 10, 0.1), SoftCrossEntropySpec(60, 1000)],
    "elementwise_loss": [ElementwiseLossSpec(k, 9001, 3) for k in ELEMENTWISE_LOSS_KINDS],
    "label_weights": [LabelWeightSpec(30001, 3, 1)],
    "loss_weights": [LossSpec(30001, 3)],
    "sgd": [OptimizerSpec("sgd", 60001, 50000, 55000, 0.25, 0.5, 0.125)],
    "momentum": [
        OptimizerSpec(kind, 60001, 50000, 55000, 0.25, 0.5, 0.125)
        for kind in ("momentum", "nesterov")
    ],
    "adam": [OptimizerSpec("adam", 60001, 50000, 55000, 0.25, 0.5, 0.125)],
    **{
        kind: [OptimizerSpec(kind, 60001, 50000, 55000, 0.25, 0.5, 0.125)]
        for kind in ("rmsprop", "adagrad", "nadam", "lamb")
    },
    "clip_by_norm": [ClipSpec(60001, limit=0.5)],
    "clip_by_value": [ClipSpec(60001, limit=CLIPPED_VALUE)],
    "accumulate": [AccumulateSpec(60001, share=0.25)],
    "muon": [MuonSpec(60001)],
    "newton": [PolynomialSpec(301)],
    "augment": [AugmentSpec(InputSpec(40, 32, 32, 3), RANDOM, True, 2, 20.0, 10.0, 0.1, 5)],
    "jitter": [JitterSpec(InputSpec(40, 32, 32, 3), RANDOM, 0.5, 0.5, 0.5, 0.5)],
    "crop": [
        CropSpec(InputSpec(40, 32, 32, 3), RANDOM, "random", crop=4),
        CropSpec(InputSpec(40, 32, 32, 3), RANDOM, "alternating", least_area=0.25),
    ],
    "mix": [MixSpec(InputSpec(40, 32, 32, 3), RANDOM, 0.5, 1.0)],
    "mix_rows": [InputSpec(4001, 1, 1, 11)],
    "lookahead": [LookaheadSpec(60001, 3)],
    "words": [(RANDOM, 5, 100003)],
}
"""Specs with work for three threads and more."""


def family_of(kernel):
    module, _, name = kernel.partition(".")
    if name == "augment_images":
        return "augment"
    if name == "jitter_images":
        return "jitter"
    if module == "augment":
        return name.removesuffix("_images")
    if module == "input" or name.startswith("global"):
        return "images"
    if "softmax" in name and module == "activation":
        return "softmax"
    if name.startswith("clip"):
        return name
    if name.startswith("concatenate"):
        return "concatenate"
    if module in ("optim", "gradient"):
        return name.partition("_")[0]
    if module == "target_loss":
        return "loss" if name == "one_hot" else name.rpartition("_")[0]
    if name in ("label_weights", "drop_channels"):
        return name
    return {"random": "words"}.get(module, module)


@DTYPE
@pytest.mark.parametrize("kernel", KERNELS)
def test_any_number_of_threads_gives_the_same_bits(kernel, dtype, monkeypatch):
    for spec in LARGE[family_of(kernel)]:  # type: ignore[attr-defined]
        for call in calls_of(kernel, spec, dtype):
            results = {}
            for threads in (1, 2, 3, 7):
                monkeypatch.setenv("FASTCONV_THREADS", str(threads))
                results[threads] = run("cython", call)
            for threads in (2, 3, 7):
                for name, array in results[threads].items():
                    assert array.tobytes() == results[1][name].tobytes(), (
                        f"{call}: {name} {threads}"
                    )


IN_ONE_PIECE = {"loss.sum_losses", "loss.count_correct", "loss_weights.sum_weighted_losses"}
"""Kernels that add to statistics: by one thread, in order."""


def test_the_specs_above_have_work_for_three_threads(monkeypatch):
    monkeypatch.setenv("FASTCONV_THREADS", "1")
    most = dict.fromkeys(KERNELS, 0)
    original = engine._stream

    def watch(*call):
        made = original(*call)
        most[kernel] = max(most[kernel], int(made.stream[:, MAX_THREADS].max(initial=0)))
        return made

    monkeypatch.setattr(engine, "_stream", watch)
    for kernel in KERNELS:
        for spec in LARGE[family_of(kernel)]:  # type: ignore[attr-defined]
            for call in calls_of(kernel, spec, np.float32)[:1]:
                run("cython", call)
    assert {kernel for kernel in KERNELS if most[kernel] < 3} <= IN_ONE_PIECE


# Every instruction set


@pytest.mark.parametrize("every", SHARES)
@pytest.mark.parametrize("isa", KNOWN)
def test_every_instruction_set_agrees_with_the_reference(isa, every, tmp_path_factory):
    if isa not in SETS:
        pytest.skip(f"this processor has no {isa}")
    done = start(share_of_cases(tmp_path_factory, every), FASTCONV_ISA=isa)
    assert done.returncode == 0, done.stderr[-3000:]
    _, name, calls, kernels = done.stdout.splitlines()
    assert name == isa
    assert int(calls) > 1200 / every
    assert int(kernels) == len(KERNELS_OF_C)


def test_the_best_set_is_the_first_and_plain_is_always_there():
    assert SETS[-1] == "plain"
    assert [name for name in KNOWN if name in SETS] == SETS


def test_every_set_has_every_kernel():
    names = [set(_engine.kernel_addresses(isa)) for isa in SETS]
    assert all(each == names[0] for each in names)
    assert {dtype for _, dtype in names[0]} == {"float32", "float64"}
    assert _engine.kernel_addresses("avx1024") == {}


def python(code, *arguments, timeout=120, **environment):
    """Run Python in a process of its own."""
    path = [str(Path(fastconv.__file__).parent.parent), str(Path(__file__).parent)]
    return subprocess.run(
        [sys.executable, *arguments, "-c", code] if code else [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


@pytest.mark.parametrize("backend", ["cython", "auto"])
def test_an_unknown_set_is_one_line_on_the_command_line(backend, tmp_path):
    done = python(
        "", "-m", "fastconv.train", "--backend", backend, "--epochs", "1",
        "--out", str(tmp_path / "run"),
        FASTCONV_ISA="avx1024",
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"FASTCONV_ISA is 'avx1024'; expected one of {', '.join(SETS)}" in line


def test_an_unknown_set_does_not_hide_the_other_backends():
    done = python("import fastconv; fastconv.show_config()", FASTCONV_ISA="avx1024")
    assert done.returncode == 0, done.stderr
    assert "numpy   ready" in done.stdout
    assert "cython  absent  FASTCONV_ISA is 'avx1024'" in done.stdout


def call_on(isa, kernel, spec, *arrays):
    """Run a kernel of the contract on an instruction set, in this process."""
    (each,) = [each for each in _engine.instruction_sets() if each["name"] == isa]
    addresses = _engine.kernel_addresses(isa)
    types = tuple(None if a is None else a.dtype.name for a in arrays)
    lowered = lower_kernel(kernel, spec, types, Target(**each))
    stream, relocations = encode(lowered.instructions, lambda *key: addresses[key])
    workspace = np.full(lowered.workspace_bytes + 64, 0xFF, np.uint8)
    _engine.run_call(stream, relocations, (*arrays, workspace), 2)


# One batch for every number of rows left over by a tile, and outputs around every width of a tile.
EDGES = [
    DenseSpec(batch, 5, outputs)
    for batch in (*range(1, 9), 13, 14, 15, 27, 28, 29)
    for outputs in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 65)
] + [
    # Every number of vectors left over by the widest tile, for 2, 4, 8 and 16 elements to a vector.
    DenseSpec(batch, 5, vectors * lanes)
    for batch in (1, 2)
    for lanes in (2, 4, 8, 16)
    for vectors in range(9, 16)
]


@DTYPE
@pytest.mark.parametrize("isa", SETS)
def test_every_size_around_a_tile_is_right(isa, dtype):
    draw = np.random.default_rng(7)
    for spec in EDGES:
        # Small integers: every sum of their products is exact.
        x, w, b, dy = (
            draw.integers(-4, 5, shape).astype(dtype)
            for shape in (
                (spec.batch, spec.inputs),
                (spec.inputs, spec.outputs),
                (spec.outputs,),
                (spec.batch, spec.outputs),
            )
        )
        y, dx, dw, db = (np.full_like(array, np.nan) for array in (dy, x, w, b))
        # Expected in integers: no BLAS library takes part.
        xs, ws, bs, dys = (array.astype(np.int64) for array in (x, w, b, dy))
        call_on(isa, "dense.dense_forward", spec, x, w, b, y)
        np.testing.assert_array_equal(y, xs @ ws + bs, err_msg=str(spec))
        call_on(isa, "dense.dense_backward_data", spec, dy, w, dx)
        np.testing.assert_array_equal(dx, dys @ ws.T, err_msg=str(spec))
        call_on(isa, "dense.dense_backward_weight", spec, dy, x, dw, db)
        np.testing.assert_array_equal(dw, xs.T @ dys, err_msg=str(spec))
        np.testing.assert_array_equal(db, dys.sum(axis=0), err_msg=str(spec))


# Products


@DTYPE
@pytest.mark.parametrize("spec", [DenseSpec(1, 1600, 256), DenseSpec(17, 33, 65)], ids=str)
def test_random_data_stays_within_the_rounding_of_a_sum(spec, dtype):
    calls = {name: calls_of(f"dense.{name}", spec, dtype)[0] for name in (
        "dense_forward", "dense_backward_data", "dense_backward_weight"
    )}  # fmt: skip
    for name, call in calls.items():
        a = {key: value.astype(np.longdouble) for key, value in call.reads.items()}
        size = {key: abs(value) for key, value in a.items()}
        results = run("cython", call)
        if name == "dense_forward":
            expected = {"y": a["x"] @ a["w"] + a["b"]}
            magnitude, terms = {"y": size["x"] @ size["w"] + size["b"]}, spec.inputs + 1
        elif name == "dense_backward_data":
            expected = {"dx": a["dy"] @ a["w"].T}
            magnitude, terms = {"dx": size["dy"] @ size["w"].T}, spec.outputs
        else:
            expected = {"dw": a["x"].T @ a["dy"], "db": a["dy"].sum(0)}
            magnitude = {"dw": size["x"].T @ size["dy"], "db": size["dy"].sum(0)}
            terms = spec.batch
        # Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1: n products added in
        # any order are off by at most n u / (1 - n u) times the sum of their magnitudes.
        rounding = terms * np.finfo(dtype).eps / 2
        for key, array in expected.items():
            bound = rounding / (1 - rounding) * magnitude[key]
            assert (abs(results[key] - array) <= bound).all(), key


@DTYPE
def test_nan_and_inf_reach_their_own_sample_and_no_other(dtype):
    spec = DenseSpec(9, 11, 13)
    workspace = np.empty(
        max(dense.workspace_bytes(f"dense_{k}", spec, dtype) for k in ("forward", "backward_data")),
        np.uint8,
    )
    x, w = np.ones((9, 11), dtype), np.zeros((11, 13), dtype)
    x[4, 10], x[7, 2] = np.nan, np.inf
    y, dx = np.empty((9, 13), dtype), np.empty((9, 11), dtype)
    dense.dense_forward(spec, x, w, None, y, workspace)
    # A weight of 0 hides neither: 0 * nan and 0 * inf are nan.
    assert np.isnan(y[[4, 7]]).all()
    assert not np.delete(y, [4, 7], axis=0).any()
    dense.dense_backward_data(spec, y, w, dx, workspace)
    assert np.isnan(dx[[4, 7]]).all()
    assert not np.delete(dx, [4, 7], axis=0).any()


def test_dx_by_hand():
    w = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    dy, dx = np.array([[1, 10]], np.float32), np.empty((1, 3), np.float32)
    spec = DenseSpec(1, 3, 2)
    workspace = np.empty(dense.workspace_bytes("dense_backward_data", spec, "float32"), np.uint8)
    dense.dense_backward_data(spec, dy, w, dx, workspace)
    assert dx.tolist() == [[21, 43, 65]]


def test_a_workspace_may_begin_anywhere():
    spec = DenseSpec(40, 50, 60)
    draw = np.random.default_rng(4)
    dy, w = draw.integers(-4, 5, (40, 60)) * 1.0, draw.integers(-4, 5, (50, 60)) * 1.0
    expected, size = (
        np.empty((40, 50)),
        engine.workspace_bytes("dense.dense_backward_data", spec, "float64"),
    )
    reference.dense_backward_data(spec, dy, w, expected, None)
    assert size > 0
    for offset in (0, 1, 8, 63):
        dx, memory = np.full((40, 50), np.nan), np.full(size + 128, 0x5A, np.uint8)
        dense.dense_backward_data(spec, dy, w, dx, memory[offset : offset + size])
        np.testing.assert_array_equal(dx, expected)
        assert (memory[offset + size :] == 0x5A).all()
        assert (memory[:offset] == 0x5A).all()


# Threads


def test_arguments_of_no_kernel_are_an_error():
    stream = np.zeros((1, 64), np.int64)
    for arrays in ((), (None,) * 17):
        with pytest.raises(ValueError, match=f"run_call: {len(arrays)} arrays; expected 1 to 16"):
            _engine.run_call(stream, np.zeros((0, 4), np.int64), arrays, 1)


def test_no_instructions_are_no_work():
    assert _engine.run_stream(np.zeros((0, 64), np.int64), 5, 3) == 1
    _engine.run_call(np.zeros((0, 64), np.int64), np.zeros((0, 4), np.int64), (None,), 1)


def test_kernels_have_no_more_arrays_than_a_call_takes():
    assert max(len(parameters_of(kernel)) for kernel in KERNELS) < 16


TRAINING = """
import numpy as np
from fastconv.data import Samples
from fastconv.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.preprocessing import Preprocessing
from fastconv.schedules import Constant
from fastconv.trainer import Trainer

def train(seed=1, steps=12):
    draw = np.random.default_rng(seed)
    samples = Samples(draw.integers(0, 256, (120, 12, 12, 3), np.uint8), draw.integers(0, 5, 120))
    layers = [Conv2D(16), BatchNorm(), ReLU(), MaxPool2D(2), Conv2D(24), ReLU(), Flatten(),
              Dropout(0.3), Dense(5)]
    network = Sequential(layers, (12, 12, 3), seed=seed, dtype="float32")
    trainer = Trainer(network, samples, loss="softmax_cross_entropy",
                      optimizer=Optimizer("adam", l2=0.01), schedule=Constant(0.01), batch_size=8,
                      preprocessing=Preprocessing("scale"), seed=7, backend="cython")
    trainer.train(steps)
    assert max(instruction.max_threads for instruction in trainer.runner.instructions) >= 3
    trainer.update_network()
    return b"".join(array.tobytes() for array in network.named_arrays().values())
"""


def after_training(code, timeout=120, **environment):
    done = python(TRAINING + code, timeout=timeout, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_training_gives_the_same_bits_on_any_number_of_threads():
    # More threads than this machine has cores, too.
    code = "import hashlib; print(hashlib.sha256(train()).hexdigest())"
    cores = os.cpu_count() or 1
    found = {
        after_training(code, FASTCONV_THREADS=str(threads)) for threads in (1, 2, 3, 7, cores + 5)
    }
    assert len(found) == 1


def test_two_python_threads_train_at_once():
    code = """
from concurrent.futures import ThreadPoolExecutor
alone = [train(seed) for seed in (1, 2, 3)]
with ThreadPoolExecutor(3) as pool:
    for _ in range(3):
        assert list(pool.map(train, (1, 2, 3))) == alone
print(len(set(alone)), "ways, the same at once")
"""
    for threads in ("1", "2", "3"):
        assert after_training(code, FASTCONV_THREADS=threads) == "3 ways, the same at once"


SECOND_INTERPRETER = """
import warnings
import _xxsubinterpreters as interpreters
from fastconv.backends.cython import _engine
second = interpreters.create()
try:
    interpreters.run_string(second, "import fastconv.backends.cython._engine")
except interpreters.RunFailedError as fault:
    assert "can only be loaded into one interpreter per process" in str(fault), fault
    print("refused")
"""


def test_a_second_interpreter_cannot_load_the_engine():
    pytest.importorskip("_xxsubinterpreters")
    assert python(SECOND_INTERPRETER).stdout == "refused\n"


FORK = """
import os, warnings
warnings.simplefilter("ignore")  # of forking a process with threads, which is the point
before = train()
child = os.fork()
if child == 0:
    # A child has none of its parent's threads.
    os._exit(0 if train() == before else 1)
after = train()
assert after == before
_, status = os.waitpid(child, 0)
print("child", os.waitstatus_to_exitcode(status))
"""

POOL = """
import multiprocessing, warnings
warnings.simplefilter("ignore")
if __name__ == "__main__":
    before = train()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = pool.map_async(train, [1, 2, 1, 2])
        assert train() == before
        results = results.get(60)
    assert results[0] == results[2] == before != results[1] == results[3]
    print("pool of processes")
"""

FORK_WHILE_BUSY = """
import os, threading, warnings
warnings.simplefilter("ignore")
before = train()
stop = threading.Event()
def busy():
    while not stop.is_set():
        train(2, steps=3)
thread = threading.Thread(target=busy)
thread.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        os._exit(0 if train(steps=12) == before else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
thread.join()
print("forked while busy")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(
    ("code", "says"),
    [(FORK, "child 0"), (POOL, "pool of processes"), (FORK_WHILE_BUSY, "forked while busy")],
)
def test_parent_and_child_of_a_fork_both_compute(code, says):
    assert after_training(code, FASTCONV_THREADS="3") == says
