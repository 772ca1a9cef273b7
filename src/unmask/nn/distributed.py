"""What processes that share a training step tell each other."""

from __future__ import annotations

import torch
from torch import Tensor


def of_all_processes(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Rows (N, ...) of every process that shares a training step, joined in their order; N may differ between them.

    Tensors given together have equally many rows. Without distributed training they come back as they are.
    """
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return tensors
    mine = torch.tensor(len(tensors[0]), device=tensors[0].device)
    counts = [torch.zeros_like(mine) for _ in range(distributed.get_world_size())]
    distributed.all_gather(counts, mine)
    most = int(torch.stack(counts).max())
    joined = []
    for tensor in tensors:
        padded = torch.cat([tensor, tensor.new_zeros(most - len(tensor), *tensor.shape[1:])])
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded)
        joined.append(torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)]))
    return tuple(joined)
