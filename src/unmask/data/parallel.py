"""Work on many files in threads: in order, with bounded memory, stopped at once by Ctrl-C."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
Progress = Callable[[int, int], None]
"""Called with (files done, files in all)."""
_CHUNK = 16  # items per task: handing over single ones costs more than a small file takes to hash


def in_threads(
    work: Callable[[T], R], items: Sequence[T], *, jobs: int | None = None, progress: Progress | None = None
) -> Iterator[R]:
    """``work(item)`` for every item, in order; only a few chunks of items are under way at any time.

    Decoders and hashes run outside Python's lock, so threads are enough. An error (or Ctrl-C) in one item ends all.

    Args:
        work: what to do with one item.
        items: all of them.
        jobs: threads; None = one per core.
        progress: told how many results were taken, after each chunk.

    >>> list(in_threads(len, ["a", "bcd", ""], jobs=2))
    [1, 3, 0]
    """
    workers = jobs or os.cpu_count() or 1
    stop = threading.Event()

    def run(chunk: Sequence[T]) -> list[R]:
        results = []
        for item in chunk:
            if stop.is_set():
                break
            results.append(work(item))
        return results

    waiting: deque[Future[list[R]]] = deque()
    done = 0
    with ThreadPoolExecutor(workers) as pool:
        try:
            starts = iter(range(0, len(items), _CHUNK))
            while True:
                while len(waiting) < 4 * workers and (start := next(starts, None)) is not None:
                    waiting.append(pool.submit(run, items[start : start + _CHUNK]))
                if not waiting:
                    return
                results = waiting.popleft().result()
                yield from results
                done += len(results)
                if progress:
                    progress(done, len(items))
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
