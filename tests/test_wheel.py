"""What is asked of a wheel: each fault is found, and named with the file that has it."""

import importlib.util
import zipfile
from pathlib import Path

import pytest

import fastconv

SCRIPT = Path(fastconv.__file__).parent.parent / ".ci" / "check_wheel.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="no source tree around the package")
ENGINE = "fastconv/backends/cython/_engine.cpython-311-x86_64-linux-gnu.so"
SETS = b"avx512\0avx512vl\0avx2\0sse2\0plain\0"


@pytest.fixture
def check_wheel():
    spec = importlib.util.spec_from_file_location("check_wheel", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path):
    """A tree of a module, a recipe, a CUDA source, and what tools left there."""
    for name, text in {
        "fastconv/__init__.py": "",
        "fastconv/recipes/one.toml": "seed = 1\n",
        "fastconv/backends/cython/_engine.old.so": "",
        "fastconv/backends/cython/_build_failure.txt": "",
        "fastconv/__pycache__/__init__.pyc": "",
        "kernels/cuda/conv.cu": "// a kernel\n",
        "kernels/cpu/conv.h": "/* not in a wheel */\n",
    }.items():
        file = tmp_path / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "tree"


@pytest.fixture
def files():
    """What the wheel of that tree holds."""
    return {
        "fastconv/__init__.py": b"",
        "fastconv/recipes/one.toml": b"seed = 1\n",
        "fastconv/kernels/cuda/conv.cu": b"// a kernel\n",
        "fastconv/kernels/": b"",  # as auditwheel writes folders
        "fastconv-1.dist-info/METADATA": b"Name: fastconv\n",
        ENGINE: SETS,
    }


def wheel_of(files, folder, name="fastconv-1-cp311-cp311-manylinux_2_28_x86_64.whl"):
    wheel = folder / name
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return wheel


def test_a_wheel_with_the_files_of_the_tree_and_an_engine_has_no_fault(
    check_wheel, tree, files, tmp_path, capsys
):
    wheel = wheel_of(files, tmp_path)
    assert check_wheel.faults_of(wheel, tree) == []
    assert check_wheel.main([str(wheel), str(tree)]) == 0
    assert capsys.readouterr().out.endswith("0.00 MB, all files those of the tree\n")


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("fastconv/recipes/one.toml", None, "fastconv/recipes/one.toml is missing"),
        ("fastconv/kernels/cuda/conv.cu", None, "fastconv/kernels/cuda/conv.cu is missing"),
        ("fastconv/recipes/one.toml", b"seed = 2\n", "one.toml is not that of the tree"),
        ("tests/test_one.py", b"", "tests/test_one.py is not expected in it"),
        ("fastconv/kernels/cpu/conv.h", b"", "conv.h is not expected in it"),
        (ENGINE, None, "it has 0 engines; expected one"),
        ("fastconv/backends/cython/_engine.abi3.so", SETS, "it has 2 engines; expected one"),
        (ENGINE, SETS + b".debug_info\0", "expected it stripped"),
        (ENGINE, b"avx512vl\0avx2\0sse2\0plain\0", "lacks the instruction set avx512"),
        (ENGINE, SETS + bytes(4_000_000), "expected less than 4000000"),
    ],
)
def test_a_fault_is_named_with_its_file(
    check_wheel, tree, files, tmp_path, capsys, name, text, fault
):
    files[name] = text
    wheel = wheel_of({name: text for name, text in files.items() if text is not None}, tmp_path)
    (told,) = check_wheel.faults_of(wheel, tree)
    assert fault in told
    assert check_wheel.main([str(wheel), str(tree)]) == 1
    assert capsys.readouterr().err == f"{wheel.name}: {told}\n"


@pytest.mark.parametrize(
    ("platform", "sets"),
    [("macosx_11_0_arm64", b"neon\0plain\0"), ("manylinux_2_28_aarch64", b"neon\0plain\0"),
     ("win_amd64", b"plain\0")],
)  # fmt: skip
def test_each_architecture_has_its_instruction_sets(
    check_wheel, tree, files, tmp_path, platform, sets
):
    name = f"fastconv-1-cp311-cp311-{platform}.whl"
    files[ENGINE] = sets
    assert check_wheel.faults_of(wheel_of(files, tmp_path, name), tree) == []
    files[ENGINE] = sets.replace(b"plain", b"plane")
    (told,) = check_wheel.faults_of(wheel_of(files, tmp_path, name), tree)
    assert told.endswith("lacks the instruction set plain")


def test_without_two_arguments_it_says_what_it_expects(check_wheel, capsys):
    assert check_wheel.main([]) == 2
    assert capsys.readouterr().err == "check_wheel.py: expected a wheel and a tree\n"
