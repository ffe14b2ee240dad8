"""What only a GPU can show: graphs, streams, and the same bits twice."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from fastconv.backends.cupy import fusion
from fastconv.backends.cupy.run import check_precision
from fastconv.backends.selection import backend_state
from fastconv.experiment import prepare
from fastconv.recipe import load_recipe
from fastconv.step_profile import synthetic_dataset

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not backend_state("cupy").works, reason=backend_state("cupy").reason),
]
RECIPES = ("mnist-strided", "lenet5", "cifar10-deep")


def trained(recipe, pieces, backend="cupy", precision="float32"):
    """Losses of the pieces and the weights after them."""
    loaded = load_recipe(recipe, [("batch_size", 4)])
    dataset = synthetic_dataset(loaded)
    trainer = prepare(loaded, backend=backend, precision=precision, dataset=dataset).trainer
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
def test_a_graph_does_what_single_launches_do(recipe):
    _, weights, steps = trained(recipe, [32])
    assert steps == 16
    _, one_by_one, steps = trained(recipe, [1] * 32)
    assert steps == 1
    np.testing.assert_array_equal(one_by_one, weights)


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


def test_the_sanitizer_finds_nothing(tmp_path):
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not installed")
    training = ["-m", "fastconv.train", "--backend", "cupy", "--steps", "40", "--quiet"]
    command = [sanitizer, "--error-exitcode", "9", sys.executable, *training, "--out"]
    command.append(str(tmp_path / "run"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
