"""Work in threads: order, bounded number under way, and an end that leaves nothing running."""

from __future__ import annotations

import threading
import time

import pytest

from unmask.data.parallel import in_threads


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
