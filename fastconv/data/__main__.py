"""The command line: ``python -m fastconv.data PATH``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastconv.cli.command_line import Parser, check_writable, run, write_json

if TYPE_CHECKING:
    from fastconv.cli.progress import Display
    from fastconv.data.description import Description
    from fastconv.recipe import Recipe

_MODULE = "fastconv.data"
_MOST_SIZES = 8


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(_MODULE, "Say what there is in data of your own, before training on them.")
    add = parser.add_argument
    add(
        "path", metavar="PATH",
        help="folder with one folder of pictures for each class, or .npz, .npy, .csv, .parquet or "
        "IDX file (docs/data.md)",
    )  # fmt: skip
    add(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
        help="set a key of a recipe's [data], such as data.label=species (repeatable)",
    )  # fmt: skip
    add("--sheet", metavar="FILE", help="write examples of each class as a PNG file")
    add(
        "--augmented-sheet", metavar="FILE",
        help="write what augmentation makes of examples as a PNG file; say what is done by "
        "--set augmentation.KEY=VALUE",
    )  # fmt: skip
    parser.add_json("description")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return run(make_parser(), arguments, _describe)


def _describe(options: argparse.Namespace) -> int:
    # Imported when used: --help is to be there at once.
    from fastconv.cli.progress import Display
    from fastconv.data.description import describe
    from fastconv.recipe import load_recipe, parse_setting

    settings = [parse_setting(text) for text in options.settings]
    recipe = load_recipe("own-features", [*settings, ("data.path", options.path)])
    check_writable(options.json)
    check_writable(options.sheet, "--sheet")
    check_writable(options.augmented_sheet, "--augmented-sheet")
    found = describe(options.path, **recipe.data.options())
    if options.sheet is not None:
        from fastconv.data.sheet import write_sheet

        write_sheet(options.sheet, found.class_names, found.examples)
    if options.augmented_sheet is not None:
        _write_augmented(options.augmented_sheet, recipe, found)
    _show(Display(quiet=False, to_stderr=options.json == "-"), found)
    write_json(options.json, found.table())
    return 0


def _write_augmented(file: str, recipe: Recipe, found: Description) -> None:
    """Write a row for each class: an example, and what is made of it."""
    import numpy as np

    from fastconv.analysis.augmented_images import augmented_images
    from fastconv.data.errors import DataError
    from fastconv.data.sheet import write_sheet

    changes = recipe.augmentation.augmentation()
    if not changes.is_active:
        raise DataError(
            f"--augmented-sheet {file}: nothing is changed; say what, such as "
            f"--set augmentation.flip=true"
        )
    recipe.augmentation.check_images(found.image_shape)
    numbers = [number for number, images in found.examples.items() if images]
    images = np.stack([found.examples[number][0] for number in numbers]) if numbers else None
    rows = {}
    if images is not None:
        made = augmented_images(images, changes, seed=recipe.seed)
        rows = {n: [image, *of] for n, image, of in zip(numbers, images, made, strict=True)}
    write_sheet(file, found.class_names, rows)


def _show(display: Display, found: Description) -> None:
    from fastconv.data.description import findings

    height, width, channels = found.image_shape
    form = f"{channels} features" if (height, width) == (1, 1) else (
        f"{height} x {width} (height x width), {channels} channel{'s' * (channels > 1)}"
    )  # fmt: skip
    rows = [("kind", found.kind), ("form", form), ("values", f"{found.low:g} to {found.high:g}")]
    rows += [(part, f"{each.samples:,} samples") for part, each in found.parts.items()]
    if found.class_names:
        rows.append(("classes", f"{len(found.class_names):,}"))
    display.table(found.name, rows)
    if len(found.sizes) > 1:
        sizes = list(found.sizes.items())
        shown = [(f"{h} x {w}", f"{count:,}") for (h, w), count in sizes[:_MOST_SIZES]]
        if len(sizes) > _MOST_SIZES:
            rest = sum(count for _, count in sizes[_MOST_SIZES:])
            shown.append((f"{len(sizes) - _MOST_SIZES} other sizes", f"{rest:,}"))
        display.columns(("height x width", "pictures"), shown)
    if found.class_names:
        counts = [
            (name, *(f"{each.classes[number]:,}" for each in found.parts.values()))
            for number, name in enumerate(found.class_names)
        ]
        display.columns(("class", *found.parts), counts)
    for line in findings(found):
        display.text(f"note: {line}")


if __name__ == "__main__":
    sys.exit(main())
