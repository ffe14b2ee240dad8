"""Work side by side: calls in threads, each result told as it comes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Generic, TypeVar

from fastconv.execution.ending import Interruption

_T = TypeVar("_T")


def share_threads(threads: int, pieces: int, backend: str) -> tuple[int, int]:
    """Return how many pieces of work go side by side, and how many threads each may use.

    As many as there are threads, since a step on one thread waits for nobody; where there are fewer
    pieces, each has an equal share.

    Parameters
    ----------
    threads
        That may work in all, 1 or more.
    pieces
        Pieces of work, 1 or more.
    backend
        That does the work; with cupy the pieces, which would have to take turns on the GPU, are
        done one after another.

    Examples
    --------
    >>> share_threads(8, 16, "cython"), share_threads(8, 3, "cython"), share_threads(8, 3, "cupy")
    ((8, 1), (3, 2), (1, 8))
    """
    workers = min(threads, pieces) if backend != "cupy" else 1
    return workers, threads // workers


def side_by_side(
    calls: Iterable[Callable[[], _T]], workers: int, asked: Interruption
) -> Generator[tuple[int, _T], None, None]:
    """Make calls in threads of this process, and give what each returned as soon as it has ended.

    Who iterates need not wait for all: where he leaves, or a call raises, the others are asked to
    end, and are waited for.

    Parameters
    ----------
    calls
        They ask ``asked`` now and then whether to end. Each is taken when a thread is free.
    workers
        How many are under way at once; with one, they are made in the thread of the caller.
    asked
        Once it was asked, no other call begins.

    Yields
    ------
    number : int
        Of the call, from 0.
    result
        What it returned.

    Raises
    ------
    BaseException
        What a call raised first, after the others have ended.

    Examples
    --------
    >>> squares = ((lambda n=n: n * n) for n in range(3))
    >>> sorted(side_by_side(squares, 2, Interruption()))
    [(0, 0), (1, 1), (2, 4)]
    """
    if workers == 1:
        for number, call in enumerate(calls):
            if asked():
                return
            yield number, call()
        return
    shared = _Calls(calls, asked)
    # Daemons: a second Ctrl-C, which raises while they are waited for, ends the process.
    threads = [threading.Thread(target=shared.work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    at_work = workers
    try:
        while at_work:
            ended = shared.ended.get()
            if ended is None:
                at_work -= 1
            else:
                yield ended
    finally:
        if at_work:
            asked.ask()
        for thread in threads:
            thread.join()
    if shared.fault is not None:
        raise shared.fault


class _Calls(Generic[_T]):
    """Calls that several threads make.

    Attributes
    ----------
    ended
        Number and result of each call, and None for each thread that has nothing more to do.
    fault
        What a call raised first.
    """

    def __init__(self, calls: Iterable[Callable[[], _T]], asked: Interruption) -> None:
        self._numbered = enumerate(calls)
        self._asked = asked
        self._lock = threading.Lock()
        self.ended: queue.SimpleQueue[tuple[int, _T] | None] = queue.SimpleQueue()
        self.fault: BaseException | None = None

    def work(self) -> None:
        """Make one call after the other."""
        try:
            while (taken := self._take()) is not None:
                number, call = taken
                self.ended.put((number, call()))
        except BaseException as fault:
            with self._lock:
                self.fault = self.fault or fault
            self._asked.ask()
        finally:
            self.ended.put(None)

    def _take(self) -> tuple[int, Callable[[], _T]] | None:
        with self._lock:
            return None if self._asked() else next(self._numbered, None)
