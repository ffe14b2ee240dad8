"""The public interface changes only where somebody wanted it to."""

import difflib
import importlib

import public_api
import pytest

needs_sources = pytest.mark.skipif(
    not public_api.SNAPSHOT.is_file(), reason="tests/public_api.txt is not beside the tests"
)


@needs_sources
def test_the_public_interface_is_the_one_that_was_promised():
    promised = public_api.SNAPSHOT.read_text(encoding="utf-8")
    found = public_api.public_api()
    difference = difflib.unified_diff(
        promised.splitlines(), found.splitlines(), "promised", "found", lineterm="", n=0
    )
    assert found == promised, (
        "the public interface changed; where that is wanted, python -m tests.public_api writes it "
        "down, and a fragment in changelog.d says it to users:\n" + "\n".join(difference)
    )


@pytest.mark.parametrize("module", ["fastconv", "fastconv.layers", "fastconv.data"])
def test_every_name_that_a_module_offers_is_in_the_interface(module):
    offered = set(importlib.import_module(module).__all__) - {"__version__"}
    assert offered <= set(public_api.public_names(module))
    assert len(offered) > 15


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules in the place of fastconv."""
    (tmp_path / "__init__.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from fastconv.shapes import Square as Square\n"
        "    from fastconv.shapes import area as area\n"
        "_hidden = 1\n"
    )
    (tmp_path / "shapes.py").write_text(
        "SIDES = 4\n"
        "class _Named(Shape):\n"
        "    label: str\n"
        "    def grow(self): ...\n"
        "class Square(_Named):\n"
        "    side: int = 1\n"
        "    _kept: int = 0\n"
        "    @property\n"
        "    def name(self) -> str: return 'square'\n"
        "    def grow(self, by: float, *, twice: bool = False) -> 'Square': ...\n"
        "    def _shrink(self): ...\n"
        "def area(shape, /, unit='m2'): ...\n"
        "def _secret(): ...\n"
    )
    monkeypatch.setattr(public_api, "PACKAGE", tmp_path)
    monkeypatch.setattr(public_api, "COMMANDS", ())
    caches = (public_api._tree, public_api._definitions, public_api._imports)
    for each in caches:
        each.cache_clear()
    yield tmp_path
    for each in caches:
        each.cache_clear()


def test_signatures_fields_and_methods_are_told_and_what_is_private_is_not(package, monkeypatch):
    monkeypatch.setattr(public_api, "MODULES", ("fastconv",))
    assert public_api.public_api().splitlines() == [
        "class fastconv.Square(Shape)",
        "  label: str",
        "  grow(self, by: float, *, twice: bool=False) -> 'Square'",
        "  side: int = ...",
        "  property name(self) -> str",
        "fastconv.area(shape, /, unit='m2')",
    ]


def test_a_name_of_two_public_modules_is_told_once(package, monkeypatch):
    monkeypatch.setattr(public_api, "MODULES", ("fastconv", "fastconv.shapes"))
    told = public_api.public_api().splitlines()
    assert told[:2] == [
        "fastconv.Square = fastconv.shapes.Square",
        "fastconv.area = fastconv.shapes.area",
    ]
    assert "fastconv.shapes.SIDES" in told
    assert len(told) == 2 + 7


@needs_sources
@pytest.mark.parametrize(
    "line",
    [
        "fastconv.relu(x: Array, *, backend: str | None=None) -> Array",
        "fastconv.set_threads(threads: int | None) -> None",
        "class fastconv.layers.Residual(Layer)",
        "python -m fastconv.verify",
        "  --precision",
    ],
)
def test_the_promise_has_what_users_call(line):
    assert line in public_api.SNAPSHOT.read_text(encoding="utf-8").splitlines()
