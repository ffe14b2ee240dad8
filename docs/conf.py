"""How Sphinx makes the site of these guides, the docstrings and the examples: see ``.ci/docs``.

Nothing is asked for over the network here, and no page asks either.
"""

import importlib
import importlib.util
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

import example_scripts  # noqa: E402

import fastconv  # noqa: E402

project = "fastconv"
author = "the fastconv developers"
copyright = f"2026, {author}"
release = version = fastconv.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "command_help",
    "inline_drawings",
    "repository_pages",
]
exclude_patterns = ["_build", "_extensions", "_examples/*.py", "_examples/*.rst", "gallery/*.ipynb"]
templates_path = ["_templates"]
nitpicky = True
nitpick_ignore_regex = [
    # What is not public has no page.
    ("py:.*", r"fastconv\.(execution|plans|runs)\..*"),
    # Other people's documentation is not asked.
    ("py:.*", r"(dataclasses|sklearn)\..*"),
    ("term", "meta-estimator"),
    ("ref", "metadata_routing"),
]

# Headings of guides are linked to by the anchors that GitHub gives them.
myst_heading_anchors = 3

# Notebooks are run; what has not changed since the last time is taken from there.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True

# The reference: a page for each name. Types stand in the docstrings, with their shapes.
autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
# Doors are described where what they lead to is not installed. SciPy, imported with stand-ins in
# their place, would take them for the real ones, and fail.
importlib.import_module("fastconv.interop.sklearn")
autodoc_mock_imports = [name for name in ("jax", "torch") if importlib.util.find_spec(name) is None]

runnable = example_scripts.prepare(HERE.parent / "examples", HERE / "_examples")
sphinx_gallery_conf = {
    "examples_dirs": "_examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "|".join(rf"/{re.escape(name)}$" for name in runnable) or "$^",
    "image_scrapers": ("example_scripts.pictures_of_script",),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "default_thumb_file": str(HERE / "_static" / "logo.svg"),
    "show_signature": False,
    "write_computation_times": False,
}

html_theme = "furo"
html_title = "fastconv"
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
highlight_language = "none"
pygments_style = "tango"
pygments_dark_style = "github-dark"
