"""The command line: ``python -m fastconv.predict RUN image.png ...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
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
    write_json,
)

if TYPE_CHECKING:
    from fastconv.runs.saved_run import SavedRun

_MODULE = "fastconv.predict"
FITS = ("crop", "pad", "stretch")
"""As :data:`fastconv.data.picture_files.FITS`, which Pillow would be imported for."""


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(_MODULE, "Say what the network of a run takes pictures for.")
    add = parser.add_argument
    add("run", metavar="RUN", help="folder that fastconv.train wrote")
    add("images", nargs="+", metavar="IMAGE", help="file that Pillow reads")
    add("--top", type=positive, default=3, metavar="N", help="classes to show (default: 3)")
    add(
        "--fit", choices=FITS, default="crop",
        help="what becomes of another ratio of height to width (default: crop)",
    )  # fmt: skip
    add("--invert", action="store_true", help="make dark bright, such as ink on paper for MNIST")
    parser.add_backend()
    parser.add_device()
    parser.add_threads()
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
    from fastconv.data.picture_files import PictureError, read_picture
    from fastconv.runs.saved_run import RunError, load_run

    saved = load_run(options.run)
    if not saved.class_names:
        raise RunError(f"run {saved.path}: is a regression; predict is for classes of images")
    check_writable(options.json)
    config = execution_config(options)
    pixels, names, unreadable = [], [], []
    for path in options.images:
        try:
            picture = read_picture(path, saved.image_shape, fit=options.fit, invert=options.invert)
        except PictureError as fault:
            unreadable.append(path)
            print(f"{_MODULE}: {fault}", file=sys.stderr)
            continue
        pixels.append(picture)
        names.append(path)
    found: list[dict[str, Any]] = []
    if pixels:
        with threadpool_limits(config.threads):
            inference = saved.inference(config)
            scores = inference.predict(np.stack(pixels))
        saved.require_finite(scores)
        found = _classes(saved, names, scores, options.top)
    display = Display(quiet=False, to_stderr=options.json == "-")
    for each in found:
        shown = ", ".join(f"{c['class']} {percent(c['probability'])} %" for c in each["classes"])
        display.text(f"{each['image']}: {shown}")
    content = {"run": str(saved.path), "predictions": found, "unreadable": unreadable}
    write_json(options.json, content)
    return EXIT_USER_ERROR if unreadable else 0


def _classes(saved: SavedRun, names: Sequence[str], scores: Any, top: int) -> list[dict[str, Any]]:
    """Return the most probable classes of each image."""
    import numpy as np

    from fastconv.functional.activation import softmax

    probabilities = softmax(scores.astype(np.float64))
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
