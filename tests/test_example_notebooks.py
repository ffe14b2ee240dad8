"""The notebooks in examples/ are clean files, run from the first cell to the last, and learn."""

import json
import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
if not EXAMPLES.is_dir():
    pytest.skip("examples/ is not beside the tests", allow_module_level=True)
nbformat = pytest.importorskip("nbformat", reason="needs nbformat")

NOTEBOOKS = {"first_steps": 4, "pictures_and_mistakes": 7, "inside_a_network": 9}
"""How many pictures each of them shows, bars apart."""


def test_every_notebook_is_known_here():
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_without_what_it_printed(name):
    text = (EXAMPLES / f"{name}.ipynb").read_text("utf-8")
    nbformat.validate(json.loads(text))
    cells = nbformat.reads(text, as_version=4).cells
    assert cells[0].cell_type == "markdown"
    assert cells[0].source.startswith("# ")
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_and_learns(name, tmp_path, monkeypatch):
    for needed in ("nbclient", "ipykernel", "matplotlib"):
        pytest.importorskip(needed, reason=f"needs {needed}")
    from nbclient import NotebookClient

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    outputs = [each for cell in notebook.cells for each in cell.get("outputs", ())]
    streams = [each for each in outputs if each.output_type == "stream"]
    told = "".join(each.text for each in streams if each.name == "stdout")
    assert not [each.text for each in streams if each.name == "stderr"]
    assert float(re.search(r"test accuracy (\d\.\d+)", told)[1]) > 0.85
    shown = [each.data for each in outputs if each.output_type != "stream"]
    assert sum("image/png" in each for each in shown) == NOTEBOOKS[name]
    (bar,) = (each["text/html"] for each in shown if "<progress" in each.get("text/html", ""))
    steps = re.search(r'<progress value="(\d+)" max="(\d+)">', bar)
    assert steps[1] == steps[2]
