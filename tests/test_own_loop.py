"""The guide to one's own loop and the examples beside it run, and give what they say."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GUIDE, EXAMPLES = ROOT / "docs" / "own_loop.md", ROOT / "examples"
if not (GUIDE.is_file() and EXAMPLES.is_dir()):
    pytest.skip("docs/ and examples/ are not beside the tests", allow_module_level=True)

BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.S | re.M)
OWN = ("own_loop.py", "scipy_minimize.py", "sklearn_pipeline.py")


@pytest.fixture(scope="module")
def guide():
    """What is there when all code of the guide has run, one block after the other."""
    names = {}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"own_loop.md, block {number + 1}", "exec"), names)
    return names


def test_all_ways_have_the_losses_of_the_loops(guide):
    copied = {name: array.copy() for name, array in guide["start"].items()}
    given = guide["images"], guide["labels"], 3, 0.0, guide["loss_and_gradients"]
    unmoved = guide["sgd"](copied, *given)
    assert guide["by_loops"][0] == unmoved[0]
    assert guide["by_loops"][2] < unmoved[2] - 0.01  # the updates count
    for way in ("by_kernels", "by_network"):
        assert guide[way] == pytest.approx(guide["by_loops"], rel=1e-10)


def test_the_table_names_functions_that_the_code_calls():
    table = "\n".join(re.findall(r"^\|.*\|$", GUIDE.read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"fastconv\.(\w+)\(", table))
    called = set(re.findall(r"fastconv\.(\w+)\(", "\n".join(BLOCKS))) - {"Sequential"}
    assert named == called


@pytest.mark.parametrize("name", OWN)
def test_an_example_is_short_and_learns(name, capsys):
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 25
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    accuracy = re.search(r"test accuracy ([01]\.\d{3})", capsys.readouterr().out)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.9
