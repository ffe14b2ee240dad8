"""Access to a network's arrays from several threads: many readers, or one that trains."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

_SECONDS_OF_WAITING = 0.04


class NetworkAccess:
    """Lets readers in together, and whoever writes alone; nobody waits for ever.

    Whoever waits holds the door, so that a thread which comes again and again, as training does
    after every few steps, is behind all who are there already.
    """

    def __init__(self) -> None:
        self._door = threading.Lock()
        self._free = threading.Lock()
        self._counting = threading.Lock()
        self._readers = 0

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Read what nobody changes meanwhile."""
        self.begin_reading()
        try:
            yield
        finally:
            self.end_reading()

    def begin_reading(self) -> None:
        """Wait until nobody writes; :meth:`end_reading` must follow."""
        with self._door, self._counting:
            if self._readers == 0:
                self._free.acquire()
            self._readers += 1

    def end_reading(self) -> None:
        """Let writers in after the last reader."""
        with self._counting:
            self._readers -= 1
            if self._readers == 0:
                self._free.release()

    def begin_writing(self, meanwhile: Callable[[], None]) -> None:
        """Wait until nobody else reads or writes; :meth:`end_writing` must follow.

        Parameters
        ----------
        meanwhile
            Called now and then while others are at it; what it raises ends the waiting.
        """
        while not self._door.acquire(timeout=_SECONDS_OF_WAITING):
            meanwhile()
        try:
            while not self._free.acquire(timeout=_SECONDS_OF_WAITING):
                meanwhile()
        finally:
            self._door.release()

    def end_writing(self) -> None:
        """Let others in."""
        self._free.release()
