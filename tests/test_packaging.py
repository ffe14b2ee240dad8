"""What an installed fastconv ships, and what its build does without a compiler."""

import importlib.machinery
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

import fastconv
from fastconv.backends import cython as cython_backend
from fastconv.backends.cupy import kernel_sources

PACKAGE = Path(fastconv.__file__).parent
TREE = PACKAGE.parent
NO_COMPILER = "/nonexistent/cc"

needs_tree = pytest.mark.skipif(
    not (TREE / "setup.py").is_file(), reason=f"no source tree around {PACKAGE}"
)


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("folder", ["recipes", "search/searches"])
def test_recipes_and_searches_are_shipped_and_readable(folder):
    files = sorted((PACKAGE / folder).glob("*.toml"))
    assert files
    for file in files:
        assert tomllib.loads(file.read_text(encoding="utf-8"))


def test_the_version_is_that_of_the_installed_distribution():
    assert fastconv.__version__ == importlib.metadata.version("fastconv")
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", fastconv.__version__)


def test_kernel_sources_are_found():
    folder = kernel_sources.kernel_folder()
    assert folder in (PACKAGE / "kernels" / "cuda", TREE / "kernels" / "cuda")
    text = kernel_sources.kernel_source("dense.cu")
    assert text.encode() == (folder / "dense.cu").read_bytes()
    assert "dense_backward_weight" in text


@needs_tree
def test_a_checkout_holds_its_kernel_sources_once():
    assert kernel_sources.kernel_folder() == TREE / "kernels" / "cuda"
    assert not (PACKAGE / "kernels").exists()


def test_an_unknown_kernel_source_is_named_with_those_there_are():
    with pytest.raises(
        FileNotFoundError, match=r"name is 'densse\.cu'.*expected one of .*dense\.cu"
    ):
        kernel_sources.kernel_source("densse.cu")


def test_a_package_without_kernel_sources_says_where_it_looked(tmp_path, monkeypatch):
    package = tmp_path / "fastconv"
    # An unrelated folder of the same name beside the package is not taken for the sources.
    (tmp_path / "kernels" / "cuda").mkdir(parents=True)
    monkeypatch.setattr(kernel_sources, "_PACKAGE", package)
    with pytest.raises(FileNotFoundError, match="reinstall fastconv") as caught:
        kernel_sources.kernel_folder()
    assert str(package / "kernels" / "cuda") in str(caught.value)
    assert str(tmp_path / "kernels" / "cuda") in str(caught.value)


def test_a_missing_module_is_reported_with_the_recorded_reason(tmp_path, monkeypatch):
    record = tmp_path / "_build_failure.txt"
    monkeypatch.setattr(cython_backend, "_BUILD_FAILURE", record)
    assert cython_backend.build_failure() is None
    assert "reinstall" in str(cython_backend.missing("_engine"))
    record.write_text("no working C compiler: gcc\n", encoding="utf-8")
    assert cython_backend.build_failure() == "no working C compiler: gcc"
    assert str(cython_backend.missing("_engine")) == (
        "fastconv.backends.cython._engine is missing: no working C compiler: gcc"
    )


@pytest.fixture
def tree_copy(tmp_path):
    """A copy of what the build reads, so that a build touches nothing of the checkout."""
    copy = tmp_path / "tree"
    copy.mkdir()
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE"):
        shutil.copy(TREE / name, copy)
    (copy / "README.md").write_text("# fastconv\n", encoding="utf-8")
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.pyd", "_build_failure.txt")
    for name in ("fastconv", "kernels"):
        shutil.copytree(TREE / name, copy / name, ignore=ignored)
    return copy


def files_below(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def setup_py(tree, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "setup.py", *arguments],
        cwd=tree,
        env={**os.environ, "FASTCONV_REQUIRE_CYTHON": "", "CC": NO_COMPILER, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@needs_tree
def test_an_sdist_holds_the_sources_of_every_kernel(tree_copy):
    result = setup_py(tree_copy, "-q", "sdist", "--format=gztar", "--dist-dir", "dist")
    assert result.returncode == 0, result.stderr
    (archive,) = (tree_copy / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {Path(*Path(name).parts[1:]) for name in tar.getnames()}
    sources = {Path("kernels") / path for path in files_below(TREE / "kernels")}
    assert {path.suffix for path in sources} >= {".c", ".h", ".pyx", ".cu"}
    assert sources <= names
    assert Path("fastconv/backends/cython/_engine.pxd") in names
    assert not [name for name in names if name.suffix in (".so", ".pyd")]


@needs_tree
def test_without_a_compiler_the_build_succeeds_and_says_what_is_missing(tree_copy):
    stale = tree_copy / "fastconv" / "backends" / "cython" / "_build_failure.txt"
    result = setup_py(tree_copy, "build", "--build-lib", "built")
    assert result.returncode == 0, result.stderr
    assert "WITHOUT its 'cython' backend" in result.stderr
    assert NO_COMPILER in result.stderr
    assert "To get it: install a C compiler" in result.stderr

    package = tree_copy / "built" / "fastconv"
    reason = (package / "backends" / "cython" / "_build_failure.txt").read_text(encoding="utf-8")
    assert NO_COMPILER in reason
    assert "install a C compiler" in reason
    assert len(reason.splitlines()) == 1
    # Everything else is there, and nothing was written beside the sources.
    assert (package / "kernels" / "cuda" / "dense.cu").is_file()
    assert (package / "backends" / "cython" / "_engine.pxd").is_file()
    assert (package / "include" / "fastconv.h").is_file()
    assert (package / "interop" / "c_api.pxd").is_file()
    assert (package / "py.typed").is_file()
    assert not list(package.rglob("_engine*.so"))
    assert not stale.exists()


@needs_tree
def test_a_failed_build_in_place_takes_the_old_module_with_it(tree_copy):
    folder = tree_copy / "fastconv" / "backends" / "cython"
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (folder / f"_engine{suffix}").write_bytes(b"of an earlier build")
    result = setup_py(tree_copy, "build_ext", "--inplace")
    assert result.returncode == 0, result.stderr
    assert not (folder / f"_engine{suffix}").exists()
    assert NO_COMPILER in (folder / "_build_failure.txt").read_text(encoding="utf-8")


@needs_tree
def test_the_build_fails_without_a_compiler_where_the_backend_is_required(tree_copy):
    result = setup_py(tree_copy, "build_ext", "--inplace", FASTCONV_REQUIRE_CYTHON="1")
    assert result.returncode != 0
    assert "FASTCONV_REQUIRE_CYTHON is 1" in result.stderr
    assert NO_COMPILER in result.stderr


@pytest.mark.slow
@needs_tree
@pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed")
def test_a_build_that_works_forgets_the_failure_of_the_one_before(tree_copy):
    folder = tree_copy / "fastconv" / "backends" / "cython"
    (folder / "_build_failure.txt").write_text("no compiler yesterday\n", encoding="utf-8")
    # Whether it works is known from one instruction set without optimisation; all take a minute.
    setup = (tree_copy / "setup.py").read_text("utf-8")
    assert setup.count('"-O3"') == 1
    (tree_copy / "setup.py").write_text(setup.replace('"-O3"', '"-O0"'), "utf-8")
    for name in ("avx512", "avx512vl", "avx2", "sse2", "neon"):
        (tree_copy / "kernels" / "cpu" / f"{name}.c").unlink()
    sets = tree_copy / "kernels" / "cpu" / "instruction_sets.c"
    sets.write_text(sets.read_text("utf-8").replace("__GNUC__", "NEVER"), "utf-8")
    before = files_below(tree_copy / "kernels")
    result = setup_py(tree_copy, "build_ext", "--inplace", CC="cc", FASTCONV_REQUIRE_CYTHON="1")
    assert result.returncode == 0, result.stderr
    assert not (folder / "_build_failure.txt").exists()
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    built = sorted(path.name for path in folder.glob("_*.so"))
    assert built == [f"_engine{suffix}"]
    # The generated C stays in the build folder.
    assert files_below(tree_copy / "kernels") == before
    assert not list((tree_copy / "fastconv").rglob("*.c"))


@needs_tree
def test_no_file_in_the_repository_is_above_300_kb():
    if shutil.which("git") is None or not (TREE / ".git").exists():
        pytest.skip("no git, or no repository")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=TREE, capture_output=True, text=True, check=True
    ).stdout
    sizes = {
        name: (TREE / name).stat().st_size for name in listed.split("\0") if (TREE / name).is_file()
    }
    assert sizes
    assert {name: size for name, size in sizes.items() if size > 300_000} == {}
