"""Folder of the CUDA C++ sources: in an installed package inside it, in a checkout beside it.

The sources live in ``kernels/cuda`` of the repository. A wheel holds them as
``fastconv/kernels/cuda``; an editable install and a checkout read them in place.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2]


def kernel_folder() -> Path:
    """Find the folder of the CUDA C++ sources.

    Returns
    -------
    pathlib.Path
        An absolute path.

    Raises
    ------
    FileNotFoundError
        If neither the package nor the folder around it holds them.

    Examples
    --------
    >>> (kernel_folder() / "dense.cu").is_file()
    True
    """
    places = [_PACKAGE / "kernels" / "cuda", _PACKAGE.parent / "kernels" / "cuda"]
    for place in places:
        # Only a folder with sources in it: an unrelated "kernels" may stand beside the package.
        if any(place.glob("*.cu")):
            return place
    raise FileNotFoundError(
        f"kernel_folder: no .cu files in {places[0]} or {places[1]}; expected them in an installed "
        f"fastconv or beside it in a checkout; reinstall fastconv"
    )


def kernel_source(name: str) -> str:
    """Read one CUDA C++ source file.

    Parameters
    ----------
    name
        The file's name in the folder, such as ``"dense.cu"``.

    Returns
    -------
    str
        Its text.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or no folder of sources.

    Examples
    --------
    >>> "dense_forward" in kernel_source("dense.cu")
    True
    """
    folder = kernel_folder()
    try:
        return (folder / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        names = ", ".join(sorted(f.name for f in folder.iterdir() if f.is_file()))
        raise FileNotFoundError(
            f"kernel_source: name is {name!r}, which is not in {folder}; expected one of {names}"
        ) from None
