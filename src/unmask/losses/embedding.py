"""Losses on the embedding. Each takes ``(output, batch)`` and returns a scalar."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.core.errors import ConfigError, TrainingError
from unmask.core.types import Batch, DetectorOutput
from unmask.nn.distributed import of_all_processes


def supcon(output: DetectorOutput, batch: Batch, *, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss of the embeddings (B, D), labels real and fake: pytorch-metric-learning's SupConLoss.

    Khosla et al., "Supervised Contrastive Learning" (2020), L_out, on cosine similarities. In distributed training the
    embeddings of all processes are compared with each other, so that two processes equal one with the double batch,
    and all of them fail together when the joint batch is not usable.

    Raises:
        ConfigError: the detector gives no embedding.
        TrainingError: no two images share a class, or all do: nothing attracts or nothing repels, and the loss would
            be a silent 0.
    """
    from pytorch_metric_learning.losses import SupConLoss

    if output.embedding is None:
        raise ConfigError("no_embedding", "supcon needs a detector that gives an embedding: leave the term out")
    embedding, label, share = _joint(output.embedding.float(), batch.label)
    label = label.round().long()
    fakes = int(label.sum())
    reals = len(label) - fakes
    if max(fakes, reals) < 2 or min(fakes, reals) < 1:
        raise TrainingError(
            "no_positive_pair",
            f"supcon needs two images of one class and one of the other in a batch, got {reals} real and {fakes} fake; "
            "raise batch_size, and train on both classes",
        )
    loss: Tensor = SupConLoss(temperature)(embedding, label)
    return loss if share == 1 else loss.detach() + share * (loss - loss.detach())


def _joint(embedding: Tensor, label: Tensor) -> tuple[Tensor, Tensor, int]:
    """Embeddings and labels of all processes that share a step, and how many there are.

    Only this process's rows carry a gradient. Distributed training averages gradients over the processes, so a loss
    over the joint batch has to be multiplied by their number to have its whole gradient. Without gradients
    (validation, which one process does alone) nothing is exchanged.
    """
    from torch import distributed

    if not (torch.is_grad_enabled() and distributed.is_available() and distributed.is_initialized()):
        return embedding, label, 1
    rank = label.new_full(label.shape, distributed.get_rank())
    rows, labels, owner = of_all_processes(embedding.detach(), label, rank)
    mine = (owner == distributed.get_rank())[:, None].expand_as(rows)
    return rows.masked_scatter(mine, embedding), labels, distributed.get_world_size()
