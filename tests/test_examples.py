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


def readme_blocks() -> list[str]:
    if not README.exists():
        return []
    return re.findall(r"^```python\n(.*?)^```", README.read_text(), flags=re.S | re.M)


@pytest.mark.skipif(not README.exists(), reason="README.md is not beside the tests")
def test_readme_has_code_for_both_ways_of_use() -> None:
    text = "\n".join(readme_blocks())
    assert "conv2d_backward" in text
    assert "Trainer(" in text


@pytest.mark.parametrize("block", readme_blocks(), ids=lambda block: block.split("\n")[-2][:40])
def test_readme_code_runs(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, "README.md", "exec"), {})
