"""The command line: ``python -m fastconv.export RUN network.onnx``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fastconv._extras import require_extra

if __name__ == "__main__":  # before what needs them is imported
    require_extra("train", "python -m fastconv.export")

from fastconv.cli.command_line import Parser, run

_MODULE = "fastconv.export"


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(_MODULE, "Write the network of a run to an ONNX file.")
    add = parser.add_argument
    add("run", metavar="RUN", help="folder that fastconv.train wrote")
    add("file", metavar="FILE", help="ONNX file to write, such as network.onnx")
    add(
        "--opset", type=int, choices=(18, 19, 20, 21), default=18,
        help="version of the operators (default: 18)",
    )  # fmt: skip
    add(
        "--order", choices=("NCHW", "NHWC"), default="NCHW",
        help="order of the axes of images (default: NCHW)",
    )  # fmt: skip
    add(
        "--pixels", action="store_true",
        help="take raw pixels, bytes, and do the preprocessing of the training within the file",
    )  # fmt: skip
    add("--probabilities", action="store_true", help="give probabilities in place of scores")
    parser.add_allow_custom()
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    return run(make_parser(), arguments, _export)


def _export(options: argparse.Namespace) -> int:
    # Imported when used: --help is to be there at once.
    from fastconv.cli.progress import Display
    from fastconv.interop.onnx import OnnxError, export
    from fastconv.runs.saved_run import RunError, load_run

    saved = load_run(options.run)
    if options.probabilities and not saved.class_names:
        raise RunError(f"run {saved.path}: is a regression; --probabilities is for classes")
    if options.pixels and saved.image_range not in (None, (0.0, 255.0)):
        low, high = saved.image_range or (0.0, 255.0)
        raise RunError(
            f"run {saved.path}: was trained on numbers from {low:g} to {high:g}; --pixels is for "
            f"bytes from 0 to 255"
        )
    network = saved.network()
    try:
        export(
            network, options.file, opset=options.opset, order=options.order,
            preprocessing=saved.preprocessing, takes_pixels=options.pixels,
            class_names=saved.class_names, probabilities=options.probabilities,
        )  # fmt: skip
    except OnnxError as fault:  # the command's own name is that of the function
        raise OnnxError(str(fault).removeprefix("export: ")) from None
    names = f", {len(saved.class_names)} classes" if saved.class_names else ""
    Display(quiet=False, to_stderr=False).text(
        f"{options.file}: {len(network.vertices)} layers, {network.parameter_count:,} "
        f"parameters{names}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
