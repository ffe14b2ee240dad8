"""Signals that ask a training to end: Ctrl-C, and what systems send before they kill."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interruption:
    """Answer to whether the training is to end, and by which signal.

    Attributes
    ----------
    signal
        The first that came, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __call__(self) -> bool:
        """Whether one came."""
        return self.signal is not None

    def ask(self, number: int = signal.SIGTERM) -> None:
        """Ask the training to end, as this signal would.

        Parameters
        ----------
        number
            Of the signal.

        Examples
        --------
        >>> asked = Interruption()
        >>> asked.ask()
        >>> asked()
        True
        """
        self.signal = self.signal or signal.Signals(number)

    def _handle(self, number: int, frame: object) -> None:
        self.ask(number)
        # A second one is heard as ever.
        interrupt = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if interrupt else signal.SIG_DFL)


@contextlib.contextmanager
def interruption() -> Iterator[Interruption]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into a question to ask; a second one is an end.

    Outside the main thread, where Python allows no signal handlers, none ever came; nor those that
    this process was started to ignore, as with nohup.

    Examples
    --------
    >>> with interruption() as is_interrupted:
    ...     is_interrupted()
    False
    """
    asked = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {}
    try:
        for number in _ENDING:
            if number == signal.SIGINT or signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, asked._handle)
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
