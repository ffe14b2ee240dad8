"""Products with factors that are rounded to TF32 or bf16, and sums in float32."""

import json
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
from backend_states import say_that
from cuda_on_host import HostDevice, standing_in
from kernel_calls import calls_of
from tolerances import assert_close
from watched import CUDA_ON_HOST, run

from fastconv import profile, train
from fastconv.backends.cupy import products
from fastconv.backends.cupy.device import CudaDevice
from fastconv.backends.cupy.products import Product
from fastconv.backends.cupy.run import Runner, check_precision
from fastconv.backends.cupy.sources import TILES, compiled_with, instances_of
from fastconv.backends.selection import BackendError, backend_state
from fastconv.data import Samples
from fastconv.execution.config import ExecutionConfig
from fastconv.layers import Dense
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.plan import Plan
from fastconv.profiling.step_profile import synthetic_dataset
from fastconv.recipe import load_recipe
from fastconv.runs.experiment import prepare
from fastconv.schedules import Constant
from fastconv.spec import ConvSpec, DenseSpec
from fastconv.trainer import Trainer

PRECISIONS = ("tf32", "bf16")
BITS = {"tf32": 11, "bf16": 8}

CONVOLUTIONS = [
    ConvSpec.parse(line)
    for line in (
        "g1mb2ic17ih6iw5oc17kh3kw3sh1sw1ph1pw1dh1dw1",  # 17 channels, odd sizes
        "g1mb2ic17ih6iw5oc17kh3kw3sh2sw2ph1pw1dh1dw1",
        "g1mb3ic16ih9iw7oc24kh3kw3sh2sw2ph1pw0dh1dw1",
        "g2mb2ic34ih6iw5oc34kh3kw3sh1sw1ph1pw1dh1dw1",
        "g1mb2ic16ih9iw9oc8kh3kw2sh1sw1ph2pw1dh2dw3",
        "g1mb1ic32ih8iw8oc48kh3kw3sh1sw1ph1pw1dh1dw1",  # few tiles and long sums: in parts
        "g1mb2ic18ih11iw13oc66kh1kw1sh1sw1ph0pw0dh1dw1",
    )
]
DENSE = [DenseSpec(17, 33, 65), DenseSpec(16, 16, 8), DenseSpec(19, 200, 24), DenseSpec(70, 90, 40)]
CASES = [
    (kernel, spec)
    for kernels, specs in (
        (
            ("conv.conv2d_forward", "conv.conv2d_backward_data", "conv.conv2d_backward_weight",
             "conv.conv_transpose2d_forward"),
            CONVOLUTIONS,
        ),
        (("dense.dense_forward", "dense.dense_backward_data", "dense.dense_backward_weight"),
         DENSE),
    )
    for kernel in kernels
    for spec in specs
]  # fmt: skip
BACKENDS = [CUDA_ON_HOST]
if backend_state("cupy").works:
    BACKENDS.append(pytest.param("cupy", marks=pytest.mark.gpu))
cases = pytest.mark.parametrize(
    ("kernel", "spec"), CASES, ids=[f"{kernel}-{spec}" for kernel, spec in CASES]
)
precisions = pytest.mark.parametrize("precision", PRECISIONS)
backends = pytest.mark.parametrize("backend", BACKENDS)


def rounded(array, precision):
    """To the nearest number of so many bits; of two as near, away from 0 or to the even one."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    scaled = np.ldexp(mantissa, BITS[precision])
    if precision == "tf32":
        whole = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
    else:
        whole = np.rint(scaled)
    return np.ldexp(whole, exponent - BITS[precision]).astype(array.dtype)


def with_factors(call, change):
    """The call with another array in place of each factor; a bias is none."""
    reads = {
        name: array if name == "b" or array is None else change(array)
        for name, array in call.reads.items()
    }
    return replace(call, reads=reads)


def expected_of(call):
    return run("reference", call.in_float64())


def products_of(spec, kernel):
    """Sizes of a kernel's product, as the theory has them."""
    name = kernel.partition(".")[2]
    if isinstance(spec, DenseSpec):
        n, i, o = spec.batch, spec.inputs, spec.outputs
        return {"dense_forward": (n, o, i), "dense_backward_data": (n, i, o)}.get(name, (i, o, n))
    taps = spec.kernel[0] * spec.kernel[1]
    i, o = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    pixels, outputs = (n * h * w for n, h, w, _ in (spec.x_shape, spec.y_shape))
    sizes = {
        "conv2d_forward": (outputs, o, taps * i),
        "conv2d_backward_weight": (taps * i, o, outputs),
    }
    return sizes.get(name, (pixels, i, taps * o))


def uses_tensor_cores(spec, kernel, precision):
    rows, columns, depth = products_of(spec, kernel)
    return rows >= 16 and columns >= 8 and depth >= (8 if precision == "tf32" else 16)


@backends
@precisions
@cases
def test_small_integers_are_multiplied_exactly(backend, kernel, spec, precision):
    for call in calls_of(kernel, spec, np.float32, integers=True):
        for name, expected in expected_of(call).items():
            np.testing.assert_array_equal(
                run(backend, call, precision=precision)[name], expected, err_msg=str(call)
            )


@precisions
@cases
def test_results_are_those_of_rounded_factors(kernel, spec, precision):
    for call in calls_of(kernel, spec, np.float32):
        ours = run(CUDA_ON_HOST, call, precision=precision)
        by_hand = call
        if uses_tensor_cores(spec, kernel, precision):
            by_hand = with_factors(call, lambda array: rounded(array, precision))
            exact = expected_of(call)
            assert any(
                np.abs(ours[name] - exact[name]).max() > 2**-15 * np.abs(exact[name]).max()
                for name in ours
            )
        for name, expected in expected_of(by_hand).items():
            assert_close(ours[name], expected, kernel, str(call), scale=call.scale_of(name))


@backends
@precisions
@cases
def test_random_results_are_as_near_as_the_rounding_of_factors_allows(
    backend, kernel, spec, precision
):
    for call in calls_of(kernel, spec, np.float32):
        ours = run(backend, call, precision=precision)
        magnitudes = replace(
            call, reads={k: a if a is None else np.abs(a) for k, a in call.reads.items()}
        )
        terms = expected_of(magnitudes)
        for name, expected in expected_of(call).items():
            assert_close(ours[name], expected, precision, str(call), terms=terms[name])


# A stride and channels that are loaded one by one, and channels that are loaded by four.
IN_LARGE_TILES = [
    (kernel, spec)
    for kernel, spec in CASES
    if spec in (CONVOLUTIONS[1], CONVOLUTIONS[2], CONVOLUTIONS[5], DENSE[0], DENSE[2])
]
large_tiles = pytest.mark.parametrize(
    ("kernel", "spec"), IN_LARGE_TILES, ids=[f"{k}-{spec}" for k, spec in IN_LARGE_TILES]
)


def assert_exact_in_tiles(call, tile, monkeypatch, precision="float32"):
    monkeypatch.setattr(products, "division_of", lambda *_: (tile, 2))
    for name, expected in expected_of(call).items():
        np.testing.assert_array_equal(run(CUDA_ON_HOST, call, precision=precision)[name], expected)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("kernel", sorted({kernel for kernel, _ in CASES if "2d" in kernel}))
def test_large_tiles_give_the_same_results(kernel, precision, monkeypatch):
    call = calls_of(kernel, CONVOLUTIONS[2], np.float32, integers=True)[0]
    assert_exact_in_tiles(call, TILES["float32"][-1], monkeypatch, precision)


# The compiler takes a minute for all of these tiles.
@pytest.mark.slow
@pytest.mark.parametrize("tile", TILES["float32"][1:], ids=str)
@pytest.mark.parametrize("precision", ["float32", *PRECISIONS])
@large_tiles
def test_all_large_tiles_give_the_same_results(kernel, spec, precision, tile, monkeypatch):
    call = calls_of(kernel, spec, np.float32, integers=True)[0]
    assert_exact_in_tiles(call, tile, monkeypatch, precision)


@pytest.mark.slow
@large_tiles
def test_large_tiles_of_double_precision_give_the_same_results(kernel, spec, monkeypatch):
    call = calls_of(kernel, spec, np.float64, integers=True)[0]
    assert_exact_in_tiles(call, TILES["float64"][-1], monkeypatch)


def test_runs_of_channels_are_loaded_at_once(device):
    widths = {}
    for spec in CONVOLUTIONS[:1] + CONVOLUTIONS[2:3]:
        device.launched.clear()
        for kernel in ("forward", "backward_data", "backward_weight"):
            for call in calls_of(f"conv.conv2d_{kernel}", spec, np.float32):
                run("cupy", call)
        kernels = [kernel for _, kernel, _, _ in device.launched if "::" in kernel]
        widths[spec.in_channels] = {kernel.split(", ")[3] for kernel in kernels}
    assert widths == {17: {"1"}, 16: {"4"}}


@precisions
def test_what_is_not_finite_is_carried_through(precision):
    call = calls_of("dense.dense_forward", DenseSpec(17, 33, 65), np.float32)[0]
    x = call.reads["x"] = call.reads["x"].copy()
    x[3, 5], x[8, 1] = np.nan, np.inf
    y = run(CUDA_ON_HOST, call, precision=precision)["y"]
    assert np.isnan(y[3]).all()
    assert np.isinf(y[8]).all()
    assert np.isfinite(np.delete(y, (3, 8), axis=0)).all()


@pytest.mark.parametrize(
    ("product", "tf32", "bf16"),
    [
        (Product(16, 8, 8), "tf32", "float32"),
        (Product(16, 8, 16), "tf32", "bf16"),
        (Product(15, 8, 16), "float32", "float32"),
        (Product(16, 7, 16), "float32", "float32"),
        (Product(1, 256, 1600), "float32", "float32"),
    ],
)
def test_products_that_fill_no_tile_of_tensor_cores_stay_float32(product, tf32, bf16):
    assert (product.precision("tf32"), product.precision("bf16")) == (tf32, bf16)
    assert product.precision("float32") == "float32"


# Training.


@pytest.fixture
def device(monkeypatch):
    say_that(monkeypatch, "cupy", works=True, reason="the host in place of a GPU")
    with standing_in(HostDevice()) as made:
        yield made


def losses_of(backend="cupy", precision="float32", steps=12, recipe="mnist-strided"):
    loaded = load_recipe(recipe, [("batch_size", 4)])
    dataset = synthetic_dataset(loaded)
    trainer = prepare(
        loaded, dataset=dataset, config=ExecutionConfig(backend, precision=precision)
    ).trainer
    return np.array([trainer.train(1).loss for _ in range(steps)])


@precisions
def test_training_stays_near_the_losses_of_float32(device, precision):
    ours, expected = losses_of(precision=precision), losses_of("numpy")
    np.testing.assert_allclose(ours, expected, rtol={"tf32": 2e-3, "bf16": 2e-2}[precision])
    assert not np.array_equal(ours, losses_of())
    names = {kernel for _, kernel, _, _ in device.launched}
    for kernel in ("conv2d_forward", "conv2d_backward_data", "conv2d_backward_weight"):
        assert any(
            name.startswith(f"{kernel}<") and name.endswith(f"{precision.upper()}>")
            for name in names
        )


@precisions
def test_the_same_seed_gives_the_same_losses(device, precision):
    np.testing.assert_array_equal(
        losses_of(precision=precision, steps=3), losses_of(precision=precision, steps=3)
    )


def test_without_a_precision_nothing_is_rounded(device):
    np.testing.assert_allclose(losses_of(steps=3), losses_of("numpy", steps=3), rtol=1e-5)
    names = [kernel for _, kernel, _, _ in device.launched]
    assert any("FULL" in name for name in names)
    assert not any("TF32" in name or "BF16" in name for name in names)


# What is refused.


def one_line(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("command", [train, profile])
def test_an_older_device_is_refused_in_one_line(device, command, capsys):
    device.compute_capability = (7, 5)
    assert command.main(["--backend", "cupy", "--precision", "tf32"]) == 2
    assert one_line(capsys).endswith(
        ": precision is tf32; it needs a device of compute capability 8.0 or more (this one has "
        "7.5); use --precision float32"
    )
    assert not device.launched


def test_a_device_that_is_new_enough_is_taken(device):
    for device.compute_capability in ((8, 0), (8, 9), (12, 1)):
        check_precision("bf16")
    device.compute_capability = (7, 5)
    check_precision("float32")


@pytest.mark.parametrize("command", [train, profile])
def test_other_backends_are_refused_in_one_line(command, capsys):
    assert command.main(["--backend", "numpy", "--precision", "bf16"]) == 2
    assert "precision is 'bf16' but the backend is 'numpy'; expected 'float32' there" in one_line(
        capsys
    )


def test_a_precision_that_there_is_not_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        train.main(["--backend", "numpy", "--precision", "fp8"])
    assert stopped.value.code == 2
    assert "invalid choice: 'fp8'" in one_line(capsys)


def made_trainer(dtype="float32", **options):
    network = Sequential([Dense(3)], (4,), dtype=dtype)
    samples = Samples(np.zeros((4, 1, 1, 4), dtype), np.zeros(4, np.int64))
    return Trainer(
        network, samples, loss="softmax_cross_entropy", optimizer=Optimizer("sgd"),
        schedule=Constant(0.1), batch_size=2, **options,
    )  # fmt: skip


def test_float64_networks_are_refused(device):
    with pytest.raises(BackendError, match=r"tf32, which is for float32; the network is float64"):
        made_trainer("float64", backend="cupy", precision="tf32")
    with pytest.raises(ValueError, match="the network is float64"):
        Runner(Plan(1, "float64", (), ()), {}, precision="tf32")


def test_the_trainer_refuses_what_no_backend_has(device):
    with pytest.raises(BackendError, match=r"precision is 'half'; expected one of float32, tf32"):
        made_trainer(precision="half", backend="cupy")
    with pytest.raises(BackendError, match=r"precision is 'tf32' but the backend is 'numpy'"):
        made_trainer(precision="tf32", backend="numpy")
    assert made_trainer(precision="float32", backend="numpy").config.precision == "float32"


def test_a_run_says_what_it_was_computed_in(device, tmp_path, capsys, monkeypatch):
    for precision, folder in (("bf16", tmp_path / "a"), ("float32", tmp_path / "b")):
        asked = ["--backend", "cupy", "--steps", "1", "--no-validate", "--precision", precision]
        assert train.main([*asked, "--out", str(folder)]) == 0
        for name in ("summary.json", "environment.json"):
            assert json.loads((folder / name).read_text("utf-8"))["precision"] == precision
        assert ("products in bf16" in capsys.readouterr().out) == (precision == "bf16")


# Which code a card is given.


@pytest.mark.parametrize(
    ("told", "capability"), [("75", (7, 5)), ("80", (8, 0)), ("90", (9, 0)), ("121", (12, 1))]
)
def test_the_compute_capability_is_read_from_what_cupy_tells(monkeypatch, told, capability):
    card = types.SimpleNamespace(compute_capability=told)
    cuda = types.SimpleNamespace(Device=lambda: card)
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(cuda=cuda))
    assert CudaDevice().compute_capability == capability


@pytest.mark.parametrize("source", ["conv.cu", "dense.cu"])
def test_products_are_compiled_one_by_one_and_all_else_together(source):
    instances = instances_of(source, "float32")
    products_of_it = [each for each in instances if "::" in each]
    assert all(compiled_with(each, source, "float32") == (each,) for each in products_of_it)
    others = {compiled_with(each, source, "float32") for each in instances if "::" not in each}
    assert [sorted(each) for each in others] == [sorted(set(instances) - set(products_of_it))]
    assert not any("TF32" in each or "BF16" in each for each in instances_of(source, "float64"))
