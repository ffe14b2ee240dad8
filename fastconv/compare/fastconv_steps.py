"""fastconv's steps: from images of bytes, so that gathering and scaling a batch count."""

from __future__ import annotations

from fastconv.compare.setting import LEARNING_RATE, MOMENTUM, Setting, Steps
from fastconv.data import Samples
from fastconv.optimizers import Optimizer
from fastconv.trainer import Trainer


def variants(setting: Setting, threads: int) -> dict[str, Steps]:
    """Return what makes training steps, by how it does.

    Parameters
    ----------
    setting
        What is trained.
    threads
        As many at most; one is tried too.
    """
    return {
        f"{count} thread{'s'[: count - 1]}": _steps(setting, count)
        for count in sorted({1, threads})
    }


def _steps(setting: Setting, threads: int) -> Steps:
    trainer = Trainer(
        setting.network(),
        Samples(setting.images(), setting.labels()),
        loss="softmax_cross_entropy",
        optimizer=Optimizer("momentum", momentum=MOMENTUM),
        schedule=LEARNING_RATE,
        batch_size=setting.batch,
        preprocessing="scale",
        threads=threads,
    )

    def run(steps: int) -> None:
        while steps > 0:
            now = min(steps, trainer.steps_left_in_epoch())
            trainer.train(now)
            steps -= now

    return run
