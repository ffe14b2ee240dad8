"""Where the version comes from, and what a release would say."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fastconv

TREE = Path(fastconv.__file__).parent.parent
pytestmark = pytest.mark.skipif(
    not (TREE / "setup.py").is_file(), reason="no source tree around the package"
)


def project():
    return tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))


def module(name, *arguments, folder):
    """Run a module of Python; its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", name, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def copy(tmp_path):
    """A folder with nothing but pyproject.toml."""
    if importlib.util.find_spec("setuptools_scm") is None:
        pytest.skip("setuptools-scm is not installed")
    shutil.copy(TREE / "pyproject.toml", tmp_path)
    return tmp_path


def git(folder, *arguments):
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "tag.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_tree_without_git_has_the_version_that_is_written_down(copy):
    version = module("setuptools_scm", folder=copy).strip()
    assert version == project()["tool"]["setuptools_scm"]["fallback_version"]
    assert re.fullmatch(r"\d+\.\d+\.0\.dev0", version)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_version_is_that_of_the_tag_and_counts_the_commits_behind_it(copy):
    git(copy, "init", "--quiet")
    git(copy, "add", ".")
    git(copy, "commit", "--quiet", "--message", "one")
    git(copy, "tag", "v3.4.5", "--message", "three")
    assert module("setuptools_scm", folder=copy).strip() == "3.4.5"
    git(copy, "commit", "--quiet", "--allow-empty", "--message", "two")
    later = module("setuptools_scm", folder=copy).strip()
    assert re.fullmatch(r"3\.4\.6\.dev1\+g[0-9a-f]+", later)


def test_the_release_to_come_is_not_the_last_one_of_the_changelog():
    changelog = (TREE / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d|unreleased)$", changelog, re.M)
    assert sections
    released = [version for version, date in sections if date != "unreleased"]
    to_come = project()["tool"]["setuptools_scm"]["fallback_version"].removesuffix(".dev0")
    assert to_come not in released


def test_fragments_are_of_kinds_that_the_changelog_has():
    kinds = {kind["directory"] for kind in project()["tool"]["towncrier"]["type"]}
    assert kinds == {"added", "changed", "deprecated", "removed", "fixed", "security"}
    for fragment in (TREE / "changelog.d").iterdir():
        if fragment.name != "README.md":
            name = re.fullmatch(r"(\+[a-z0-9-]+|\d+)\.([a-z]+)\.md", fragment.name)
            assert name, fragment.name
            assert name[2] in kinds, fragment.name


@pytest.mark.skipif(
    importlib.util.find_spec("towncrier") is None, reason="towncrier is not installed"
)
def test_a_release_puts_its_fragments_above_the_section_of_the_last_one(tmp_path):
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(TREE / name, tmp_path)
    fragments = tmp_path / "changelog.d"
    fragments.mkdir()
    (fragments / "+wide.added.md").write_text("Wider strides.\n")
    (fragments / "12.fixed.md").write_text("Padding of one side.\n")
    module(
        "towncrier", "build", "--yes", "--version", "7.8.9", "--date", "2030-01-02", folder=tmp_path
    )
    new = (tmp_path / "CHANGELOG.md").read_text(encoding="utf-8")
    old = (TREE / "CHANGELOG.md").read_text(encoding="utf-8")
    section = new[new.index("## 7.8.9 - 2030-01-02") : new.index("## 0.1.0")]
    assert "### Added\n\n- Wider strides." in section
    assert "### Fixed\n\n- Padding of one side." in section
    # What was there stays, word for word, below it.
    assert new.endswith(old[old.index("## 0.1.0") :])
    assert not list(fragments.iterdir())


def test_placeholders_are_the_same_everywhere():
    url = project()["project"]["urls"]["Source"]
    assert f"repository-code: {url}\n" in (TREE / "CITATION.cff").read_text(encoding="utf-8")
