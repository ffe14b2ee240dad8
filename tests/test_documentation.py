"""Guides, reference and site: nothing public is left out, no link leads nowhere."""

import importlib
import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

if not DOCS.is_dir():
    pytest.skip("docs/ is not beside the tests", allow_module_level=True)


def load(name):
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"documentation_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


# The reference.


def names_in_reference():
    """Every name that a page of the reference describes."""
    found = set()
    for page in sorted((DOCS / "api").glob("*.rst")):
        module, is_list = None, False
        for line in page.read_text("utf-8").splitlines():
            if match := re.match(r"\.\. (?:current)?module:: (\S+)", line):
                module = match[1]
            is_list = line.startswith(".. autosummary::") or (is_list and line[:1] in (" ", ""))
            if is_list and (match := re.fullmatch(r"   ([A-Za-z]\w*)", line)):
                found.add(f"{module}.{match[1]}")
    return found


IN_REFERENCE = names_in_reference()
TABLES = {"LAYERS", "NESTED", "OWN_KINDS", "SUBSTITUTES"}


@pytest.mark.parametrize(
    "module",
    ["fastconv", "fastconv.layers", "fastconv.data", "fastconv.plots", "fastconv.report"],
)
def test_every_public_name_is_in_the_reference(module):
    names = set(importlib.import_module(module).__all__) - TABLES - {"__version__"}
    assert names
    assert {f"{module}.{name}" for name in names} - IN_REFERENCE == set()


def test_every_command_is_in_the_reference():
    commands = importlib.import_module("fastconv.__main__").COMMANDS
    described = re.findall(
        r"command-help:: fastconv\.(\w+)", (DOCS / "api/commands.rst").read_text()
    )
    assert sorted(described) == sorted(commands)


# Guides.

GUIDES = sorted(path for path in DOCS.glob("*.md"))
PAGES = [*GUIDES, *sorted(ROOT.glob("*.md"))]


def anchors_of(path):
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^(```|~~~).*?^\1", "", path.read_text("utf-8"), flags=re.S | re.M)
    headings = re.findall(r"^#+ +(.+?) *$", text, flags=re.M)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="no source tree around the tests")
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_between_pages_lead_to_a_file_and_a_heading(page):
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = page.parent / name if name else page
        if name.startswith("gallery/"):
            continue  # made with the site, whose own links are checked there
        assert there.exists(), target
        assert not anchor or anchor in anchors_of(there), target


def test_every_guide_is_in_the_contents():
    contents = re.findall(r"```\{toctree\}(.*?)```", (DOCS / "index.md").read_text("utf-8"), re.S)
    listed = {line for block in contents for line in block.split("\n") if line}
    assert {path.stem for path in GUIDES} - {"index"} <= listed


@pytest.mark.parametrize("name", ["im2col", "tile_product", "plan", "barrier"])
def test_drawings_are_those_of_the_present_plan(name):
    drawings = load("drawings")
    assert set(drawings.DRAWINGS) == {path.stem for path in (DOCS / "drawings").glob("*.svg")}
    drawn = (DOCS / "drawings" / f"{name}.svg").read_text("utf-8")
    assert drawings.DRAWINGS[name]() == drawn, "python docs/drawings.py draws them again"


# What is made of examples and of the pages of the root.


def test_a_script_gets_a_heading_and_says_what_it_lacks():
    scripts = load("_extensions/example_scripts")
    source = (
        '"""One thing: and\nanother."""\n\nimport math\nimport no_such_library\nprint(math.pi)\n'
    )
    made = scripts.with_heading(source)
    docstring, code = made.split('"""')[1:]
    assert docstring.startswith("\nOne thing\n=========\n\nOne thing: and\nanother.\n")
    assert ".. note:: Shown without its output: made without no_such_library." in docstring
    assert code == "\n# %%\n# The script:\n\nimport math\nimport no_such_library\nprint(math.pi)\n"
    runs = scripts.with_heading('"""One thing."""\nimport math\n')
    assert "note::" not in runs
    assert "\n# %%\n# The script, and what it said:\nimport math\n" in runs
    with pytest.raises(ValueError, match="no docstring; expected one that begins with"):
        scripts.with_heading("import math\n")


@pytest.mark.parametrize(
    ("link", "folder", "place", "expected"),
    [
        ("docs/kernels.md#running-plans", ".", "project", "../kernels.md#running-plans"),
        ("changelog.d/README.md", ".", "project", "changelog.d/README.md"),
        ("../docs/releasing.md", "changelog.d", "project/changelog.d", "../../releasing.md"),
        ("bench/peers.py", ".", "project", "../../bench/peers.py"),
        ("../SECURITY.md", "docs", ".", "project/SECURITY.md"),
        ("../examples/own_loop.py", "docs", ".", "../examples/own_loop.py"),
        ("../examples", "docs", ".", "gallery/index.rst"),
        ("https://example.org/a.md", ".", "project", "https://example.org/a.md"),
        ("#here", ".", "project", "#here"),
    ],
)
def test_links_are_turned_as_a_page_lies_on_the_site(link, folder, place, expected):
    turned = load("_extensions/repository_pages").turned
    assert turned(f"See [it]({link}).", folder, place) == f"See [it]({expected})."


# The check of the built site.

PAGE = '<html><head><link rel="stylesheet" href="a.css"></head><body id="here">{}</body></html>'


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<a href="#here">a</a> <a href="other.html#there">b</a> <a href="folder/">c</a>', []),
        ('<a href="https://example.org/x">a link is no load</a>', []),
        ('<img src="https://example.org/x.png">', ["loads https://example.org/x.png"]),
        (
            '<img srcset="x.css 1x, //example.org/y.png 2x">',
            ["loads //example.org/y.png", "no file at x.css"],
        ),
        ('<script src="//example.org/x.js"></script>', ["loads //example.org/x.js"]),
        ("<style>@import 'http://example.org/x.css';</style>", ["loads http://example.org/x.css"]),
        ('<p style="background: url(http://example.org/x)">', ["loads http://example.org/x"]),
        ('<link rel="preconnect" href="https://example.org">', ["loads https://example.org"]),
        ('<a href="missing.html">a</a>', ["no file at missing.html"]),
        ('<a href="other.html#nowhere">a</a>', ["no anchor at other.html#nowhere"]),
        ('<a href="#nowhere">a</a>', ["no anchor at #nowhere"]),
    ],
)
def test_the_check_of_the_site_finds_what_is_wrong(html, found, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "index.html").write_text("<p>", "utf-8")
    (tmp_path / "other.html").write_text('<p id="there">', "utf-8")
    (tmp_path / "a.css").write_text("p { background: url(data:image/png;base64,AA) }", "utf-8")
    (tmp_path / "index.html").write_text(PAGE.format(html), "utf-8")
    faults = list(load("check_site").faults_of(tmp_path))
    assert len(faults) == len(found)
    for fault, part in zip(faults, found, strict=True):
        assert fault.startswith("index.html: ")
        assert part in fault


def test_the_check_of_the_site_reads_style_sheets(tmp_path):
    (tmp_path / "index.html").write_text("<p>", "utf-8")
    (tmp_path / "a.css").write_text("@import url(https://example.org/font.css);", "utf-8")
    check = load("check_site")
    assert list(check.faults_of(tmp_path)) == [
        "a.css: loads https://example.org/font.css from elsewhere"
    ]
    assert check.main([str(tmp_path)]) == 1
    assert check.main([str(tmp_path / "missing")]) == 2
