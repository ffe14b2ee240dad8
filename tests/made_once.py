"""Files that several tests need, made by whichever process comes first."""

import contextlib
import os

if os.name == "posix":
    import fcntl


@contextlib.contextmanager
def alone(lock):
    """Let one process at a time into the ``with`` block, among those that name this file."""
    with open(lock, "a", encoding="utf-8") as file:
        if os.name == "posix":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def made_once(tmp_path_factory, name, make):
    """The file of this name that all processes of a test run share; ``make(path)`` writes it.

    Without pytest-xdist the run has one process, whose folder has the same life.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    path = shared / name
    with alone(shared / f"{name}.lock"):
        if not path.exists():
            unfinished = shared / f"{name}.unfinished"
            make(unfinished)
            unfinished.replace(path)
    return path
