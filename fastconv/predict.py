"""The command line: ``python -m fastconv.predict RUN image.png ...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fastconv._extras import require_extra

if __name__ == "__main__":  # before what needs them is imported
    require_extra("train", "python -m fastconv.predict")

from fastconv.cli.command_line import (
    EXIT_USER_ERROR,
    Parser,
    check_writable,
    execution_config,
    positive,
    run,
    say,
    views_of,
    write_json,
)

if TYPE_CHECKING:
    from fastconv.data.unlabelled import NamedImages
    from fastconv.runs.saved_run import SavedRun

_MODULE = "fastconv.predict"
_AT_A_TIME = 1024
"""Pictures that are read before the network is given them."""
_OTHER_GROUND = 0.6
"""Difference of brightness at the edges, of 1, that says that ink and paper are exchanged."""
FITS = ("crop", "pad", "stretch")
"""As :data:`fastconv.data.picture_files.FITS`, which Pillow would be imported for."""


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(_MODULE, "Say what the network of a run takes pictures for.")
    add = parser.add_argument
    add("run", metavar="RUN", help="folder that fastconv.train wrote")
    add(
        "images", nargs="+", metavar="IMAGE",
        help="picture, folder of pictures, or .npy, .npz, .csv, .parquet or IDX file of images",
    )  # fmt: skip
    add("--top", type=positive, default=3, metavar="N", help="classes to show (default: 3)")
    add(
        "--fit", choices=FITS,
        help="what becomes of another ratio of height to width (default: as in training, or crop)",
    )  # fmt: skip
    add("--invert", action="store_true", help="make dark bright, such as ink on paper for MNIST")
    parser.add_backend()
    parser.add_device()
    parser.add_threads()
    parser.add_allow_custom()
    parser.add_views()
    add("--csv", metavar="FILE", help="write a line for each image with all probabilities as CSV")
    parser.add_json("predictions")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return run(make_parser(), arguments, _predict)


def _predict(options: argparse.Namespace) -> int:
    # Imported when used: --help is to be there at once.
    import numpy as np
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from fastconv.cli.progress import Display, percent
    from fastconv.data.unlabelled import unlabelled
    from fastconv.functional.softmax import softmax
    from fastconv.runs.saved_run import RunError, load_run

    saved = load_run(options.run)
    if not saved.class_names:
        raise RunError(f"run {saved.path}: is a regression; predict is for classes of images")
    check_writable(options.json)
    check_writable(options.csv, "--csv")
    if options.csv == "-":
        raise RunError("--csv is -; expected the path of a file")
    config = execution_config(options)
    unreadable: list[str] = []
    names: list[str] = []
    scores: list[Any] = []
    with threadpool_limits(config.threads):
        inference = None
        given = unlabelled(options.images, saved.image_shape, saved.recipe.data)
        for batch in _batches(given, saved, options, unreadable):
            inference = inference or saved.inference(config)
            scores.append(
                views_of(options).scores(inference.predict, batch.images)
                if options.average_flips or options.average_crops
                else inference.predict(batch.images)
            )
            saved.require_finite(scores[-1])
            names += batch.names
    found: list[dict[str, Any]] = []
    if names:
        probabilities = softmax(np.concatenate(scores).astype(np.float64))
        found = _classes(saved, names, probabilities, options.top)
        if options.csv is not None:
            _write_csv(options.csv, saved, names, probabilities)
    display = Display(quiet=False, to_stderr=options.json == "-")
    for each in found:
        shown = ", ".join(f"{c['class']} {percent(c['probability'])} %" for c in each["classes"])
        display.text(f"{each['image']}: {shown}")
    content = {"run": str(saved.path), "predictions": found, "unreadable": unreadable}
    write_json(options.json, content)
    return EXIT_USER_ERROR if unreadable else 0


def _batches(
    given: Iterable[str | NamedImages],
    saved: SavedRun,
    options: argparse.Namespace,
    unreadable: list[str],
) -> Iterator[NamedImages]:
    """Read pictures, some at a time, and pass arrays on; what cannot be read is said and noted."""
    import numpy as np

    from fastconv.data.errors import DataError
    from fastconv.data.names import OWN
    from fastconv.data.picture_files import PictureError, read_picture
    from fastconv.data.picture_rows import FIT_OF
    from fastconv.data.unlabelled import NamedImages

    usual = saved.recipe.data.effective_fit if saved.recipe.data.dataset == OWN else "refuse"
    fit = options.fit or FIT_OF[usual]
    scale = _pixel_scale(saved)
    names: list[str] = []
    pixels: list[Any] = []
    hinted = False
    for each in given:
        if not isinstance(each, str):
            yield each
            continue
        try:
            picture = read_picture(
                each, saved.image_shape, fit=fit, invert=options.invert, bits=saved.bits
            )
        except PictureError as fault:
            unreadable.append(each)
            print(f"{_MODULE}: {fault}", file=sys.stderr)
            continue
        if scale is None:
            low, high = saved.image_range or (0.0, 255.0)
            raise DataError(
                f"{each}: is a picture, but run {saved.path} was trained on numbers from {low:g} "
                f"to {high:g}; give images as they were then, in an .npy, .npz or .csv file"
            )
        if not hinted and not options.invert and _is_other_ground(saved, picture):
            hinted = True
            say(
                _MODULE,
                f"{each}: is bright at its edges, where the pictures of the training are dark, or "
                f"the reverse; if it is ink on paper, try --invert",
            )
        pixels.append(picture if scale == 1 else picture * np.float32(scale))
        names.append(each)
        if len(pixels) == _AT_A_TIME:
            yield NamedImages(names, np.stack(pixels))
            names, pixels = [], []
    if pixels:
        yield NamedImages(names, np.stack(pixels))


def _is_other_ground(saved: SavedRun, picture: Any) -> bool:
    """Whether a picture is bright where those of the training are dark, or the reverse."""
    from fastconv.runs.run_folder import brightness_of_edges

    if saved.ground is None:
        return False
    return abs(brightness_of_edges(picture[None]) - saved.ground) > _OTHER_GROUND


def _pixel_scale(saved: SavedRun) -> float | None:
    """Factor that brings pixels from 0 to 255 to those of training; None if nothing would."""
    if saved.image_range is None:
        return 1.0
    low, high = saved.image_range
    if low >= 0 and high <= 1:
        return 1 / 255
    return 1.0 if low >= 0 and 1 < high <= 255 else None


def _write_csv(file: str, saved: SavedRun, names: Sequence[str], probabilities: Any) -> None:
    """Write a line for each image: the most probable class, and the probability of each."""
    import csv

    from fastconv._files import as_text, replace_file

    with replace_file(file, follows_links=True) as lines:
        writer = csv.writer(lines, lineterminator="\n")
        heads = [f"probability of {name}" for name in saved.class_names]
        writer.writerow(["image", "class", "probability", *heads])
        for name, row in zip(names, probabilities.tolist(), strict=True):
            best = max(range(len(row)), key=row.__getitem__)
            writer.writerow([as_text(name), saved.class_names[best], row[best], *row])


def _classes(
    saved: SavedRun, names: Sequence[str], probabilities: Any, top: int
) -> list[dict[str, Any]]:
    """Return the most probable classes of each image."""
    import numpy as np

    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [
        {
            "image": name,
            "classes": [
                {"class": saved.class_names[c], "probability": float(probabilities[n, c])}
                for c in order[n]
            ],
        }
        for n, name in enumerate(names)
    ]


if __name__ == "__main__":
    sys.exit(main())
