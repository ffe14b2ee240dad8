"""Every kernel of every backend against the reference.

A backend joins by being there. The CUDA kernels take part without a GPU too, compiled for the host.
"""

import functools
import importlib
from dataclasses import replace

import numpy as np
import pytest
from kernel_calls import DTYPES, KERNELS, calls_of, specs_of
from tolerances import assert_close
from watched import CUDA_ON_HOST, calls_and_expected, parameters_of, run

from fastconv.backends.selection import NAMES, backend_state
from fastconv.plans.operation import ActivationSpec, NormSpec

MODULES = sorted({kernel.partition(".")[0] for kernel in KERNELS})
_SUMS = ("conv.", "nchw.", "dense.")
_COPIES = ("pool.max_", "input.gather_", "layout.", "merge.")
EXACT = [k for k in KERNELS if k.startswith(_SUMS + _COPIES)]
IN_PLACE = [
    k
    for k in KERNELS
    if k.startswith(
        ("activation.", "dropout.", "elementwise.", "prelu.", "merge.add_f", "merge.multiply_f")
    )
]


def works(backend):
    return backend == CUDA_ON_HOST or backend_state(backend).works


def dtypes_of(backend, kernel, spec):
    """Both; what is compiled for the host from the same template takes one case in float64."""
    return DTYPES if backend != CUDA_ON_HOST or spec == specs_of(kernel)[0] else (np.float32,)


def backends_and(kernels):
    """Parameters (backend, kernel, spec, dtype) of all that can be tested here.

    Those of one spec stand together: what the reference makes of it is then made in one process.
    """
    return [
        pytest.param(
            backend, kernel, spec, dtype,
            id=f"{backend}-{kernel}-{spec}-{np.dtype(dtype)}",
            marks=[pytest.mark.gpu] if backend == "cupy" else [],
        )
        for kernel in kernels
        for spec in specs_of(kernel)
        for backend in WORKING
        for dtype in dtypes_of(backend, kernel, spec)
    ]  # fmt: skip


WORKING = [backend for backend in (*NAMES, CUDA_ON_HOST) if works(backend)]
EACH = ("backend", "kernel", "spec", "dtype")


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("backend", NAMES)
def test_every_backend_has_every_kernel_module(backend, module):
    if not works(backend):
        assert backend != "numpy", "numpy works everywhere"
        pytest.skip(f"{backend}: {backend_state(backend).reason}")
    importlib.import_module(f"fastconv.backends.{backend}.{module}")


def test_every_kernel_of_the_reference_has_cases():
    found = set()
    for module in MODULES:
        reference = importlib.import_module(f"fastconv.backends.reference.{module}")
        for name, thing in vars(reference).items():
            own = getattr(thing, "__module__", None) == reference.__name__
            if own and not name.startswith("_") and name != "workspace_bytes":
                found.add(f"{module}.{name}")
    assert found == set(KERNELS)


@pytest.mark.parametrize(EACH, backends_and(EXACT))
def test_results_on_small_integers_are_equal(backend, kernel, spec, dtype):
    for call, expected in calls_and_expected(kernel, spec, dtype, integers=True):
        for name, actual in run(backend, call).items():
            np.testing.assert_array_equal(actual, expected[name], err_msg=f"{call}: {name}")


@pytest.mark.parametrize(EACH, backends_and(KERNELS))
def test_results_on_random_data_are_within_the_tolerance(backend, kernel, spec, dtype):
    for call, expected in calls_and_expected(kernel, spec, dtype):
        for name, actual in run(backend, call).items():
            assert_close(
                actual, expected[name], kernel, f"{call}: {name}", scale=call.scale_of(name)
            )


@pytest.mark.parametrize(EACH, backends_and(IN_PLACE))
def test_elementwise_kernels_give_the_same_in_place(backend, kernel, spec, dtype):
    names = parameters_of(kernel)
    pair = (names[0], "y" if "y" in names and "dy" not in names else "dx")
    for call in calls_of(kernel, spec, dtype):
        apart, together = run(backend, call), run(backend, call, in_place=pair)
        for name in apart:
            np.testing.assert_array_equal(together[name], apart[name], err_msg=name)


# NaN and infinities

SPECIAL = (np.nan, np.inf, -np.inf)


def spoiled(call, name, rng):
    """The call with one NaN and two infinities somewhere in one of its arrays."""
    call = replace(call, reads=dict(call.reads), updates=dict(call.updates))
    array = (call.reads | call.updates)[name].copy()
    places = rng.choice(array.size, min(3, array.size), replace=False)
    special = np.array(SPECIAL[: len(places)])
    array.reshape(-1)[places] = np.abs(special) if name == "v" else special
    if name in call.updates:
        call.updates[name] = array
    else:
        call.reads[name] = array
    return call


def floats_of(call):
    """Names of the arrays of the call that may hold NaN and infinities."""
    return [
        name
        for name, array in (call.reads | call.updates).items()
        if array is not None and array.dtype == call.dtype and array.size and name != "rate"
    ]


DATA_GRADIENTS = (
    "conv.conv2d_backward_data",
    "conv.conv_transpose2d_forward",
    "nchw.conv2d_backward",
    "nchw.conv_transpose2d_forward",
)
MORE_NAN = {
    # 0 * inf is NaN: the reference leaves out the zeros of the padding, im2col multiplies them; a
    # data gradient may multiply the zeros around dy.
    ("conv.conv2d_forward", "w"),
    ("conv.conv2d_backward_data", "w"),
    ("conv.conv2d_backward_weight", "dy"),
    ("conv.conv_transpose2d_forward", "w"),
    ("conv.conv_transpose2d_backward_data", "w"),
    ("conv.conv_transpose2d_backward_weight", "x"),
    ("nchw.conv2d_forward", "w"),
    ("nchw.conv2d_backward", "w"),
    ("nchw.conv2d_backward", "dy"),
    ("nchw.conv_transpose2d_forward", "w"),
    ("nchw.conv_transpose2d_backward", "w"),
    ("nchw.conv_transpose2d_backward", "x"),
    # So are the weights of 0 of a bilinear sample, and a penalty of 0 on an infinite parameter.
    ("input.augment_images", "x"),
    ("resample.resample_forward", "x"),
    ("resample.resample_backward", "dy"),
    ("input.jitter_images", "x"),
    ("augment.crop_images", "x"),
    ("augment.mix_images", "x"),
    ("augment.mix_rows", "rows"),
    ("optim.lookahead_update", "w"),
    ("optim.lookahead_update", "slow"),
    ("optim.sgd_update", "w"),
    ("optim.momentum_update", "w"),
    ("optim.adam_update", "w"),
    ("optim.rmsprop_update", "w"),
    ("optim.adagrad_update", "w"),
    ("optim.nadam_update", "w"),
    ("optim.lamb_update", "w"),
    # inf - inf is NaN: running statistics may move by a share of their distance.
    ("norm.batch_norm_forward_training", "running_mean"),
    ("norm.batch_norm_forward_training", "running_variance"),
    # So is what an infinite mean leaves in the lanes that stand for nothing.
    ("group_norm.group_norm_backward_data", "mean"),
}
"""Kernels and inputs where backends may give NaN in more places than the reference."""


def may_give_more_nan(call, name):
    convolves = call.kernel.startswith(("conv.", "nchw."))
    unpadded = convolves and call.spec.padding == ((0, 0), (0, 0))
    if unpadded and call.kernel not in DATA_GRADIENTS:
        return False
    return (call.kernel, name) in MORE_NAN


@functools.cache
def spoiled_calls(kernel, spec, dtype):
    """Each call with each of its arrays spoiled: (name, call, what the reference makes of it)."""
    if dtype == np.float64 and kernel.startswith(_SUMS):
        # The same numbers go the same way, and the reference takes its time for sums of products.
        narrow = spoiled_calls(kernel, spec, np.float32)
        return [(name, call.in_float64(), expected) for name, call, expected in narrow]
    rng, found = np.random.default_rng(5), []
    for original in calls_of(kernel, spec, dtype):
        for name in floats_of(original):
            call = spoiled(original, name, rng)
            found.append((name, call, run("reference", call.in_float64())))
    return found


@pytest.mark.parametrize(EACH, backends_and(KERNELS))
def test_nan_and_inf_go_where_the_formula_sends_them(backend, kernel, spec, dtype):
    for name, call, expected in spoiled_calls(kernel, spec, dtype):
        with np.errstate(all="ignore"):
            results = run(backend, call)
        for output, actual in results.items():
            if name == "w" and output in ("m", "v", "mean"):
                continue  # the parameter itself is what must not become finite again
            label, more = f"{call}: {name} to {output}", may_give_more_nan(call, name)
            assert_close(actual, expected[output], kernel, label, more, call.scale_of(output))


# Random words


@pytest.mark.parametrize("backend", WORKING)
def test_random_words_do_not_depend_on_how_many_are_asked_for(backend):
    words = [
        run(backend, call)["words"]
        for spec in specs_of("random.random_words")
        if spec[2] in (7, 8, 9)
        for call in calls_of("random.random_words", (spec[0], 6, spec[2]), np.float32)
    ]
    np.testing.assert_array_equal(words[0], words[1][:7])


# Batch normalisation


@pytest.mark.parametrize("backend", WORKING)
def test_a_large_mean_does_not_swallow_the_variance(backend):
    # Numbers around 2000 are 1.2e-4 apart in float32, their squares 0.25: a mean of squares minus
    # the square of the mean would be nothing but rounding.
    spec = NormSpec(5000, 2)
    x = (2000 + np.random.default_rng(1).standard_normal((5000, 2))).astype(np.float32)
    (call,) = calls_of("norm.batch_norm_forward_training", spec, np.float32)
    results = run(backend, replace(call, reads=call.reads | {"x": x}))
    exact = x.astype(np.float64)
    expected = 1 / np.sqrt(exact.var(axis=0) + spec.epsilon)
    np.testing.assert_allclose(results["inverse_std"], expected, rtol=1e-5)
    # A float32 sum of 5000 of them would be off by much more than the last digit.
    np.testing.assert_allclose(results["mean"], exact.mean(axis=0), rtol=0, atol=1.3e-4)


# Small numbers


@pytest.mark.parametrize("kind", ["relu", "leaky_relu", "elu", "selu", "tanh"])
@pytest.mark.parametrize("backend", WORKING)
def test_small_numbers_keep_their_digits(backend, kind):
    # e^x - 1 as a difference would leave two digits of 1e-5 in float32.
    spec = ActivationSpec(kind, 8, alpha=0.5)
    x = np.array([1e-3, 1e-5, 1e-7, 1e-9, -1e-3, -1e-5, -1e-7, -1e-9], np.float32)
    (call,) = calls_of("activation.activation_forward", spec, np.float32)
    call = replace(call, reads={"x": x})
    expected = run("reference", call.in_float64())["y"]
    np.testing.assert_allclose(run(backend, call)["y"], expected, rtol=1e-6)
