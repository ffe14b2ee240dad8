"""What only a GPU can show: graphs, streams, and the same bits twice."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from public_calls import CALLS, ROWS, W_DENSE

import fastconv
from fastconv.backends.cupy import fusion
from fastconv.backends.cupy.run import check_precision
from fastconv.backends.selection import backend_state
from fastconv.execution.config import ExecutionConfig
from fastconv.profiling.step_profile import synthetic_dataset
from fastconv.recipe import load_recipe
from fastconv.runs.experiment import prepare

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not backend_state("cupy").works, reason=backend_state("cupy").reason),
]
RECIPES = ("mnist-strided", "lenet5", "cifar10-deep")


def trained(recipe, pieces, backend="cupy", precision="float32"):
    """Losses of the pieces and the weights after them."""
    loaded = load_recipe(recipe, [("batch_size", 4)])
    dataset = synthetic_dataset(loaded)
    trainer = prepare(
        loaded, dataset=dataset, config=ExecutionConfig(backend, precision=precision)
    ).trainer
    losses = [trainer.train(steps).loss for steps in pieces]
    trainer.update_network()
    steps = trainer.runner.steps_of_a_graph if backend == "cupy" else 1
    return np.array(losses), trainer.network.parameters.copy(), steps


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_same_seed_gives_the_same_bits(recipe):
    losses, weights, _ = trained(recipe, [40])
    again, same, _ = trained(recipe, [40])
    np.testing.assert_array_equal(again, losses)
    np.testing.assert_array_equal(same, weights)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_graph_does_what_single_launches_do(recipe, monkeypatch):
    _, weights, steps = trained(recipe, [32])
    assert steps == 16
    _, in_single_graphs, _ = trained(recipe, [1] * 32)
    np.testing.assert_array_equal(in_single_graphs, weights)
    monkeypatch.setenv("FASTCONV_CUDA_GRAPHS", "0")
    _, one_by_one, steps = trained(recipe, [32])
    assert steps == 1
    np.testing.assert_array_equal(one_by_one, weights)


@pytest.mark.parametrize("recipe", RECIPES)
def test_timing_the_kernels_changes_no_weight(recipe):
    loaded = load_recipe(recipe, [("batch_size", 4)])
    weights, order = [], np.arange(8).reshape(2, 4)
    for timed in (False, True):
        trainer = prepare(
            loaded, dataset=synthetic_dataset(loaded), config=ExecutionConfig("cupy")
        ).trainer
        times = np.zeros(len(trainer.runner.origins), np.int64)
        rates = trainer.rates_and_momenta(np.arange(2))
        trainer.runner.run(order, rates, 0, times if timed else None)
        assert (times > 0).all() == timed
        trainer.update_network()
        weights.append(trainer.network.parameters.copy())
    np.testing.assert_array_equal(*weights)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_losses_are_those_of_numpy(recipe):
    ours, _, _ = trained(recipe, [1] * 5)
    expected, _, _ = trained(recipe, [1] * 5, backend="numpy")
    np.testing.assert_allclose(ours, expected, rtol=1e-3)


@pytest.fixture(params=["tf32", "bf16"])
def precision(request):
    try:
        check_precision(request.param)
    except ValueError as fault:
        pytest.skip(str(fault))
    return request.param


@pytest.mark.parametrize("recipe", RECIPES)
def test_in_every_precision_the_same_seed_gives_the_same_bits(recipe, precision):
    losses, weights, _ = trained(recipe, [32], precision=precision)
    again, same, steps = trained(recipe, [32], precision=precision)
    assert steps == 16
    np.testing.assert_array_equal(again, losses)
    np.testing.assert_array_equal(same, weights)


@pytest.mark.parametrize("recipe", RECIPES)
def test_tensor_cores_stay_near_the_losses_of_numpy(recipe, precision):
    ours, _, _ = trained(recipe, [1] * 2, precision=precision)
    full, _, _ = trained(recipe, [1] * 2)
    expected, _, _ = trained(recipe, [1] * 2, backend="numpy")
    np.testing.assert_allclose(ours, expected, rtol={"tf32": 1e-2, "bf16": 5e-2}[precision])
    assert not np.array_equal(ours, full)


@pytest.mark.parametrize("name", ["float32", "tf32", "bf16"])
@pytest.mark.parametrize("recipe", ["lenet5", "cifar10-deep"])
def test_pooling_behind_a_convolution_gives_the_bits_of_launches_of_its_own(
    recipe, name, monkeypatch
):
    try:
        check_precision(name)
    except ValueError as fault:
        pytest.skip(str(fault))
    _, fused, _ = trained(recipe, [32], precision=name)
    apart = tuple(join for join in fusion._JOINS if join is not fusion._join_pooling)
    monkeypatch.setattr(fusion, "_JOINS", apart)
    _, single, _ = trained(recipe, [32], precision=name)
    np.testing.assert_array_equal(fused, single)


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck", "initcheck"])
def test_the_sanitizer_finds_nothing(tmp_path, tool):
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not installed")
    training = ["-m", "fastconv.train", "--backend", "cupy", "--steps", "40", "--quiet"]
    checks = [sanitizer, "--tool", tool, "--error-exitcode", "9"]
    command = [*checks, sys.executable, *training, "--out"]
    command.append(str(tmp_path / "run"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


# Public functions on CuPy arrays


def on_card(value):
    import cupy

    if isinstance(value, list):
        return [on_card(each) for each in value]
    return cupy.asarray(value) if isinstance(value, np.ndarray) else value


def results_of(name, arguments, options):
    results = getattr(fastconv, name)(*arguments, **options)
    return results if isinstance(results, tuple) else (results,)


@pytest.mark.parametrize(("name", "arguments", "options"), CALLS, ids=[name for name, *_ in CALLS])
def test_a_public_function_gives_the_numbers_of_numpy(name, arguments, options):
    import cupy

    expected = results_of(name, arguments, options | {"backend": "numpy"})
    results = results_of(name, map(on_card, arguments), options)
    for result, wanted in zip(results, expected, strict=True):
        assert isinstance(result, cupy.ndarray)
        assert result.dtype == wanted.dtype
        np.testing.assert_allclose(cupy.asnumpy(result), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["conv2d", "dense", "max_pool2d", "softmax_cross_entropy"])
def test_public_functions_launch_on_the_current_stream_and_wait_for_nothing(name):
    import cupy

    _, arguments, options = next(call for call in CALLS if call[0] == name)
    given = [on_card(a) for a in arguments]
    cupy.cuda.Device().synchronize()
    with cupy.cuda.Stream(non_blocking=True) as stream:
        # Loads the kernels, and leaves the memory of the results in the stream's pool.
        results_of(name, given, options)
        stream.begin_capture()  # waiting for a stream that is captured is an error
        try:
            results = results_of(name, given, options)
        finally:
            graph = stream.end_capture()
        for result in results:
            assert result.size
        graph.launch()
        stream.synchronize()
    expected = results_of(name, arguments, options | {"backend": "numpy"})
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(cupy.asnumpy(result), wanted, rtol=1e-12)


def test_labels_outside_the_classes_leave_the_card_in_order():
    import cupy

    labels = cupy.asarray(np.array([0, -1, 6, 2**40, 1]))
    losses = fastconv.nll(on_card(ROWS), labels)
    assert np.isnan(cupy.asnumpy(losses)).tolist() == [False, True, True, True, False]


def test_an_array_with_cudas_interface_is_waited_for_on_the_card():
    import cupy

    class Interface:
        def __init__(self, array, stream):
            self._array = array
            self.__cuda_array_interface__ = {
                **array.__cuda_array_interface__, "stream": stream.ptr, "version": 3,
            }  # fmt: skip

    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        x = cupy.zeros((512, 512))
        for _ in range(200):
            x += 1
    y = fastconv.relu(Interface(x, stream))
    assert (cupy.asnumpy(y) == 200).all()


def test_torch_tensors_of_the_card_are_taken_without_a_copy():
    import cupy

    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    x, w = (torch.tensor(a, device="cuda") for a in (ROWS, W_DENSE))
    out = torch.zeros(5, 3, dtype=torch.float64, device="cuda")
    assert id(fastconv.dense(x, w, out=out)) == id(out)  # the very tensor
    cupy.cuda.get_current_stream().synchronize()
    np.testing.assert_array_equal(out.cpu().numpy(), ROWS @ W_DENSE)
    y = fastconv.dense(x, w)
    assert isinstance(y, torch.Tensor)
    assert y.is_cuda
