"""What a model of a card predicts follows from launches, bytes and instructions."""

import dataclasses
import json
import math

import numpy as np
import pytest
from cuda_on_host import HostDevice, standing_in

from fastconv import profile
from fastconv.backends.cupy import run
from fastconv.backends.cupy.block_runner import rewritten_in_a_block
from fastconv.execution.config import ExecutionConfig
from fastconv.profiling import card_model
from fastconv.profiling.card_model import Launch, predict, predict_in_blocks
from fastconv.profiling.cards import CARDS
from fastconv.profiling.step_profile import synthetic_dataset
from fastconv.recipe import load_recipe
from fastconv.runs.experiment import prepare

H200 = CARDS["h200"]


def plan_of(recipe, batch):
    loaded = load_recipe(recipe, [("batch_size", batch)])
    config = ExecutionConfig("numpy")
    return prepare(loaded, dataset=synthetic_dataset(loaded), config=config).trainer.runner.plan


def test_the_launches_are_those_of_a_step():
    plan = plan_of("mnist-strided", 2)
    shared = {b.name: np.zeros(b.shape, b.dtype) for b in plan.buffers if b.shared}
    with standing_in(HostDevice()) as device:
        runner = run.Runner(plan, shared)
        device.launched.clear()
        runner.run(np.zeros((1, 2), np.int64))
    predicted = predict(plan, H200).launches
    assert [(each.kernel, each.grid, each.block) for each in predicted] == [
        launched[1:] for launched in device.launched
    ]


def test_a_kernel_without_arithmetic_takes_its_bytes_and_a_nodes_cost():
    # 96 MB are more than half the cache: 4800 GB/s, of which 85 % are reached.
    timed = card_model._timed(H200, Launch("copy<float>", (4096, 1, 1), (256, 1, 1), 96e6), ())
    assert timed.bound_by == "bytes"
    trips = 2 * 700 / 1750
    assert timed.microseconds == pytest.approx(0.8 + trips + 96e6 / (4800e9 * 0.85) * 1e6)


def test_a_kernel_of_nothing_takes_two_trips_through_the_cache():
    timed = card_model._timed(H200, Launch("begin_step", (1, 1, 1), (256, 1, 1), 64), ())
    assert timed.bound_by == "latency"
    assert timed.microseconds == pytest.approx(0.8 + 2 * 350 / 1750, rel=1e-3)


def test_products_take_their_instructions_wave_after_wave(monkeypatch):
    kernel = "conv2d_forward<float, 128, 64, 4, fastconv::FULL>"
    monkeypatch.setattr(card_model, "product_loops", lambda: {kernel: (1500, 1024, 16)})
    plan = plan_of("cifar10-deep", 4)
    (call, *_) = (call for call in plan.calls if call.kernel == "conv.conv2d_forward")
    spec = call.spec
    depth = math.prod(spec.kernel) * spec.in_channels
    blocks = 3 * H200.multiprocessors
    timed = card_model._timed(H200, Launch(kernel, (blocks, 1, 1), (128, 1, 1), 1e3), (call,))
    cycles = 3 * math.ceil(depth / 16) * 1500 * 4 / (4 * 0.85)
    assert timed.bound_by == "instructions"
    assert timed.microseconds == pytest.approx(0.8 + (2 * 350 + cycles) / 1750)


def test_every_product_that_a_network_launches_has_its_loop_counted():
    for precision in ("float32", "tf32", "bf16"):
        for batch in (1, 128):
            products = [
                launch.kernel
                for launch in predict(plan_of("cifar10-deep", batch), H200, precision).launches
                if card_model._PRODUCT.search(launch.kernel)
            ]
            assert products
            assert set(products) <= set(card_model.product_loops())


def test_more_images_take_longer_and_tensor_cores_do_not():
    small, large = plan_of("cifar10-deep", 1), plan_of("cifar10-deep", 256)
    one, many = (predict(plan, H200).microseconds for plan in (small, large))
    assert one < many < 256 * one
    assert predict(large, H200, "bf16").microseconds < many


def test_blocks_take_their_instructions_and_share_the_memory(monkeypatch):
    plan = plan_of("mnist-strided", 1)
    alone, together = predict_in_blocks(plan, H200)
    _, instructions = rewritten_in_a_block(plan)
    assert alone == pytest.approx(sum(each.cycles for each in instructions) / 1750)
    assert together == pytest.approx(alone / 132)
    slow = dataclasses.replace(H200, shared_bytes=0, cache_bytes=0, memory_gb=0.1)
    bytes_at_least = 4 * next(b.shape[0] for b in plan.buffers if b.name == "parameters")
    assert predict_in_blocks(plan, slow)[1] > bytes_at_least / 0.1 / 1e3
    assert predict_in_blocks(plan_of("mnist-batchnorm", 4), H200) is None


def test_the_command_says_that_it_is_no_measurement(capsys, tmp_path):
    asked = ["--recipe", "mnist-strided", "--model", "h200", "--json", str(tmp_path / "made.json")]
    assert profile.main([*asked, "--backend", "cupy"]) == 0
    shown = capsys.readouterr().out
    assert "predicted for H200 SXM: a model, no measurement" in shown
    assert "132 networks at once, a block each: 0.1" in shown
    made = json.loads((tmp_path / "made.json").read_text("utf-8"))
    total = sum(launch["microseconds"] for launch in made["launches"])
    assert made["predicted_microseconds"] == pytest.approx(total)
    assert profile.main([*asked, "--backend", "numpy"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("fastconv.profile: --model is 'h200', which is for launches on a card")
    assert len(told.splitlines()) == 1
