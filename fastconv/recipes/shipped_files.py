"""The TOML files that come with fastconv, by name, and a person's own, by path."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from fastconv.recipes.schema import RecipeError, nearest


def shipped_names(folder: str) -> tuple[str, ...]:
    """Names of the TOML files in a folder of the package, such as "recipes".

    Examples
    --------
    >>> "digits" in shipped_names("recipes")
    True
    """
    files = (resources.files("fastconv") / folder).iterdir()
    return tuple(sorted(f.name[:-5] for f in files if f.name.endswith(".toml")))


def is_path(name_or_file: str) -> bool:
    """Whether a path is meant: with a slash, or ending in .toml."""
    return "/" in name_or_file or "\\" in name_or_file or name_or_file.endswith(".toml")


def read_toml(kind: str, folder: str, name_or_file: str, listed_by: str) -> dict[str, Any]:
    """Read a TOML file by its name, or by its path.

    Parameters
    ----------
    kind
        What it is, such as "recipe", for error messages.
    folder
        Where in the package the named ones are.
    name_or_file
        A name, or a path as :func:`is_path` knows it.
    listed_by
        The option that lists the names, for error messages.

    Raises
    ------
    RecipeError
        If there is no such file, or it is not TOML.
    """
    if is_path(name_or_file):
        try:
            content = Path(name_or_file).read_bytes()
        except OSError as fault:
            raise RecipeError(
                f"{kind} {name_or_file}: cannot be read ({fault.strerror}); give the path of a "
                f"TOML file, or a name from {listed_by}"
            ) from None
    elif name_or_file in (known := shipped_names(folder)):
        content = (resources.files("fastconv") / folder / f"{name_or_file}.toml").read_bytes()
    else:
        raise RecipeError(
            f"{kind} is {name_or_file!r}; expected one of {', '.join(known)}, or a .toml file"
            f"{nearest(name_or_file, known)}"
        )
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise RecipeError(f"{kind} {name_or_file}: not a TOML file ({fault})") from None
