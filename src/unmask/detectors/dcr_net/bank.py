"""A memory of what is real: a ring of unit vectors, searched with one matrix product per chunk."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.core.errors import DataError

UNKNOWN = -1
"""The id of a prototype that belongs to no single photo or person."""
CHUNK = 1 << 16
"""Prototypes compared at once: (queries, CHUNK) similarities are all the memory a search needs."""


class Nearest(NamedTuple):
    """The ``k`` most similar prototypes of each query, most similar first."""

    similarity: Tensor
    """(B, k) cosines. Where fewer than ``k`` may be retrieved, the first stands in for the missing ones."""
    slot: Tensor
    """(B, k) where they lie in the bank."""
    found: Tensor
    """(B,) bool; False where there is none at all: similarities and slots then mean nothing."""


class MemoryBank(nn.Module):
    """The newest ``slots`` unit vectors of real images, with the ids of who is on them. No gradient, only buffers.

    Args:
        slots: how many fit.
        dim: length of each.

    >>> bank = MemoryBank(slots=2, dim=2)
    >>> bank.write(torch.eye(2), torch.tensor([7, 8]), labels=torch.zeros(2))
    >>> bank.write(torch.tensor([[3.0, 4.0]]), torch.tensor([9]), labels=torch.zeros(1))
    >>> bank.newest()[1].tolist(), len(bank)
    ([8, 9], 2)
    >>> bank.nearest(torch.tensor([[0.0, 1.0]]), 1, ids=torch.tensor([8])).similarity
    tensor([[0.8000]])
    """

    def __init__(self, slots: int, dim: int) -> None:
        super().__init__()
        self.slots = slots
        self.keys: Tensor
        self.ids: Tensor
        self.filled: Tensor
        self.pointer: Tensor
        self.register_buffer("keys", torch.zeros(slots, dim))
        self.register_buffer("ids", torch.full((slots,), UNKNOWN))
        self.register_buffer("filled", torch.tensor(0))
        self.register_buffer("pointer", torch.tensor(0))

    def __len__(self) -> int:
        """Prototypes that can be retrieved."""
        return int(self.filled)

    @torch.no_grad()
    def write(self, keys: Tensor, ids: Tensor, labels: Tensor) -> None:
        """Add vectors (N, dim), brought to unit length, with ids (N,); the oldest make room, the ring wraps.

        Raises:
            DataError: ``fake_in_memory`` when a label is not 0: only real images are remembered.
        """
        if bool((labels != 0).any()):
            count = int((labels != 0).sum())
            raise DataError(
                "fake_in_memory", f"only real images (label 0) may enter the memory, got {count} of {len(labels)} fake"
            )
        total = len(keys)
        kept = min(total, self.slots)
        place = (self.pointer + torch.arange(total - kept, total, device=keys.device)) % self.slots
        self.keys[place] = F.normalize(keys[total - kept :].to(self.keys), dim=1)
        self.ids[place] = ids[total - kept :]
        self.pointer.copy_((self.pointer + total) % self.slots)
        self.filled.copy_((self.filled + total).clamp(max=self.slots))

    @torch.no_grad()
    def replace(self, keys: Tensor, ids: Tensor) -> None:
        """Forget everything, then remember these (the last ``slots`` of them)."""
        for buffer, value in ((self.keys, 0), (self.ids, UNKNOWN), (self.filled, 0), (self.pointer, 0)):
            buffer.fill_(value)
        self.write(keys, ids, torch.zeros(len(keys)))

    def newest(self) -> tuple[Tensor, Tensor]:
        """Vectors (filled, dim) and ids (filled,), oldest first."""
        count = len(self)
        order = (self.pointer - count + torch.arange(count, device=self.keys.device)) % self.slots
        return self.keys[order], self.ids[order]

    def knows_others(self, ids: Tensor) -> Tensor:
        """(B,) ids to (B,) bool: is there a prototype of somebody else?"""
        others = (ids[:, None] != self.ids) | (ids[:, None] == UNKNOWN)
        return (others & (torch.arange(self.slots, device=ids.device) < self.filled)).any(1)

    @torch.no_grad()
    def nearest(self, queries: Tensor, k: int, ids: Tensor | None = None) -> Nearest:
        """Search every prototype for each query.

        Args:
            queries: (B, dim) unit vectors.
            k: how many, at most ``slots``.
            ids: (B,) never retrieve a prototype of the same id (:data:`UNKNOWN` excludes nothing); None: search all.
        """
        count = queries.shape[0]
        similarity, slot = queries.new_empty(count, 0), self.ids.new_empty(count, 0)
        for start in range(0, self.slots, CHUNK):
            stop = min(start + CHUNK, self.slots)
            product = queries @ self.keys[start:stop].T  # (B, chunk)
            barred = torch.arange(start, stop, device=queries.device) >= self.filled  # (chunk,)
            if ids is not None:
                barred = barred | ((ids[:, None] == self.ids[start:stop]) & (ids[:, None] != UNKNOWN))
            best, place = product.masked_fill_(barred, -torch.inf).topk(min(k, stop - start), dim=1)
            similarity, slot = torch.cat([similarity, best], 1), torch.cat([slot, place + start], 1)
            similarity, order = similarity.topk(min(k, similarity.shape[1]), dim=1)
            slot = slot.gather(1, order)
        allowed = similarity > -torch.inf
        similarity, slot = (torch.where(allowed, x, x[:, :1]) for x in (similarity, slot))
        return Nearest(similarity, slot, allowed[:, 0])


@torch.no_grad()
def prototypes(keys: Tensor, ids: Tensor, count: int, rounds: int = 10) -> tuple[Tensor, Tensor]:
    """At most ``count`` centres (unit vectors) of unit vectors (N, dim), by spherical k-means.

    Dhillon and Modha, "Concept decompositions for large sparse text data" (2001). Starts from evenly spaced vectors,
    draws nothing at random; clusters left without a member are dropped.

    Returns:
        Centres, and the id their members share, or :data:`UNKNOWN` where they are of several.
    """
    centres = keys[torch.linspace(0, len(keys) - 1, min(count, len(keys)), device=keys.device).round().long()]
    owner = _owners(keys, centres)
    for _ in range(rounds):
        sums = torch.zeros_like(centres).index_add_(0, owner, keys)
        moved = F.normalize(sums, dim=1)
        centres = torch.where(moved.square().sum(1, keepdim=True) > 0, moved, centres)
        owner = _owners(keys, centres)
    members = torch.bincount(owner, minlength=len(centres))
    least = ids.new_zeros(len(centres)).scatter_reduce(0, owner, ids, "amin", include_self=False)
    most = ids.new_zeros(len(centres)).scatter_reduce(0, owner, ids, "amax", include_self=False)
    return centres[members > 0], torch.where(least == most, least, UNKNOWN)[members > 0]


def _owners(keys: Tensor, centres: Tensor) -> Tensor:
    return torch.cat([(part @ centres.T).argmax(1) for part in torch.split(keys, 4096)])
