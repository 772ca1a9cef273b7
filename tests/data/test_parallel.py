"""Work in threads: order, bounded number under way, and an end that leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from unmask.core.errors import DataError
from unmask.data.parallel import in_processes, in_threads


def test_results_come_in_order_and_progress_ends_at_the_total() -> None:
    told: list[tuple[int, int]] = []
    items = list(range(100))
    result = list(in_threads(lambda i: i * i, items, jobs=3, progress=lambda d, t: told.append((d, t))))
    assert result == [i * i for i in items]
    assert told[-1] == (100, 100) and told == sorted(told)
    assert list(in_threads(str, [])) == []


def test_only_a_few_items_are_under_way() -> None:
    begun: list[int] = []
    stream = in_threads(begun.append, range(10_000), jobs=1)
    next(stream)
    time.sleep(0.05)
    assert len(begun) <= 5 * 16
    stream.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_ends_all_work_at_once(error: type[BaseException]) -> None:
    begun: list[int] = []
    before = threading.active_count()

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.002)
        if item == 20:
            raise error
        return item

    with pytest.raises(error):
        list(in_threads(work, range(10_000), jobs=2))
    count = len(begun)
    assert count < 10 * 16
    time.sleep(0.05)
    assert len(begun) == count and threading.active_count() == before


def square(item: int) -> int:
    if item == 5:
        raise ValueError("five")
    return item * item


def place(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def killed(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_keep_order_and_the_type_of_an_error() -> None:
    told: list[tuple[int, int]] = []
    assert list(in_processes(square, [3, 1, 4], jobs=2, progress=lambda d, t: told.append((d, t)))) == [9, 1, 16]
    assert told == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(ValueError, match="five"):
        list(in_processes(square, [1, 5, 2], jobs=2))
    with pytest.raises(DataError, match="a worker process stopped"):
        list(in_processes(killed, [1, 2], jobs=2))


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent differently there")
def test_workers_end_when_their_caller_is_killed() -> None:
    code = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"  # noqa: PTH120
        "import test_parallel as t\n"
        "if __name__ == '__main__':\n"
        "    for pid in t.in_processes(t.place, range(2000), jobs=2): print(pid, flush=True)"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    workers = {int(caller.stdout.readline()) for _ in range(4)}
    assert caller.pid not in workers
    caller.kill()
    caller.wait()
    start = time.monotonic()
    while any(map(psutil.pid_exists, workers)) and time.monotonic() - start < 30:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, workers))
