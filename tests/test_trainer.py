"""What a trainer promises to code that uses it from Python."""

from __future__ import annotations

import gc
import json
import weakref

import numpy as np
import pytest

import fastconv
from fastconv.backends.selection import NAMES, backend_state, load_module
from fastconv.data import DataError, Samples
from fastconv.execution.evaluator import evaluation_batches
from fastconv.layers import Conv2D, Dense, Flatten, ReLU
from fastconv.optimizers import Optimizer
from fastconv.preprocessing import Preprocessing
from fastconv.schedules import Constant
from fastconv.train import main
from fastconv.training_loop import fit

SHAPE = (6, 6, 2)
CLASSES = 3


def made_samples(count: int = 20, seed: int = 0) -> Samples:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, *SHAPE), np.uint8)
    return Samples(images, generator.integers(0, CLASSES, count))


def made_trainer(samples: Samples, lr: float = 0.01, **options) -> fastconv.Trainer:
    network = fastconv.Sequential([Conv2D(4), ReLU(), Flatten(), Dense(CLASSES)], input_shape=SHAPE)
    options.setdefault("preprocessing", Preprocessing("scale"))
    return fastconv.Trainer(
        network,
        samples,
        loss="softmax_cross_entropy",
        optimizer=Optimizer("sgd"),
        schedule=Constant(lr),
        batch_size=5,
        **options,
    )


def test_predict_gives_the_scores_that_the_public_functions_give() -> None:
    samples = made_samples(300)  # more than one batch of evaluation, and a rest
    trainer = made_trainer(samples)
    network = trainer.network
    x = samples.images.astype(np.float32) / np.float32(255)
    y = fastconv.relu(
        fastconv.conv2d(x, network["conv2d_1.weight"], network["conv2d_1.bias"], layout="NHWC")
    )
    expected = y.reshape(300, -1) @ network["dense_1.weight"] + network["dense_1.bias"]
    np.testing.assert_allclose(trainer.predict(samples.images), expected, rtol=1e-4, atol=1e-5)


def test_predict_keeps_none_of_the_images() -> None:
    trainer = made_trainer(made_samples())
    images = made_samples(7, seed=1).images
    kept = weakref.ref(images)
    trainer.predict(images)
    del images
    gc.collect()
    assert kept() is None


def test_a_prediction_of_no_images_is_empty() -> None:
    trainer = made_trainer(made_samples())
    assert trainer.predict(np.zeros((0, *SHAPE), np.uint8)).shape == (0, CLASSES)


@pytest.mark.parametrize("backend", NAMES)
def test_every_plan_is_made_for_the_threads_asked_for(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not backend_state(backend).works:
        pytest.skip(f"{backend}: {backend_state(backend).reason}")
    run = load_module(backend, "run")
    asked: list[int | None] = []
    monkeypatch.setenv("FASTCONV_THREADS", "3")

    def made_runner(plan, shared, threads=None):
        asked.append(threads)
        return runner(plan, shared, threads)

    runner = run.Runner
    monkeypatch.setattr(run, "Runner", made_runner)
    samples = made_samples(7)
    for threads in (None, 2):
        trainer = made_trainer(samples, backend=backend, threads=threads)
        trainer.evaluate(samples)
        trainer.predict(samples.images)
    # A prediction of so little is made before other threads were awake.
    assert asked == [3, 3, 1, 2, 2, 1]


def test_the_training_plan_can_be_reached() -> None:
    trainer = made_trainer(made_samples())
    assert trainer.runner.plan.batch == 5
    assert 0 < trainer.plan_seconds < trainer.warmup_seconds


def test_an_evaluation_takes_each_sample_once() -> None:
    for samples in (1, 255, 256, 257, 600):
        batches = list(evaluation_batches(samples))
        order = np.concatenate([indices.ravel() for indices, _ in batches])
        np.testing.assert_array_equal(order, np.arange(samples))
        for indices, batch in batches:
            assert indices.shape[1] == batch
    assert list(evaluation_batches(0)) == []


def test_predictions_agree_with_the_accuracy() -> None:
    samples = made_samples(30)
    trainer = made_trainer(samples)
    chosen = trainer.predict(samples.images).argmax(axis=1)
    assert trainer.evaluate(samples).accuracy == pytest.approx((chosen == samples.labels).mean())


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_labels_outside_the_networks_outputs_are_refused(label: int) -> None:
    samples = made_samples()
    labels = samples.labels.copy()
    labels[3] = label
    wrong = Samples(samples.images, labels)
    with pytest.raises(DataError, match=f"{label}.*expected 0 to 2"):
        made_trainer(wrong)
    with pytest.raises(DataError, match=f"{label}.*expected 0 to 2"):
        made_trainer(samples).evaluate(wrong)


def test_images_of_another_size_are_refused() -> None:
    trainer = made_trainer(made_samples())
    other = Samples(np.zeros((4, 5, 6, 2), np.uint8), np.zeros(4, np.int64))
    with pytest.raises(DataError, match=r"\(5, 6, 2\).*\(6, 6, 2\)"):
        trainer.evaluate(other)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (np.zeros(3), np.ones(3), "mean has 3 values; expected 2"),
        (np.zeros(2), np.ones(72), "std has 72 values"),
        (np.zeros(2), np.array([1.0, 0.0]), "not above 0"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(mean, std, message: str) -> None:
    preprocessing = Preprocessing("standardize", mean=mean, std=std)
    with pytest.raises(DataError, match=message):
        made_trainer(made_samples(), preprocessing=preprocessing)


def test_a_last_update_that_ruins_the_network_is_divergence() -> None:
    trainer = made_trainer(made_samples(), lr=1e38)
    trainer.network.parameters[...] *= 1e3
    result = fit(trainer, 1)
    assert np.isfinite(result.training.loss)  # it was counted before the update
    assert result.stopped == "diverged"


def test_preparing_the_evaluation_counts_as_warm_up() -> None:
    samples = made_samples()
    trainer = made_trainer(samples)
    before = trainer.warmup_seconds
    trainer.prepare_evaluation(samples)
    assert trainer.warmup_seconds > before
    assert trainer.train_seconds == 0


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (["loss=nll"], "log_softmax"),
        (["layers.6.kind=softmax"], "own softmax"),
    ],
)
def test_a_loss_that_does_not_fit_the_last_layer_is_refused(
    settings: list[str], fault: str, tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "epochs = 1\n"
        + "".join(
            f"[[layers]]\nkind = {kind!r}\n{rest}"
            for kind, rest in (
                ("conv2d", "filters = 2\n"),
                ("relu", ""),
                ("relu", ""),
                ("relu", ""),
                ("flatten", ""),
                ("dense", "units = 10\n"),
                ("relu", ""),
            )
        )
    )
    flags = [word for setting in settings for word in ("--set", setting)]
    assert main(["--recipe", str(recipe), "--out", str(tmp_path / "run"), *flags]) == 2
    error = capsys.readouterr().err
    assert fault in error
    assert error.count("\n") == 1


def test_the_final_training_accuracy_leaves_the_appended_copy_out(tmp_path) -> None:
    # With every copy turned by up to 180 degrees, half of the doubled set could not be learned.
    summary = tmp_path / "summary.json"
    flags = ["augmentation.mode=append", "augmentation.rotation=180", "epochs=3"]
    main(
        [
            *(word for flag in flags for word in ("--set", flag)),
            *(
                "--evaluate-train",
                "--quiet",
                "--json",
                str(summary),
                "--out",
                str(tmp_path / "run"),
            ),
        ]
    )
    content = json.loads(summary.read_text())
    assert content["train_accuracy_final"] > content["train_accuracy"] + 0.05
