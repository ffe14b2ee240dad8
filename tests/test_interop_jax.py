"""The door to JAX: values, gradients and batching beside JAX's own convolutions."""

import importlib.util
import runpy
from pathlib import Path

import numpy as np
import pytest

import fastconv

if importlib.util.find_spec("jax") is None:
    pytest.skip("JAX is not installed", allow_module_level=True)

import jax
from jax import numpy as jnp

from fastconv.backends.selection import BackendError, choose_backend
from fastconv.interop import jax as door


@pytest.fixture(autouse=True)
def _double_precision():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def available(backend):
    try:
        return choose_backend(backend).name == backend
    except BackendError:
        return False


needs_c = pytest.mark.skipif(not available("cython"), reason="the C engine is not built")


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape))


def conv_of_jax(x, w, b=None, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1,
                layout="NCHW"):  # fmt: skip
    order = ("NCHW", "OIHW", "NCHW") if layout == "NCHW" else ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
        x, w, stride, padding, rhs_dilation=dilation, dimension_numbers=order,
        feature_group_count=groups,
    )  # fmt: skip
    if b is None:
        return y
    return y + (b[:, None, None] if layout == "NCHW" else b)


OPTIONS = {"stride": (2, 1), "padding": ((1, 0), (2, 1)), "dilation": (1, 2), "groups": 2}
SHAPES = {
    "NCHW": ((3, 4, 7, 6), (6, 2, 3, 2), (6,)),
    "NHWC": ((3, 7, 6, 4), (3, 2, 2, 6), (6,)),
}


def pool_of_jax(x, kind, layout):
    spatial = (2, 3) if layout == "NCHW" else (1, 2)
    window = [2 if axis in spatial else 1 for axis in range(4)]
    if kind == "max":
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, window, "VALID") / 4


CASES = {
    f"conv2d {layout}": (
        lambda x, w, b, layout=layout: door.conv2d(x, w, b, layout=layout, **OPTIONS),
        lambda x, w, b, layout=layout: conv_of_jax(x, w, b, layout=layout, **OPTIONS),
        shapes,
    )
    for layout, shapes in SHAPES.items()
}
CASES["conv2d without bias"] = (door.conv2d, conv_of_jax, ((2, 3, 5, 5), (4, 3, 3, 3)))
CASES["dense"] = (door.dense, lambda x, w, b: x @ w + b, ((3, 5), (5, 4), (4,)))
for _kind, _layout in (("max", "NCHW"), ("max", "NHWC"), ("avg", "NCHW"), ("avg", "NHWC")):
    CASES[f"{_kind}_pool2d {_layout}"] = (
        lambda x, kind=_kind, layout=_layout: getattr(door, f"{kind}_pool2d")(x, 2, layout=layout),
        lambda x, kind=_kind, layout=_layout: pool_of_jax(x, kind, layout),
        ((2, 4, 6, 3),),
    )


def close(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, 1e-9, 1e-10)


def with_gradients(function, shapes, seed=0):
    """A function's value and its gradients, compiled together."""
    arrays = [drawn(*shape, seed=seed + n) for n, shape in enumerate(shapes)]

    def weighted(*given):
        y = function(*given)
        return (y * drawn(*y.shape, seed=9)).sum(), y

    every = tuple(range(len(arrays)))
    return jax.jit(jax.value_and_grad(weighted, every, has_aux=True))(*arrays)


@pytest.mark.parametrize("name", list(CASES))
def test_values_and_gradients_are_those_of_jax(name):
    ours, theirs, shapes = CASES[name]
    close(with_gradients(ours, shapes), with_gradients(theirs, shapes))


@pytest.mark.parametrize("name", ["conv2d NCHW", "dense", "max_pool2d NHWC"])
def test_every_backend_computes_by_calls_back_into_python(name):
    ours, theirs, shapes = CASES[name]
    with fastconv.use_backend("numpy"):
        found = with_gradients(lambda *given: ours(*given), shapes)
    close(found, with_gradients(theirs, shapes))


@pytest.mark.parametrize(
    ("name", "batched"),
    [
        ("conv2d NCHW", "images"), ("conv2d NCHW", "weights"), ("conv2d NHWC", "both"),
        ("dense", "images"), ("dense", "both"), ("max_pool2d NCHW", "images"),
    ],
)  # fmt: skip
def test_vmap_is_the_function_of_each(name, batched):
    ours, theirs, shapes = CASES[name]
    axes = [
        0 if (batched != "weights" if n == 0 else batched != "images") else None
        for n in range(len(shapes))
    ]
    arrays = [
        drawn(*([2] if axis == 0 else []), *shape, seed=n)
        for n, (shape, axis) in enumerate(zip(shapes, axes, strict=True))
    ]

    def gradients(function):
        of_each = jax.grad(lambda *given: (function(*given) ** 2).sum(), tuple(range(len(axes))))
        return jax.jit(jax.vmap(of_each, axes))(*arrays)

    close(gradients(ours), gradients(theirs))


def test_folding_makes_one_kernel_call_of_many():
    ours, _, shapes = CASES["conv2d NCHW"]
    arrays = [drawn(5, *shapes[0]), *(drawn(*shape) for shape in shapes[1:])]
    made = str(jax.make_jaxpr(jax.vmap(ours, (0, None, None)))(*arrays))
    assert "scan" not in made
    assert "f64[15,6," in made  # 5 times 3 samples together


@needs_c
def test_a_compiled_program_calls_the_kernel_without_python():
    ours, _, shapes = CASES["conv2d NCHW"]
    arrays = [drawn(*shape) for shape in shapes]
    text = jax.jit(ours).lower(*arrays).as_text()
    assert "fastconv_kernel" in text
    assert "callback" not in text


@needs_c
def test_a_kernel_that_the_process_does_not_know_is_an_error():
    call = jax.ffi.ffi_call("fastconv_kernel", jax.ShapeDtypeStruct((2,), np.float64))
    door.dense(drawn(1, 2), drawn(2, 1))  # the target is registered
    with pytest.raises(Exception, match="fastconv: a compiled program of another process calls"):
        jax.block_until_ready(call(drawn(2), call=np.int64(1)))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda: door.conv2d(jnp.ones((1, 1, 3, 3), np.float16), jnp.ones((1, 1, 2, 2))),
            "conv2d: x has dtype float16; expected float32 or float64",
        ),
        (
            lambda: door.dense(jnp.ones((1, 2)), jnp.ones((2, 1), np.float32)),
            "dense: w has dtype float32 but x has float64; convert one of them",
        ),
        (lambda: door.conv2d(drawn(1, 2, 3, 3), drawn(1, 1, 2, 2)), "w has 1 input channels"),
        (lambda: door.max_pool2d(drawn(2, 3), 2), r"max_pool2d: x has 2 dimensions \(2, 3\)"),
        (
            lambda: door.dense(drawn(1, 2), drawn(2, 3), drawn(2)),
            r"dense: b has shape \(2,\); expected \(3,\): one for each output of w",
        ),
    ],
)
def test_errors_name_the_argument_and_the_fix(call, told):
    with pytest.raises((TypeError, ValueError), match=told):
        call()


def test_an_empty_batch_has_an_empty_result():
    assert door.conv2d(drawn(0, 1, 4, 4), drawn(2, 1, 3, 3)).shape == (0, 2, 2, 2)


EXAMPLE = Path(__file__).parent.parent / "examples" / "jax_convolution.py"


@pytest.mark.skipif(not EXAMPLE.is_file(), reason="examples/ is not beside the tests")
def test_the_example_learns(capsys):
    assert len(EXAMPLE.read_text("utf-8").splitlines()) <= 25
    runpy.run_path(str(EXAMPLE))
    assert float(capsys.readouterr().out.split()[1]) < 0.5
