"""Ctrl-C that waits until the work in hand is whole."""

from __future__ import annotations

import signal
import threading
import time
from types import TracebackType
from typing import Any

try:
    # The same without names for signals and handlers, which take ten times as long.
    from _signal import getsignal as _handler_of  # type: ignore[import-not-found]
    from _signal import signal as _set_handler
except ImportError:
    from signal import getsignal as _handler_of
    from signal import signal as _set_handler

_PATIENCE_SECONDS = 1.0
"""After which a second Ctrl-C says that the work in hand hangs."""
_outermost: DeferredInterrupts | None = None


class DeferredInterrupts:
    """Within it, Ctrl-C is kept until :meth:`let_through` or the end, and then is what it was.

    An exception out of nowhere would leave a step half made, or made and not counted. So that the
    wait is short, let interrupts through every few hundredths of a second. Whoever presses again
    a second or more later is heard at once: the work does not come to an end.

    Within another one, the outer one keeps them. Outside the main thread, where Python handles no
    signals, and where Ctrl-C is not Python's, it does nothing.

    Examples
    --------
    >>> with DeferredInterrupts() as interrupts:
    ...     for number in range(3):
    ...         interrupts.let_through()
    """

    __slots__ = ("_before", "_keeper", "_pressed_at")

    def __init__(self) -> None:
        self._keeper: DeferredInterrupts | None = None
        self._before: Any = None
        self._pressed_at: float | None = None

    def __enter__(self) -> DeferredInterrupts:
        """Put interrupts off."""
        global _outermost
        if threading.get_ident() != threading.main_thread().ident:
            return self
        if _outermost is not None:
            self._keeper = _outermost
            return self
        self._before = _handler_of(signal.SIGINT)
        if not callable(self._before):
            return self
        try:
            _set_handler(signal.SIGINT, self._keep)
        except ValueError:  # an interpreter beside the main one, which handles no signals either
            return self
        self._keeper = _outermost = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let interrupts through from here on, one that was kept first."""
        global _outermost
        if self._keeper is not self:
            return
        # In this order: an interrupt in between is still kept, and nobody is left behind as keeper.
        _outermost = None
        found = _set_handler(signal.SIGINT, self._before)
        if found != self._keep:  # set meanwhile by others: it is theirs
            _set_handler(signal.SIGINT, found)
        if self._pressed_at is not None:
            _call(self._before)

    def let_through(self) -> None:
        """Handle Ctrl-C now if it was pressed: by default, raise KeyboardInterrupt."""
        keeper = self._keeper
        if keeper is not None and keeper._pressed_at is not None:
            keeper._handle()

    def _keep(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self._pressed_at is None:
            self._pressed_at = now
        elif now - self._pressed_at >= _PATIENCE_SECONDS:
            self._handle()

    def _handle(self) -> None:
        self._pressed_at = None
        handler = self._before
        _set_handler(signal.SIGINT, handler)
        try:
            _call(handler)
        finally:
            # A handler may put another in its place, to be heard differently the next time.
            self._before = _set_handler(signal.SIGINT, self._keep)


def _call(handler: Any) -> None:
    """Do what a handler of SIGINT does, the system's own ones included."""
    if callable(handler):
        handler(signal.SIGINT, None)
    else:
        signal.raise_signal(signal.SIGINT)
