"""Parsing for all command lines, and one line and an exit code for every mistake."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv._errors import UserError
from fastconv._extras import MissingExtra, missing_extra
from fastconv.backends.selection import NAMES, PRECISIONS
from fastconv.cli import standard_streams

if TYPE_CHECKING:
    from fastconv.averaged_views import Views
    from fastconv.execution.config import ExecutionConfig

FIGURES = ("png", "svg")
"""Files of pictures: PNG alone, or SVG beside it."""
EXIT_USER_ERROR, EXIT_DIVERGED = 2, 3
EXIT_INTERRUPTED = 130
EXIT_UNREAD = 141
"""Nobody reads what is printed any more, as in ``... | head``: 128 + SIGPIPE, as shells count."""


def positive(text: str) -> int:
    """Read an integer of 1 or more, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}; expected 1 or more")
    return number


positive.__name__ = "integer"  # argparse names the type by it: "invalid integer value"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line.

    Parameters
    ----------
    module
        The module that ``python -m`` runs, such as "fastconv.train".
    description
        What it does, in a sentence.
    """

    def __init__(self, module: str, description: str) -> None:
        super().__init__(prog=f"python -m {module}", description=description, allow_abbrev=False)
        self.module = module

    def error(self, message: str) -> Any:
        """Say what is wrong and exit with code 2."""
        self.exit(EXIT_USER_ERROR, f"{self.module}: {message} (see --help)\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; a word without its option is told which one it may belong to."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            told = f"unrecognized arguments: {' '.join(rest)}"
            if not rest[0].startswith("-") and hasattr(found, "recipe"):
                told += f"; a recipe is named by --recipe {rest[0]}"
            self.error(told)
        return found

    def add_recipe(self, default: str, verb: str) -> None:
        """Add --recipe."""
        self.add_argument(
            "--recipe", default=default, metavar="NAME|FILE",
            help=f"recipe to {verb} (default: {default})",
        )  # fmt: skip

    def add_data_dir(self, otherwise: str) -> None:
        """Add --data-dir."""
        self.add_argument(
            "--data-dir", metavar="DIR", help=f"folder of the data sets (default: {otherwise})"
        )

    def add_any_data(self) -> None:
        """Add --any-data."""
        self.add_argument(
            "--any-data", action="store_true",
            help="go on where the data found are not those that the run was trained on",
        )  # fmt: skip

    def add_allow_custom(self) -> None:
        """Add --allow-custom; :func:`run` sees to it."""
        self.add_argument(
            "--allow-custom", action="store_true",
            help="run the code of layers that a recipe names as package.module:Name",
        )  # fmt: skip

    def add_views(self) -> None:
        """Add --average-flips and --average-crops; :func:`views_of` reads them."""
        self.add_argument(
            "--average-flips", action="store_true",
            help="average the scores of each image and its mirror image",
        )  # fmt: skip
        self.add_argument(
            "--average-crops", type=positive, metavar="N",
            help="average the scores of each image and four crops, N pixels up or down, left or "
            "right of it",
        )  # fmt: skip

    def add_device(self) -> None:
        """Add --device; :func:`execution_config` reads it."""
        self.add_argument(
            "--device", type=int, metavar="N", help="number of the CUDA device, for --backend cupy"
        )

    def add_precision(self) -> None:
        """Add --precision; :func:`execution_config` reads it."""
        self.add_argument(
            "--precision", choices=PRECISIONS, default=PRECISIONS[0],
            help="what factors of products are rounded to: bf16 with --backend cython or cupy, "
            "tf32 with cupy (default: float32)",
        )  # fmt: skip

    def add_backend(self) -> None:
        """Add --backend; :func:`execution_config` reads it."""
        self.add_argument(
            "--backend", metavar="NAME",
            help=f"auto, {', '.join(NAMES)} (default: FASTCONV_BACKEND, or auto)",
        )  # fmt: skip

    def add_threads(self) -> None:
        """Add --threads; :func:`execution_config` reads it."""
        self.add_argument(
            "--threads", type=positive, metavar="N",
            help="threads (default: FASTCONV_THREADS, or the cores there are)",
        )  # fmt: skip

    def add_figures(self, default: str | None = None) -> None:
        """Add --figures."""
        self.add_argument(
            "--figures", choices=FIGURES, default=default,
            help="write the page's pictures as files too: png, or svg for both (default: "
            f"{default or 'neither'})",
        )  # fmt: skip

    def add_json(self, what: str) -> None:
        """Add --json."""
        self.add_argument(
            "--json", metavar="FILE|-",
            help=f"write the {what} as JSON; - is stdout, left to it alone",
        )  # fmt: skip


def execution_config(options: argparse.Namespace) -> ExecutionConfig:
    """Return what --backend, --threads, --precision and --device say, as far as there are such.

    Raises
    ------
    BackendError
        If one of them, or FASTCONV_THREADS, is not what it may be.
    """
    from fastconv.execution.config import ExecutionConfig

    given = {name: getattr(options, name, None) for name in ("backend", "threads", "device")}
    return ExecutionConfig(**given, precision=getattr(options, "precision", PRECISIONS[0]))


def views_of(options: argparse.Namespace) -> Views:
    """Return the views of each image that --average-flips and --average-crops ask for.

    Parameters
    ----------
    options
        Of a parser with :meth:`Parser.add_views`.
    """
    from fastconv.averaged_views import Views

    return Views(options.average_flips, options.average_crops or 0)


def check_writable(file: str | None, option: str = "--json") -> None:
    """Find out before the work that the file of an option can be written.

    Parameters
    ----------
    file
        The option's value; there is nothing to find out for None, and for -, which is stdout.
    option
        Its name.

    Raises
    ------
    OutputError
        If not.
    """
    if file in (None, "-"):
        return
    from fastconv.runs.run_folder import OutputError

    path = Path(str(file))
    if not path.parent.is_dir() or path.is_dir():
        raise OutputError(
            f"{option} {path}: no such folder, or a folder itself; give a file's path"
        )
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as fault:
        raise OutputError(
            f"{option} {path}: cannot be written ({fault.strerror}); give another file's path"
        ) from None


def write_json(json: str | None, content: dict[str, Any]) -> None:
    """Write what --json asked for: nothing, to stdout or to a file."""
    if not json:
        return
    from fastconv._files import replace_file
    from fastconv.runs.run_folder import to_json

    if json == "-":
        print(to_json(content), end="")
    else:
        with replace_file(json, follows_links=True) as file:
            file.write(to_json(content))


def run(
    parser: Parser, arguments: Sequence[str] | None, work: Callable[[argparse.Namespace], int]
) -> int:
    """Do the work of a command line; return its exit code, and say each mistake in one line.

    Parameters
    ----------
    parser
        Of the command line.
    arguments
        To parse; None for those of the process.
    work
        Is given the options, does the work, and returns the exit code.

    Raises
    ------
    SystemExit
        After --help, or wrong arguments.
    """
    with standard_streams.any_text():
        try:
            try:
                return _do(parser.module, lambda: work(_parsed(parser, arguments)))
            finally:
                # Here rather than when Python ends, where a fault could not be answered any more.
                standard_streams.flush()
        except BrokenPipeError:
            standard_streams.discard()
            return EXIT_UNREAD
        except OSError as fault:  # a full disk behind > FILE
            standard_streams.discard()
            return _fail(parser.module, f"output: {fault.strerror or fault}")


def _parsed(parser: Parser, arguments: Sequence[str] | None) -> argparse.Namespace:
    options: argparse.Namespace = parser.parse_args(arguments)
    if getattr(options, "allow_custom", False):
        from fastconv.layers import allow_custom

        allow_custom()
    return options


def _do(module: str, work: Callable[[], int]) -> int:
    """Do the work, and say each mistake in one line."""
    try:
        return work()
    except BrokenPipeError:
        raise  # no mistake: who read has seen enough
    except ModuleNotFoundError as fault:
        told = missing_extra(module, fault)
        if told is fault:
            raise
        return _fail(module, str(told).removeprefix(f"{module}: "))
    except MissingExtra as fault:
        return _fail(module, str(fault))
    except ImportError as fault:  # such as NumPy's, whose libraries need room to be loaded
        lines = [line for line in str(fault).splitlines() if line.strip()]
        return _fail(
            module,
            f"a library cannot be loaded ({lines[-1].strip() if lines else type(fault).__name__}); "
            f"install it again, or give this process more memory",
        )
    except MemoryError as fault:
        return _fail(module, f"not enough memory ({fault}); use a smaller batch size or network")
    except (UserError, OSError, UnicodeEncodeError) as fault:
        return _fail(module, _message(fault))
    except KeyboardInterrupt:
        print(f"{module}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _message(fault: UserError | OSError | UnicodeEncodeError) -> str:
    """Say in one line what is wrong."""
    if isinstance(fault, UserError):
        return str(fault)
    if isinstance(fault, OSError):  # a full disk, a folder taken away
        return f"{fault.filename or 'output'}: {fault.strerror or fault}"
    # What is printed is written as escapes: this is a file's name.
    return (
        f"{fault.object!r} cannot be written: {fault.encoding} lacks "
        f"{fault.object[fault.start : fault.end]!r}; set PYTHONUTF8=1, or choose another name"
    )


def say(module: str, remark: str) -> None:
    """Say in one line on stderr what must not be missed, if there is something.

    Parameters
    ----------
    module
        The module that ``python -m`` runs.
    remark
        The line; empty for nothing.
    """
    if remark:
        print(f"{module}: {' '.join(remark.split())}", file=sys.stderr)


def _fail(module: str, message: str) -> int:
    """Say what is wrong in one line."""
    say(module, message)
    return EXIT_USER_ERROR
