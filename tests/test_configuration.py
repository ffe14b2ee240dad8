"""What fastconv says of the machine, and of a checkout that hides an install."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from backend_states import say_that

import fastconv
from fastconv.backends import selection
from fastconv.backends.configuration import (
    available_cores,
    environment,
    instruction_sets,
    package_version,
    show_config,
)
from fastconv.backends.selection import BackendError, backend_state, choose_backend, use_backend

PACKAGE = Path(fastconv.__file__).parent


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch):
    monkeypatch.delenv("FASTCONV_BACKEND", raising=False)
    monkeypatch.delenv("FASTCONV_THREADS", raising=False)


# show_config.


def test_show_config_names_the_machine_and_every_backend(capsys):
    show_config()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"fastconv {fastconv.__version__}, Python {sys.version_info[0]}.")
    assert f"{available_cores()} cores" in lines[1]
    assert f"numpy {np.__version__}" in lines[2]
    start = lines.index("backends:") + 1
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in lines[start : start + 4]}
    assert list(rows) == ["numpy", "numba", "cython", "cupy"]
    assert rows["numpy"][0] == "ready"
    for state, reason in rows.values():
        assert state in ("ready", "absent")
        assert reason
    assert lines[-1].startswith("chosen: ")


def test_show_config_says_so_when_the_backend_asked_for_is_not_there(capsys, monkeypatch):
    monkeypatch.setenv("FASTCONV_BACKEND", "nump")
    show_config()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("chosen: none (backend is 'nump'")
    assert "did you mean 'numpy'" in last


def test_the_environment_is_a_record_that_json_can_hold():
    facts = json.loads(json.dumps(environment()))
    assert facts["fastconv"] == fastconv.__version__
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["packages"]["numpy"] == np.__version__
    assert facts["cores"] == facts["threads"] == available_cores()
    assert facts["instruction_sets"] == list(instruction_sets())


def test_the_environment_variable_gives_the_threads(capsys, monkeypatch):
    monkeypatch.setenv("FASTCONV_THREADS", "7")
    assert environment()["threads"] == 7
    show_config()
    assert "7 threads" in capsys.readouterr().out.splitlines()[1]


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_threads_is_named_with_the_fix(value, monkeypatch):
    monkeypatch.setenv("FASTCONV_THREADS", value)
    with pytest.raises(BackendError, match=f"FASTCONV_THREADS is '{value}'; .*1 or more; unset it"):
        environment()


def test_cores_are_those_that_this_process_may_use():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no processor affinity")
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, [{one}]); "
        "from fastconv.backends.configuration import available_cores; print(available_cores())"
    )
    assert run_python(["-c", code]).stdout.strip() == "1"


def test_a_package_that_is_not_installed_has_no_version():
    assert package_version("numpy") == np.__version__
    assert package_version("no-such-distribution-anywhere") is None


# Choosing a backend.


def test_an_unknown_backend_offers_the_nearest():
    with pytest.raises(BackendError, match=r"'numby'; expected one of auto, numpy, .*'numpy'"):
        backend_state("numby")


def test_auto_takes_one_that_works_and_says_why_not_the_others():
    choice = choose_backend("auto")
    assert backend_state(choice.name).works
    assert choice.why.startswith("auto: the fastest that works here")
    order = ("cython", "numba", "numpy")
    for passed_over in order[: order.index(choice.name)]:
        assert f"{passed_over}: {backend_state(passed_over).reason}" in choice.why


def test_the_environment_variable_and_the_block_choose_in_that_order(monkeypatch):
    monkeypatch.setenv("FASTCONV_BACKEND", "numpy")
    assert choose_backend() == selection.Choice("numpy", "FASTCONV_BACKEND")
    monkeypatch.setenv("FASTCONV_BACKEND", "nonsense")
    with use_backend("numpy"):
        assert choose_backend().name == "numpy"
    with pytest.raises(BackendError, match="nonsense"):
        choose_backend()
    assert choose_backend("numpy").why == "asked for"


def test_use_backend_ends_with_its_block_even_after_an_error():
    before = choose_backend()
    with pytest.raises(RuntimeError, match="mine"), use_backend("numpy"):
        raise RuntimeError("mine")
    assert choose_backend() == before
    with pytest.raises(BackendError, match="cuda"), use_backend("cuda"):
        pass


def test_a_backend_that_cannot_work_is_an_error_with_the_reason(monkeypatch):
    say_that(monkeypatch, "cupy", works=False, reason="no CUDA device")
    with pytest.raises(BackendError, match=r"'cupy' is not there: no CUDA device; use .*numpy"):
        choose_backend("cupy")


# A checkout that hides an install.


def run_python(arguments, folder=None, path=()):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*map(str, path), str(PACKAGE.parent)]),
    }
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def copy_of_the_package(folder):
    """As much of a package as its import needs."""
    (folder / "fastconv").mkdir(parents=True)
    for name in ("__init__.py", "_checkout.py"):
        shutil.copy(PACKAGE / name, folder / "fastconv" / name)
    return folder


@pytest.fixture
def checkout(tmp_path):
    folder = copy_of_the_package(tmp_path / "checkout")
    (folder / "setup.py").touch()
    return folder


def import_with(*path):
    """Import fastconv with these folders in front of what Python finds, and nothing else."""
    code = (
        f"import sys; sys.path[:] = {[str(p) for p in path]!r} + [p for p in sys.path if p and "
        f"p != {str(PACKAGE.parent)!r}]; sys.meta_path[:] = [f for f in sys.meta_path if "
        f"'editable' not in repr(f)]; import fastconv; print(fastconv.__file__)"
    )
    return run_python(["-c", code], folder=path[0])


def test_a_checkout_that_hides_an_install_warns_and_names_both(checkout, tmp_path):
    install = copy_of_the_package(tmp_path / "site")
    done = import_with(checkout, install)
    assert done.returncode == 0
    assert Path(done.stdout.strip()) == checkout / "fastconv" / "__init__.py"
    assert "RuntimeWarning: fastconv is imported from the checkout" in done.stderr
    assert str(checkout) in done.stderr
    assert str(install) in done.stderr
    assert "pip install -e" in done.stderr


def test_a_checkout_alone_does_not_warn(checkout):
    done = import_with(checkout)
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_checkout_that_is_on_the_path_twice_does_not_warn(checkout, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(checkout)
    assert import_with(checkout, checkout, link).stderr == ""


def test_an_install_does_not_warn_of_another(checkout, tmp_path):
    install = copy_of_the_package(tmp_path / "site")
    assert import_with(install, checkout).stderr == ""


def test_a_folder_of_the_same_name_without_a_package_is_no_install(checkout, tmp_path):
    (tmp_path / "other" / "fastconv").mkdir(parents=True)
    assert import_with(checkout, tmp_path / "other").stderr == ""
