"""Work on many files in threads or processes: in order, with bounded memory, stopped at once by Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from unmask.core.errors import DataError

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


def in_processes(
    work: Callable[[T], R], items: Sequence[T], *, jobs: int, progress: Progress | None = None
) -> Iterator[R]:
    """``work(item)`` for every item, in order, by ``jobs`` processes of one thread each (1: this process).

    Only a few items are under way at any time. Work, items and results travel between processes, so they must pickle.
    An error in one item, Ctrl-C or the end of the caller ends all processes.

    Raises:
        DataError: while iterating: ``worker_died``.

    >>> list(in_processes(len, ["a", "bcd"], jobs=1))
    [1, 3]
    """
    if jobs <= 1 or len(items) <= 1:
        with one_thread():
            for done, item in enumerate(items, 1):
                yield work(item)
                if progress:
                    progress(done, len(items))
        return
    import torch
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        _Work(work, items),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=min(jobs, len(items)),
        collate_fn=_as_it_is,
        worker_init_fn=quiet_worker,
        multiprocessing_context=clean_context(),
        generator=torch.Generator(),  # its own, so that the process's random state is left alone
    )
    results = iter(loader)
    try:
        for done in range(1, len(items) + 1):
            try:
                result, error = next(results)
            except (RuntimeError, EOFError, OSError) as died:  # a worker died: while idle, or while handing over
                what = (str(died) or type(died).__name__).splitlines()[0]
                message = f"a worker process stopped ({what}); out of memory? try fewer jobs"
                raise DataError("worker_died", message) from died
            if error is not None:
                raise error
            yield result
            if progress:
                progress(done, len(items))
    finally:
        del results  # ends the workers


class _Work:
    """What the workers see: results by position, errors as values so that they keep their type."""

    def __init__(self, work: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.work = work
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, Exception | None]:
        try:
            return self.work(self.items[index]), None
        except Exception as error:
            return None, error


def _as_it_is(item: Any) -> Any:
    return item


@contextmanager
def one_thread() -> Iterator[None]:
    """OpenCV and torch on one thread each, as in a worker; afterwards as many as before."""
    import cv2
    import torch

    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


def quiet_worker(_: int) -> None:
    """What a worker process does first: one worker, one core, and an end when its caller has ended."""
    import cv2

    cv2.setNumThreads(0)
    threading.Thread(target=_end_with_caller, daemon=True).start()


def _end_with_caller() -> None:
    """A killed caller cannot say goodbye, and the fork server, which is the worker's parent, lives as long as it."""
    caller = multiprocessing.parent_process()
    if caller is not None:
        caller.join()
        os._exit(1)


def clean_context() -> Any:
    """Workers start clean (no fork of a process that holds threads); torch is imported once for all of them."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["unmask.data.loader"])
    return context
