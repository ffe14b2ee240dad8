"""Every example that documentation shows runs, and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import fastconv
from fastconv._extras import MissingExtra

README = Path(__file__).parent.parent / "README.md"
GUIDES = [README.parent / "docs" / f"{name}.md" for name in ("functions_on_arrays", "training")]

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(fastconv.__path__, "fastconv.")
    if not module.name.startswith("fastconv.backends.cython.")  # needs a compiler; tested elsewhere
)


@pytest.mark.parametrize("name", ["fastconv", *MODULES])
def test_docstring_examples_give_what_they_show(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except MissingExtra as fault:  # a door to what is not installed
        pytest.skip(str(fault))
    outcome = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert outcome.failed == 0


def test_every_public_function_has_an_example() -> None:
    lacking = [
        name
        for name in fastconv.__all__
        if name not in ("BackendError", "__version__", "Trainer")
        and ">>>" not in (getattr(fastconv, name).__doc__ or "")
    ]
    assert lacking == []


def python_blocks() -> list[tuple[str, str]]:
    """Each page, and the Python code in it."""
    return [
        (path.name, block)
        for path in (README, *GUIDES)
        if path.exists()
        for block in re.findall(r"^```python\n(.*?)^```", path.read_text(), flags=re.S | re.M)
    ]


@pytest.mark.skipif(not README.exists(), reason="README.md is not beside the tests")
@pytest.mark.parametrize("page", ["README.md", "functions_on_arrays.md", "training.md"])
def test_the_pages_that_begin_have_code(page: str) -> None:
    expected = {
        "README.md": ("Trainer(", "conv2d_backward"),
        "functions_on_arrays.md": ("check_gradients", "Predictor"),
        "training.md": ("Trainer(",),
    }
    text = "\n".join(block for name, block in python_blocks() if name == page)
    for word in expected[page]:
        assert word in text


@pytest.mark.parametrize(
    ("page", "block"),
    python_blocks(),
    ids=lambda part: part if part.endswith(".md") else part.split("\n")[-2][:40],
)
def test_code_of_the_readme_and_the_guides_runs(page: str, block: str) -> None:
    exec(compile(block, page, "exec"), {})
