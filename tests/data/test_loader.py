"""The batch sequence: same for any number of workers, exact on resume, typed errors when something breaks."""

from __future__ import annotations

import dataclasses
import os
import signal
from dataclasses import dataclass

import pytest
import torch

from unmask.core.errors import DataError
from unmask.core.seeds import rng
from unmask.core.types import Batch, Sample
from unmask.data.loader import BatchLoader, make_loader


@dataclass(frozen=True)
class Noise:
    """A stream of noise images that know their place; some positions are unreadable."""

    length: int = 23
    unreadable: tuple[int, ...] = ()
    seed: int = 0

    def __len__(self) -> int:
        return self.length

    def sample(self, epoch: int, position: int) -> Sample | None:
        if position in self.unreadable:
            return None
        image = torch.from_numpy(rng(self.seed, epoch, position).random((3, 8, 8), "float32"))
        return Sample(image, position % 2, path=str(position))


@dataclass(frozen=True)
class Broken(Noise):
    def sample(self, epoch: int, position: int) -> Sample | None:
        if position == 9:
            raise KeyError("a bug")
        return super().sample(epoch, position)


@dataclass(frozen=True)
class Killed(Noise):
    def sample(self, epoch: int, position: int) -> Sample | None:
        if position == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(epoch, position)


@dataclass(frozen=True)
class Uneven(Noise):
    def sample(self, epoch: int, position: int) -> Sample | None:
        return Sample(torch.zeros(3, 8, 8 + position), 0)


def places(batches: list[Batch]) -> list[list[int]]:
    return [[int(p) for p in b.path] for b in batches]


def same(a: list[Batch], b: list[Batch]) -> bool:
    return places(a) == places(b) and all(torch.equal(x.image, y.image) for x, y in zip(a, b, strict=True))


def test_workers_do_not_change_the_batches_nor_the_random_state() -> None:
    stream = Noise(unreadable=(3, 4, 5, 11))
    before = torch.get_rng_state()
    alone, helped = make_loader(stream, 4, epoch=2), make_loader(stream, 4, epoch=2, workers=2)
    assert same(list(alone), list(helped))
    assert alone.skipped == helped.skipped == 4
    assert torch.equal(before, torch.get_rng_state())
    assert not same(list(make_loader(stream, 4, epoch=2)), list(make_loader(stream, 4, epoch=3)))


class Paired(Noise):
    def sample(self, epoch: int, position: int) -> Sample | None:
        found = super().sample(epoch, position)
        return found and dataclasses.replace(found, pair=found.image)


def test_counterparts_stay_behind_where_nobody_reads_them() -> None:
    with_pairs, without = (list(make_loader(Paired(8), 4, epoch=0, pairs=pairs)) for pairs in (True, False))
    assert same(with_pairs, without)
    assert all(torch.equal(b.pair, b.image) and b.pair_valid.all() for b in with_pairs)
    assert all(b.pair.shape == (4, 0) and not b.pair_valid.any() for b in without)


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_after_any_batch_is_exact(workers: int) -> None:
    stream = Noise(unreadable=(0, 4, 5, 6, 7, 13))  # batch 1 is empty
    whole = list(make_loader(stream, 4, epoch=0))
    assert places(whole) == [[1, 2, 3], [8, 9, 10, 11], [12, 14, 15], [16, 17, 18, 19], [20, 21, 22]]
    for count in [0, 1, 2, 5] if workers == 0 else [1]:
        loader = make_loader(stream, 4, epoch=0, workers=workers)
        head = [next(loader) for _ in range(count)]
        rest = list(make_loader(stream, 4, epoch=0, start_batch=loader.next_batch, workers=workers))
        loader.close()
        assert same(head + rest, whole)


def test_ranks_share_an_epoch_without_overlap_and_step_equally_often() -> None:
    parts = [places(list(make_loader(Noise(40), 4, epoch=0, rank=r, world_size=3))) for r in range(3)]
    assert [len(p) for p in parts] == [3, 3, 3]
    assert sorted(i for p in parts for b in p for i in b) == list(range(36))


def test_a_rank_without_a_readable_sample_stops_instead_of_hanging_the_others() -> None:
    loader = make_loader(Noise(16, unreadable=(4, 5, 6, 7)), 4, epoch=0, rank=1, world_size=2)
    with pytest.raises(DataError) as caught:
        list(loader)
    assert caught.value.code == "nothing_readable"


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("stream", "code"), [(Broken(), "sample_failed"), (Uneven(), "sample_failed")])
def test_a_failing_stream_gives_a_typed_error(stream: Noise, code: str, workers: int) -> None:
    with pytest.raises(DataError) as caught:
        list(make_loader(stream, 4, epoch=0, workers=workers))
    assert caught.value.code == code


def test_a_killed_worker_gives_a_typed_error() -> None:
    loader = make_loader(Killed(), 4, epoch=0, workers=1)
    with pytest.raises(DataError) as caught:
        list(loader)
    assert caught.value.code == "worker_died"


def test_nothing_readable_is_an_error_and_not_an_empty_epoch() -> None:
    with pytest.raises(DataError, match="none of 5 samples"):
        list(make_loader(Noise(5, unreadable=tuple(range(5))), 2, epoch=0))


def test_len_counts_what_is_still_to_come() -> None:
    loader: BatchLoader = make_loader(Noise(10), 4, epoch=0, start_batch=1)
    assert len(loader) == 2
    next(loader)
    assert (len(loader), loader.next_batch) == (1, 2)


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"workers": -1}, {"rank": 2, "world_size": 2}, {"start_batch": -1}]
)
def test_counts_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="need batch_size"):
        make_loader(Noise(), **{"batch_size": 2, "epoch": 0, **wrong})  # type: ignore[arg-type]
