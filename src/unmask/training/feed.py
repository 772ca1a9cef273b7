"""An endless row of samples out of a stream of epochs, and a stream held in memory as batches."""

from __future__ import annotations

from dataclasses import dataclass

from unmask.core.types import Batch, Sample
from unmask.data.loader import SampleStream, make_loader


@dataclass(frozen=True)
class Endless:
    """Epoch after epoch of ``stream`` as one epoch of ``positions`` samples: batches may span two epochs, workers are
    started once and never wait for an epoch's end."""

    stream: SampleStream
    positions: int

    def __len__(self) -> int:
        return self.positions

    def sample(self, epoch: int, position: int) -> Sample | None:
        """The sample at ``position`` counted from the start of training."""
        done, within = divmod(position, len(self.stream))
        return self.stream.sample(epoch + done, within)


def hold(stream: SampleStream, count: int, batch_size: int, workers: int) -> list[Batch]:
    """The first ``count`` samples as batches in memory, without real counterparts (validation does not read them)."""
    return list(make_loader(Endless(stream, count), batch_size, epoch=0, workers=workers, pairs=False))
