"""Backends that are said to work, or not to, whatever this machine has."""

from fastconv.backends import selection


def say_that(monkeypatch, name, *, works, reason):
    """Let a backend have this state for the rest of a test, and the others their own."""
    said, known = selection.BackendState(name, works, reason), selection.backend_state
    monkeypatch.setattr(
        selection, "backend_state", lambda asked: said if asked == name else known(asked)
    )
