"""What importing costs, what it brings along, and which way imports go."""

import ast
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from saved_runs import TINY_RECIPE

import fastconv
from fastconv import predict
from fastconv.backends.selection import choose_backend
from fastconv.data import picture_files

PACKAGE = Path(fastconv.__file__).parent
HEAVY = ("numba", "cupy", "matplotlib", "optuna", "scipy", "sklearn", "torch")


def python(code, folder=None):
    """Run Python as a user does; its standard output."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# What importing costs.


def test_import_takes_under_a_fifth_of_a_second(tmp_path):
    code = (
        "import time; began = time.perf_counter(); import fastconv; "
        "print(time.perf_counter() - began)"
    )
    # A promise of the product, far above what it takes; the best of several, on a busy machine.
    assert min(float(python(code, tmp_path)) for _ in range(5)) < 0.2


@pytest.mark.parametrize(
    "statement",
    [
        "import fastconv",
        "import fastconv.data",
        "import fastconv.layers",
        "import fastconv.trainer",
        "import fastconv.train",
        "import fastconv.profile",
        "import fastconv.search.__main__",
        "import fastconv.metrics",
        "from fastconv import *",
        "import fastconv, numpy; fastconv.relu(numpy.ones(3))",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(statement, tmp_path):
    code = f"{statement}; import sys; print(*sorted(sys.modules))"
    modules = set(python(code, tmp_path).split())
    assert "fastconv" in modules
    assert modules.isdisjoint(HEAVY)


def test_import_alone_does_not_even_import_numpy(tmp_path):
    modules = python("import fastconv, sys; print(*sys.modules)", tmp_path).split()
    assert "numpy" not in modules


# What commands import: what is used, and little more.

STANDARD = set(sys.stdlib_module_names)


def imported_by(arguments, folder):
    """The modules that a command imports, and what it prints, as ``python -m`` runs it."""
    module, *rest = arguments
    code = (
        "import runpy, sys\n"
        f"sys.argv = {[module, *rest]!r}\n"
        f"try: runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
        "except SystemExit as ended: assert not ended.code, ended\n"
        "print('modules:', *sorted(sys.modules))"
    )
    *_, modules = python(code, folder).splitlines()
    return set(modules.split()[1:])


def others(modules):
    """The packages among modules that are neither Python's nor ours."""
    tops = {name.split(".")[0] for name in modules if not name.startswith("_")}
    return tops - STANDARD - {"fastconv", "cython_runtime"}  # the latter is Cython's own


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run of a small recipe without a page, and the modules that it took."""
    folder = tmp_path_factory.mktemp("imports")
    (folder / "tiny.toml").write_text(TINY_RECIPE, encoding="utf-8")
    arguments = ["--recipe", "tiny.toml", "--no-report", "--quiet", "--out", "run"]
    return folder, imported_by(["fastconv.train", *arguments], folder)


@pytest.mark.parametrize(
    "arguments",
    [
        ["fastconv.train", "--help"],
        ["fastconv.train", "--list-recipes"],
        ["fastconv.evaluate", "--help"],
        ["fastconv.predict", "--help"],
        ["fastconv.export", "--help"],
        ["fastconv.data", "--help"],
        ["fastconv.report", "--help"],
    ],
)
def test_help_and_lists_import_nothing_but_python(arguments, tmp_path):
    modules = imported_by(arguments, tmp_path)
    assert others(modules) == set()
    assert len({name for name in modules if name.startswith("fastconv")}) <= 16


def test_import_alone_imports_two_modules(tmp_path):
    modules = set(python("import fastconv, sys; print(*sys.modules)", tmp_path).split())
    assert others(modules) == set()
    assert {name for name in modules if name.startswith("fastconv")} == {
        "fastconv", "fastconv._checkout"
    }  # fmt: skip


def test_a_training_without_a_page_imports_what_it_computes_with(run_folder):
    _, modules = run_folder
    compiled = {"numba", "llvmlite"} if choose_backend("auto").name == "numba" else set()
    assert others(modules) - compiled == {
        "numpy", "rich", "safetensors", "threadpoolctl", "tomli_w"
    }  # fmt: skip
    ours = {name for name in modules if name.startswith("fastconv.")}
    assert not {name for name in ours if name.split(".")[1] in ("report", "plots", "analysis")}
    assert len(ours) <= 120


def test_a_prediction_imports_what_it_computes_with(run_folder):
    folder, _ = run_folder
    Image.new("L", (8, 8)).save(folder / "digit.png")
    modules = imported_by(["fastconv.predict", "run", "digit.png"], folder)
    compiled = {"numba", "llvmlite"} if choose_backend("auto").name == "numba" else set()
    assert others(modules) - compiled == {
        "PIL", "numpy", "rich", "safetensors", "threadpoolctl"
    }  # fmt: skip
    assert len({name for name in modules if name.startswith("fastconv.")}) <= 129


def test_ways_to_fit_a_picture_are_those_that_there_are():
    assert predict.FITS == picture_files.FITS


# The names of the package.


def names_for_type_checkers():
    """Where the block under TYPE_CHECKING says that each name comes from."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [
        node for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]  # fmt: skip
    found = {}
    for statement in block.body:
        assert isinstance(statement, ast.ImportFrom)
        for alias in statement.names:
            assert alias.asname == alias.name  # marked as exported on purpose
            found[alias.name] = statement.module
    return found


def test_names_for_type_checkers_are_those_that_there_are():
    assert set(names_for_type_checkers()) == set(fastconv.__all__) - {"__version__"}


@pytest.mark.parametrize(("name", "module"), sorted(names_for_type_checkers().items()))
def test_every_public_name_is_the_one_of_its_module(name, module):
    assert getattr(fastconv, name) is getattr(importlib.import_module(module), name)


def test_the_public_names_are_listed():
    assert sorted(fastconv.__all__) == fastconv.__all__
    assert len(set(fastconv.__all__)) == len(fastconv.__all__)
    assert set(fastconv.__all__) <= set(dir(fastconv))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'fastconv' has no attribute 'conv3d'"):
        _ = fastconv.conv3d


# Which way imports go. The higher may import the lower, or what stands beside it in one entry.

COMMAND_LINES = {
    "fastconv.train", "fastconv.profile", "fastconv.evaluate", "fastconv.predict",
    "fastconv.export", "fastconv.search.__main__", "fastconv.report.__main__",
    "fastconv.reproduce.__main__", "fastconv.data.__main__", "fastconv.verify.__main__",
    "fastconv.compare.__main__", "fastconv.__main__",
}  # fmt: skip
LAYOUT = [
    {
        "fastconv.train", "fastconv.profile", "fastconv.evaluate", "fastconv.predict",
        "fastconv.export", "fastconv.__main__",
        "fastconv.data.__main__",  # a command line above, of a part below
    },
    {"fastconv.search", "fastconv.reproduce", "fastconv.verify", "fastconv.compare"},
    {"fastconv.interop", "fastconv.many_networks"},
    {"fastconv.training_run"},
    {"fastconv.report"},
    {"fastconv.plots"},
    {"fastconv.validation_metrics", "fastconv.loggers", "fastconv.notebook"},
    {"fastconv.metrics"},
    {"fastconv.cli", "fastconv.profiling"},
    {"fastconv.runs"},
    {"fastconv.training_loop", "fastconv.rate_finder"},
    {
        "fastconv.trainer", "fastconv.recipe", "fastconv.gradient_check", "fastconv.step_check",
        "fastconv.early_stopping", "fastconv.network_function",
    },
    {"fastconv.data_parallel"},
    {"fastconv.analysis"},
    {"fastconv.inference"},
    {"fastconv.predictor", "fastconv.averaged_views"},
    {"fastconv.execution", "fastconv.recipes"},
    {"fastconv.optimizers"},
    {"fastconv.schedules", "fastconv.momentum_schedules"},
    {"fastconv.network"},
    {"fastconv.layers", "fastconv.initializers"},
    {"fastconv.functional", "fastconv.data"},
    {"fastconv.backends"},
    {"fastconv.plans"},
    {"fastconv.preprocessing"},
    {"fastconv.spec"},
    {"fastconv._files", "fastconv._checkout"},
    {"fastconv._extras"},
    {"fastconv._errors"},
]  # fmt: skip
_LEVEL = {name: len(LAYOUT) - number for number, names in enumerate(LAYOUT) for name in names}


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path):
    """Modules of fastconv that a file imports anywhere, but not for type checkers alone."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path.parent / "x")
    package = package.removesuffix(".x")

    def walk(node):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level])
            module = ".".join(filter(None, [start if node.level else "", node.module]))
            for alias in node.names:
                inner = PACKAGE.parent.joinpath(*module.split("."), alias.name)
                is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                yield f"{module}.{alias.name}" if is_module else module
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {name for name in walk(tree) if name.split(".")[0] == "fastconv"}


SOURCES = sorted(PACKAGE.rglob("*.py"))
IMPORTS = {module_name(path): imports_of(path) for path in SOURCES}


def part_of(module):
    """The part of the house that a module belongs to: its second name, or a part of its own."""
    return module if module in _LEVEL else ".".join(module.split(".")[:2])


def test_every_part_has_its_place_in_the_layout():
    parts = {part_of(name) for name in IMPORTS} - {"fastconv"}
    assert parts == set(_LEVEL)


@pytest.mark.parametrize("module", sorted(set(IMPORTS) - {"fastconv"}))
def test_imports_go_downward_only(module):
    here = part_of(module)
    for imported in IMPORTS[module]:
        there = part_of(imported)
        if there != here:
            assert there != "fastconv", f"{module} imports the package itself"
            assert _LEVEL[there] < _LEVEL[here], f"{module} imports {imported}"


def test_the_package_imports_nothing_of_its_own_but_the_check_of_the_checkout():
    assert IMPORTS["fastconv"] == {"fastconv._checkout"}


SPECS_OF_OPERATIONS = (
    "fastconv.plans.activations",
    "fastconv.plans.augmentation",
    "fastconv.plans.error_function",
    "fastconv.plans.gradient",
    "fastconv.plans.jitter",
    "fastconv.plans.lookahead",
    "fastconv.plans.operation",
    "fastconv.plans.loss_operation",
    "fastconv.plans.merging",
    "fastconv.plans.norm_operation",
    "fastconv.plans.resample_operation",
)
BACKENDS = sorted(p.parent.name for p in (PACKAGE / "backends").glob("*/run.py"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_knows_specs_operations_plans_and_its_own_folder(backend):
    own = f"fastconv.backends.{backend}"
    for module, imported in IMPORTS.items():
        if module == own or module.startswith(f"{own}."):
            outside = {name for name in imported if name != own and not name.startswith(f"{own}.")}
            allowed = {
                "fastconv.spec", "fastconv.plans.plan", *SPECS_OF_OPERATIONS
            }  # fmt: skip
            if backend in ("cython", "numba"):
                allowed.add("fastconv.backends.workspace")
                shared = "fastconv.backends.compiled"
                allowed |= {name for name in IMPORTS if name.startswith(shared)}
            if backend == "cupy":
                names = ("effects", "rewriting", "plan_check")
                allowed |= {f"fastconv.plans.{name}" for name in names}
            elif backend != "reference":
                allowed.add("fastconv.backends.host_arrays")
            assert outside <= allowed, module


def test_the_reference_imports_only_numpy_the_specs_and_what_a_plan_is():
    for path in (PACKAGE / "backends" / "reference").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            else:
                continue
            for name in names:
                top = name.split(".")[0]
                allowed = (
                    top in sys.stdlib_module_names
                    or top == "numpy"
                    or name in ("fastconv.spec", *SPECS_OF_OPERATIONS)
                    or name.startswith("fastconv.backends.reference")
                    or (name == "fastconv.plans.plan" and path.name == "run.py")
                )
                assert allowed, f"{path.name} imports {name}"


def outside_of(part):
    """Pairs of a module of a part, and the modules of other parts that it imports."""
    for module, imported in IMPORTS.items():
        if part_of(module) == part:
            yield module, {name for name in imported if part_of(name) != part}


def test_public_functions_stand_on_backends_and_specs_alone():
    # Which backend is a choice made at run time.
    allowed = {
        "fastconv.backends.selection", "fastconv.backends.workspace", "fastconv.spec",
        *SPECS_OF_OPERATIONS,
    }  # fmt: skip
    for module, outside in outside_of("fastconv.functional"):
        assert outside <= allowed, module


def test_the_specs_import_nothing_of_the_house():
    assert IMPORTS["fastconv.spec"] == set()
    assert IMPORTS["fastconv.plans.operation"] == {
        "fastconv.plans.activations", "fastconv.spec"
    }  # fmt: skip
    assert IMPORTS["fastconv.plans.activations"] == set()
    assert IMPORTS["fastconv.plans.plan"] == set()


def test_layers_build_plans_without_importing_what_collects_them():
    allowed = {"fastconv.spec", "fastconv.plans.node", *SPECS_OF_OPERATIONS}
    for module, outside in outside_of("fastconv.layers"):
        # What a user's class may be wrong in is a mistake of the user.
        own = {"fastconv._errors"} if module == "fastconv.layers.custom" else set()
        assert outside <= allowed | own, module


def test_the_command_line_is_imported_by_nothing():
    for module, imported in IMPORTS.items():
        assert not COMMAND_LINES & imported, module


def test_nothing_but_the_door_to_it_and_who_is_timed_beside_it_imports_torch():
    beside = PACKAGE / "compare" / "pytorch_steps.py"
    for path in SOURCES:
        if path.parent == PACKAGE / "interop" / "pytorch" or path == beside:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "torch" for name in names), path


def test_every_module_can_be_imported_in_any_order(tmp_path):
    # The compiled kernels need a compiler, the doors what they lead to; the others need nothing.
    apart = (
        "fastconv.backends.cython.", "fastconv.interop.",
        "fastconv.compare.pytorch_steps", "fastconv.compare.jax_steps",
    )  # fmt: skip
    modules = [name for name in IMPORTS if not name.startswith(apart)]
    for order in (modules, modules[::-1]):
        code = f"import importlib\nfor name in {order!r}: print(importlib.import_module(name))"
        assert len(python(code, tmp_path).splitlines()) == len(modules)


# What is used of Numba.


def test_what_numba_does_not_document_is_used_in_one_module():
    documented = {"numba", "numba.extending", "numba.types", "llvmlite", "llvmlite.binding"}
    for path in (PACKAGE / "backends" / "numba").glob("*.py"):
        if path.name == "numba_internals.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            outside = {name for name in names if name.split(".")[0] in ("numba", "llvmlite")}
            assert outside <= documented, f"{path.name} imports {outside - documented}"
            if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                # A name with an underscore is read from what is the module's own alone.
                assert not node.attr.startswith(("_library", "_wrapper", "_final", "_get_comp"))
