"""The command line: ``python -m fastconv.evaluate RUN``."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastconv._extras import require_extra

if __name__ == "__main__":  # before what needs them is imported
    require_extra("train", "python -m fastconv.evaluate")

from fastconv.cli.command_line import (
    Parser,
    check_writable,
    execution_config,
    run,
    say,
    views_of,
    write_json,
)

if TYPE_CHECKING:
    from fastconv.cli.progress import Display
    from fastconv.data import Dataset, Samples
    from fastconv.runs.saved_run import SavedRun

_MODULE = "fastconv.evaluate"
PARTS = ("test", "validation", "training")


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(_MODULE, "Apply the network of a run to the data set that it was made for.")
    parser.add_argument("run", metavar="RUN", help="folder that fastconv.train wrote")
    parser.add_argument(
        "--part", choices=PARTS, default="test", help="part of the data set (default: test)"
    )
    parser.add_argument(
        "--data", metavar="PATH",
        help="other labelled data with the run's classes: a folder of pictures, or an .npz, .csv, "
        ".parquet or IDX file; all of them, or --part where they have parts",
    )  # fmt: skip
    parser.add_data_dir("FASTCONV_DATA, or download")
    parser.add_any_data()
    parser.add_backend()
    parser.add_device()
    parser.add_threads()
    parser.add_allow_custom()
    parser.add_views()
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    parser.add_json("scores")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return run(make_parser(), arguments, _evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    # Imported when used: --help is to be there at once.
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from fastconv.cli.progress import Display
    from fastconv.runs.saved_run import load_run

    saved = load_run(options.run)
    check_writable(options.json)
    config = execution_config(options)
    with threadpool_limits(config.threads):
        inference = saved.inference(config)
        name, part, samples, agreement = _samples(saved, options)
        scores, views = inference.empty_scores(samples), 1
        if options.average_flips or options.average_crops:
            averaged = views_of(options)
            views = averaged.count
            scores[...] = averaged.scores(inference.predict, samples.images)
            loss = _loss(saved.recipe.loss, scores, samples)
        else:
            loss = inference.evaluate(samples, scores=scores).loss
    saved.require_finite(scores)
    content: dict[str, Any] = {
        "run": str(saved.path),
        "dataset": name,
        "data": agreement,
        "part": part,
        "samples": len(samples),
        "backend": config.backend,
        "loss": loss,
        "views": views,
    }
    display = Display(quiet=options.quiet, to_stderr=options.json == "-")
    if samples.has_classes:
        content.update(_classes(display, content, saved, samples, scores))
    else:
        content.update(_regression(display, content, samples, scores))
    write_json(options.json, content)
    return 0


def _loss(loss: str, scores: Any, samples: Samples) -> float:
    """Return the mean loss of scores."""
    import numpy as np

    from fastconv.functional import loss as losses

    wide, labels = scores.astype(np.float64), samples.labels
    if loss == "softmax_cross_entropy":
        return float(losses.softmax_cross_entropy(wide, labels)[0].mean())
    if loss == "nll":
        return float(losses.nll(wide, labels).mean())
    return float(losses.mean_squared_error(wide, labels.astype(np.float64)).mean())


def _samples(saved: SavedRun, options: argparse.Namespace) -> tuple[str, str, Samples, str]:
    """Return name, part, samples, and whether they are those of the run."""
    from fastconv.runs.data_of_run import check_data, load_data
    from fastconv.runs.saved_run import RunError

    if options.data is None:
        dataset = load_data(saved, options.data_dir, any_data=options.any_data)
        samples = _part(dataset, options.part)
        check = check_data(saved, dataset, any_data=options.any_data)
        say(_MODULE, check.remark)
        return dataset.name, options.part, samples, check.agreement
    if options.data_dir is not None:
        raise RunError(
            f"--data is {options.data} and --data-dir is {options.data_dir}; the second is for the "
            f"run's own data: leave one out"
        )
    from fastconv.data.labelled import load_labelled
    from fastconv.data.names import OWN
    from fastconv.data.own_options import data_name

    section = saved.recipe.data
    own = section.options() if section.dataset == OWN else {}
    samples, part, remarks = load_labelled(
        options.data, saved.class_names, saved.image_shape, part=options.part, **own
    )
    for remark in remarks:
        say(_MODULE, remark)
    return data_name(options.data), part, samples, "other"


def _part(dataset: Dataset, name: str) -> Samples:
    samples = dataset.parts.get(name)
    if samples is None or not len(samples):
        from fastconv.data import DataError

        there = [part for part, each in dataset.parts.items() if len(each)]
        raise DataError(
            f"--part is {name} but this run of {dataset.name} has none; expected "
            f"{' or '.join(there)}"
        )
    return samples


def _title(content: dict[str, Any]) -> str:
    return f"{content['dataset']}, {content['part']} part: {content['samples']:,} samples"


def _classes(
    display: Display, content: dict[str, Any], saved: SavedRun, samples: Samples, scores: Any
) -> dict[str, Any]:
    """Show and return what there is to say of a classification."""
    from fastconv import metrics
    from fastconv.cli.progress import percent

    names = saved.class_names
    matrix = metrics.confusion_matrix(samples.labels, scores.argmax(axis=1), len(names))
    by_class = metrics.class_scores(matrix)
    display.table(
        _title(content),
        [("loss", f"{content['loss']:.4f}"), ("accuracy", f"{percent(by_class.accuracy)} %")],
    )
    rows = [
        (name, *(percent(_or_none(column[n])) for column in (by_class.precision, by_class.recall,
         by_class.f1)), f"{by_class.support[n]:,}")
        for n, name in enumerate(names)
    ]  # fmt: skip
    display.columns(("class", "precision %", "recall %", "F1 %", "samples"), rows)
    return {
        "accuracy": by_class.accuracy,
        "classes": [
            {
                "name": name,
                "precision": float(by_class.precision[n]),
                "recall": float(by_class.recall[n]),
                "f1": float(by_class.f1[n]),
                "samples": int(by_class.support[n]),
                "predicted": int(by_class.predicted[n]),
            }
            for n, name in enumerate(names)
        ],
        "confusion_matrix": matrix.tolist(),
    }


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _regression(
    display: Display, content: dict[str, Any], samples: Samples, scores: Any
) -> dict[str, Any]:
    """Show and return what there is to say of a regression."""
    from fastconv import metrics

    found = metrics.regression_scores(samples.labels, scores)
    rows = {
        "mean_squared_error": found.mean_squared_error,
        "root_mean_squared_error": found.root_mean_squared_error,
        "mean_absolute_error": found.mean_absolute_error,
        "r2": found.r2,
    }
    display.table(
        _title(content), [(name.replace("_", " "), f"{value:.6g}") for name, value in rows.items()]
    )
    return rows


if __name__ == "__main__":
    sys.exit(main())
