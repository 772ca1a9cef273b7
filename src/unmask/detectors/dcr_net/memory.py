"""What training remembers of real images: the bank, the slow encoder that fills it, and how it is kept up to date."""

from __future__ import annotations

import copy
import hashlib

import torch
from torch import Tensor, nn

from unmask.core.errors import TrainingError
from unmask.core.types import Batch
from unmask.detectors.dcr_net.bank import MemoryBank, prototypes
from unmask.detectors.dcr_net.config import DCRNetConfig
from unmask.nn.distributed import of_all_processes


class Memory(nn.Module):
    """A bank, and what keeps it up to date in training.

    The keys are made by a copy of the network that follows it slowly and is always in eval mode, so that keys of
    different steps can be compared: He et al., "Momentum Contrast" (MoCo, 2020), eq. 2.

    Args:
        config: bank, momentum, update rule and pool.
        learning: the part of the extractor that is followed.
        dim: length of its features.
    """

    def __init__(self, config: DCRNetConfig, learning: nn.Module, dim: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = copy.deepcopy(learning).requires_grad_(False).eval()
        self.bank = MemoryBank(config.bank, dim)
        self.pool = None if config.update == "queue" else MemoryBank(config.pool, dim)
        self.seen: Tensor
        self.rebuilt: Tensor
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("rebuilt", torch.tensor(False))

    def train(self, mode: bool = True) -> Memory:
        """The encoder stays in eval mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    @torch.no_grad()
    def follow(self, learning: nn.Module, momentum: float) -> None:
        """``encoder = momentum * encoder + (1 - momentum) * learning``, batch-norm statistics included."""
        for mine, theirs in zip(self.encoder.state_dict().values(), learning.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - momentum)
            else:
                mine.copy_(theirs)

    def learn(self, keys: Tensor, ids: Tensor, labels: Tensor) -> None:
        """Take in the keys of a training step, those of all processes that share it.

        Raises:
            DataError: ``fake_in_memory``, see :meth:`MemoryBank.write`.
        """
        keys, ids, labels = of_all_processes(keys, ids, labels)
        if self.pool is None or not bool(self.rebuilt):  # in the first epoch every rule is a queue
            self.bank.write(keys, ids, labels)
        if self.pool is not None:
            self.pool.write(keys, ids, labels)
        self.seen += len(keys)

    def end_epoch(self) -> None:
        """Rebuild the bank from this epoch's keys, where the rule asks for it."""
        if self.pool is None or not len(self.pool):
            return
        keys, ids = self.pool.newest()
        if self.config.update == "kmeans" and len(keys) > self.bank.slots:
            keys, ids = prototypes(keys, ids, self.bank.slots)
        self.bank.replace(keys, ids)
        self.pool.replace(keys[:0], ids[:0])
        self.rebuilt.fill_(True)


def identities(batch: Batch) -> Tensor:
    """(B,) int64 ids, equal for relatives: of the ``group`` where there is one, else of the ``path``.

    Raises:
        TrainingError: an image has neither, so that it could not be kept from meeting itself.
    """
    names = [g or p for g, p in zip(batch.group or batch.path, batch.path or batch.group, strict=True)]
    if len(names) != len(batch) or not all(names):
        raise TrainingError(
            "no_identity",
            "every training image needs a path or a group: its own key must never be retrieved for it",
        )
    digests = [hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in names]
    return torch.tensor([int.from_bytes(digest, "big") >> 1 for digest in digests], device=batch.label.device)
