"""What ``python -m fastconv`` says: which commands there are, each a module of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence

COMMANDS = {
    "train": "train a small network from a recipe",
    "data": "say what there is in data of your own, before training on them",
    "evaluate": "loss, accuracy and the scores of each class of a run",
    "predict": "name pictures by a run's network",
    "report": "write the page of a run again, or compare several",
    "export": "write a run's network as an ONNX file",
    "search": "search for the settings of a recipe",
    "profile": "show where the time of a training step goes",
    "compare": "time training steps beside PyTorch and JAX, by the size of the network",
    "verify": "compare every kernel with slow loops, on this machine",
    "reproduce": "train the systems of the course reports, and check their claims",
}
"""What is behind ``python -m fastconv.``, and what each does."""
_EXIT_USER_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """List the commands; return the exit code.

    Parameters
    ----------
    arguments
        Of the command line; anything but a call for help is a mistake.

    Examples
    --------
    >>> main([])
    python -m fastconv.train      train a small network from a recipe
    ...
    0
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] not in ("-h", "--help"):
        name = given[0]
        wanted = f"python -m fastconv.{name}" if name in COMMANDS else "one of its commands"
        print(
            f"fastconv: unrecognized argument {name!r}; use {wanted} (see --help)", file=sys.stderr
        )
        return _EXIT_USER_ERROR
    for name, does in COMMANDS.items():
        print(f"python -m fastconv.{name:<10} {does}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
