"""The scripts of ``examples/`` as sphinx-gallery wants them, and the notebooks beside them.

It asks for a heading in each docstring, which plain scripts do without; runs what it finds, though
a library may be missing; and looks for pictures in pyplot, which ``fastconv.plots`` leaves alone.
"""

import ast
import importlib.util
import re
import shutil
from pathlib import Path


def heading_of(docstring: str) -> str:
    """The first sentence of a docstring, up to a colon, without its full stop."""
    return re.split(r"[.:](?:\s|$)", " ".join(docstring.split()), maxsplit=1)[0]


def missing_libraries(source: str) -> list[str]:
    """Names of the libraries that a script imports, and that are not installed."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return sorted(name for name in names if importlib.util.find_spec(name) is None)


def with_heading(source: str) -> str:
    """Give a script's docstring its heading, and say what is missing to run it.

    Raises
    ------
    ValueError
        If the script has no docstring.
    """
    module = ast.parse(source)
    docstring = ast.get_docstring(module)
    if docstring is None:
        raise ValueError("no docstring; expected one that begins with what the script shows")
    heading = heading_of(docstring)
    text = [heading, "=" * len(heading), "", docstring]
    missing = missing_libraries(source)
    if missing:
        text += ["", f".. note:: Shown without its output: made without {', '.join(missing)}."]
    rest = source.split("\n")[module.body[0].end_lineno :]
    # What a script prints is shown below its code where the page has more than two blocks.
    said = "The script:" if missing else "The script, and what it said:"
    return "\n".join(['"""', *text, '"""', "# %%", f"# {said}", *rest])


def prepare(examples: Path, target: Path) -> list[str]:
    """Write the scripts and notebooks of a folder into another, as the gallery wants them.

    Parameters
    ----------
    examples, target
        Where the scripts are, and the folder that is made of them anew.

    Returns
    -------
    list of str
        Names of the scripts whose libraries are all installed.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    notebooks = sorted(examples.glob("*.ipynb"))
    header = _HEADER + (_NOTEBOOKS if notebooks else "")
    for notebook in notebooks:
        shutil.copy(notebook, target)
        header += f"   ../{target.name}/{notebook.stem}\n"
    header += _SCRIPTS
    (target / "GALLERY_HEADER.rst").write_text(header, encoding="utf-8")
    runnable = []
    for script in sorted(examples.glob("*.py")):
        source = script.read_text(encoding="utf-8")
        (target / script.name).write_text(with_heading(source), encoding="utf-8")
        if not missing_libraries(source):
            runnable.append(script.name)
    return runnable


_HEADER = """Examples
========

All are in the folder ``examples``, and were run when this site was made, where the libraries that
they lead to were there.
"""
_NOTEBOOKS = """
Notebooks
---------

.. toctree::
   :maxdepth: 1

"""
_SCRIPTS = """
Scripts
-------

"""


def pictures_of_script(block, block_vars, gallery_conf) -> str:
    """Save the figures among a script's variables; the scraper that sphinx-gallery calls."""
    from matplotlib.artist import Artist
    from sphinx_gallery.scrapers import figure_rst

    found = []
    for value in block_vars["example_globals"].values():
        figure = getattr(value, "figure", None) if isinstance(value, Artist) else None
        if figure is not None and not any(figure is other for other in found):
            found.append(figure)
    paths = []
    for figure in found:
        if not hasattr(figure, "_shown_by_gallery"):
            figure._shown_by_gallery = True
            path = next(block_vars["image_path_iterator"])
            figure.savefig(path, dpi=150)
            paths.append(path)
    return figure_rst(paths, gallery_conf["src_dir"])
