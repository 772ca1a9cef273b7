"""From samples to batches: the same batches whatever the number of workers, and from any batch on.

A :class:`SampleStream` gives the sample at a position of an epoch; :func:`make_loader` cuts positions into
batches. What a batch holds depends only on the stream (with its seed), the epoch and the positions:

- batch ``b`` holds positions ``b * batch_size`` to ``(b + 1) * batch_size - 1``; with several ranks, rank ``r``
  holds the ``r``-th run of ``batch_size`` positions in each ``world_size * batch_size``;
- a position whose sample cannot be read is left out: its batch is smaller, no other image takes its place, and
  the next batch starts where it always would. A batch with nothing left is passed over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from unmask.core.errors import DataError, UnmaskError
from unmask.core.types import Batch, Sample, collate
from unmask.data.labelled import ManifestStream
from unmask.data.parallel import clean_context, quiet_worker

__all__ = ["BatchLoader", "ManifestStream", "SampleStream", "make_loader"]

logger = logging.getLogger(__name__)


class SampleStream(Protocol):
    """Samples by position; must pickle (it travels to the workers) and keep no state between calls."""

    def __len__(self) -> int:
        """Positions per epoch."""
        ...

    def sample(self, epoch: int, position: int) -> Sample | None:
        """The sample at ``position`` (0 to len - 1) of ``epoch``, or None if its file cannot be used."""
        ...


class _Fetched(NamedTuple):
    batch: Batch | None
    skipped: tuple[int, ...]
    error: UnmaskError | None = None


class _Batches(Dataset[_Fetched]):
    """Batch index to batch; runs in the workers."""

    def __init__(
        self, stream: SampleStream, epoch: int, batch_size: int, rank: int, world_size: int, pairs: bool
    ) -> None:
        self.stream = stream
        self.epoch = epoch
        self.batch_size = batch_size
        self.pairs = pairs
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        if self.world_size == 1:
            return -(-len(self.stream) // self.batch_size)
        return len(self.stream) // (self.batch_size * self.world_size)  # every rank has equally many full batches

    def __getitem__(self, index: int) -> _Fetched:
        start = (index * self.world_size + self.rank) * self.batch_size
        samples: list[Sample] = []
        skipped: list[int] = []
        for position in range(start, min(start + self.batch_size, len(self.stream))):
            try:
                sample = self.stream.sample(self.epoch, position)
            except UnmaskError as error:
                return _Fetched(None, (), error)
            except Exception as error:
                logger.exception("sample at epoch %d, position %d", self.epoch, position)
                what = f"epoch {self.epoch}, position {position}: {type(error).__name__}: {error}"
                return _Fetched(None, (), DataError("sample_failed", f"a sample could not be made ({what})"))
            if sample is None:
                skipped.append(position)
            else:
                samples.append(sample if self.pairs else replace(sample, pair=None))
        try:
            return _Fetched(collate(samples) if samples else None, tuple(skipped))
        except (RuntimeError, ValueError) as error:
            what = f"batch {index} of epoch {self.epoch}"
            return _Fetched(None, (), DataError("sample_failed", f"samples of unequal shape in {what}: {error}"))


def _identity(fetched: Any) -> Any:
    return fetched


class BatchLoader(Iterator[Batch]):
    """Batches of one epoch, in order; made by :func:`make_loader`."""

    def __init__(self, batches: _Batches, start_batch: int, workers: int, pin: bool) -> None:
        self.next_batch = start_batch
        """Index of the batch that comes next: give it to ``make_loader(start_batch=...)`` to go on from here."""
        self.skipped = 0
        """Positions left out so far because their sample could not be read."""
        self._batches = batches
        self._loaded = 0
        loader = DataLoader(
            batches,
            batch_size=None,
            sampler=range(start_batch, len(batches)),
            num_workers=workers,
            collate_fn=_identity,
            worker_init_fn=quiet_worker if workers else None,
            multiprocessing_context=clean_context() if workers else None,
            pin_memory=pin,
            generator=torch.Generator(),  # its own, so that the process's random state is left alone
        )
        self._iterator: Iterator[_Fetched] | None = iter(loader)

    def __len__(self) -> int:
        """Batches still to come (those that turn out empty included)."""
        return max(0, len(self._batches) - self.next_batch)

    def __next__(self) -> Batch:
        while self._iterator is not None:
            try:
                fetched = next(self._iterator)
            except StopIteration:
                self.close()
                break
            except (RuntimeError, EOFError, OSError) as error:  # a worker died: while idle, or while handing over
                self.close()
                what = (str(error) or type(error).__name__).splitlines()[0]
                message = f"a loader process stopped ({what}); out of memory? try fewer workers"
                raise DataError("worker_died", message) from error
            except BaseException:
                self.close()
                raise
            if fetched.error is not None:
                self.close()
                raise fetched.error
            self.next_batch += 1
            self.skipped += len(fetched.skipped)
            if fetched.batch is not None:
                self._loaded += 1
                return fetched.batch
            logger.warning("batch %d holds no readable sample and is passed over", self.next_batch - 1)
            if self._batches.world_size > 1:  # the other ranks would wait for ever
                self.close()
                raise DataError(
                    "nothing_readable",
                    f"rank {self._batches.rank} has no readable sample in batch {self.next_batch - 1}; "
                    "remove unreadable files from the manifest (`unmask data index` lists them)",
                )
        if self.skipped and not self._loaded:
            raise DataError("nothing_readable", f"none of {self.skipped} samples could be read; see the log for why")
        raise StopIteration

    def close(self) -> None:
        """Stop the workers; the loader gives no more batches."""
        self._iterator = None


def make_loader(
    stream: SampleStream,
    batch_size: int,
    *,
    epoch: int,
    start_batch: int = 0,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pairs: bool = True,
    pin: bool = False,
) -> BatchLoader:
    """Batches of one epoch from ``start_batch`` on, bit-identical for any number of worker processes.

    Args:
        stream: samples by position.
        batch_size: positions per batch and rank; the last batch of an epoch may be smaller with one rank, and is
            left out with several, so that all ranks take equally many steps.
        epoch: handed to the stream.
        start_batch: first batch to give (mid-epoch resume).
        workers: processes that make samples; 0 = this process.
        rank: this process among ``world_size`` that share each epoch without overlap.
        world_size: number of such processes.
        pairs: bring the real counterparts; without them a batch is little more than half as large.
        pin: put batches into page-locked memory, which a GPU copies from by itself.

    Raises:
        ValueError: a count is out of range.
        DataError: while iterating: a worker died (``worker_died``), a sample raised (``sample_failed``), nothing
            could be read (``nothing_readable``).
    """
    if batch_size < 1 or workers < 0 or start_batch < 0 or not 0 <= rank < world_size:
        given = f"{batch_size=}, {workers=}, {start_batch=}, {rank=}, {world_size=}"
        raise ValueError(f"need batch_size >= 1, workers >= 0, start_batch >= 0, 0 <= rank < world_size; got {given}")
    if len(stream) == 0:
        raise DataError("nothing_readable", "the stream has no samples")
    batches = _Batches(stream, epoch, batch_size, rank, world_size, pairs)
    if len(batches) == 0:
        need = batch_size * world_size
        raise DataError("too_few", f"{len(stream)} positions are too few for {world_size} ranks: one step needs {need}")
    return BatchLoader(batches, start_batch, workers, pin)
