"""Feature-level fusions of vectors: small nets, all trained alike, scored on families they never saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.detectors.fused import VectorNet
from unmask.studies.probe import Floats


@dataclass(frozen=True)
class HeadSettings:
    """How every feature-level fusion is trained; fixed before any of them was compared."""

    dim: int = 32
    """Channels after the fusion."""
    epochs: int = 30
    batch: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    """Before the last layer."""
    hide: float = 0.1
    """Chance that a feature of a training image is hidden, as if it had no value (at least one always stays)."""


def tensors(values: Mapping[str, npt.NDArray[Any]], names: Sequence[str]) -> list[Tensor]:
    """The features as tensors (N, D_i), rows of nan where there is no value."""
    return [torch.from_numpy(np.asarray(values[name], np.float32)) for name in names]


def hidden(values: Sequence[Tensor], chance: float) -> list[Tensor]:
    """The features, each image's hidden (nan) with a chance; an image that would lose all keeps all."""
    if chance <= 0 or len(values) < 2:
        return list(values)
    gone = torch.rand(len(values[0]), len(values)) < chance
    gone &= ~gone.all(1, keepdim=True)
    return [torch.where(gone[:, i : i + 1], torch.nan, x) for i, x in enumerate(values)]


def train_head(
    values: Sequence[Tensor], labels: npt.NDArray[np.bool_], fusion: str, seed: int, settings: HeadSettings
) -> VectorNet:
    """Train a net on (n, D_i) features of (n,) images; standardised on these images, both classes weighing alike.

    Returns:
        The net in eval mode.
    """
    torch.manual_seed(seed)
    net = VectorNet([x.shape[1] for x in values], settings.dim, fusion, dropout=settings.dropout)
    for stream, x in zip(net.vectors, values, strict=True):
        stream.standardise(x)  # type: ignore[operator]
    truth = torch.from_numpy(labels.astype(np.float32))
    share = float(truth.mean())
    weight = torch.where(truth > 0.5, 0.5 / share, 0.5 / (1 - share))
    steps = settings.epochs * -(-len(truth) // settings.batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=steps)
    net.train()
    net.vectors.eval()  # the statistics are those of all training images, not of a batch
    for _ in range(settings.epochs):
        for rows in torch.split(torch.randperm(len(truth)), settings.batch):
            logits = net(hidden([x[rows] for x in values], settings.hide)).logits
            loss = F.binary_cross_entropy_with_logits(logits, truth[rows], weight[rows])
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return net.eval()


@torch.inference_mode()
def head_logits(net: VectorNet, values: Sequence[Tensor]) -> tuple[Floats, Floats | None]:
    """(n,) logits, nan where an image has no feature at all, and each feature's share (n, K) where there is one."""
    answer = net(values)
    there = torch.stack([torch.isfinite(x).all(1) for x in values]).any(0)
    logits = torch.where(there, answer.logits, torch.nan).double().numpy()
    return logits, None if answer.shares is None else answer.shares.mean(1).double().numpy()


def head_out_of_fold(
    values: Sequence[Tensor],
    labels: npt.NDArray[np.bool_],
    fold: npt.NDArray[np.intp],
    fusion: str,
    seed: int,
    settings: HeadSettings,
    tick: Callable[[], None] = lambda: None,
) -> tuple[Floats, Floats | None]:
    """Each fold scored by a net trained on the other folds: logits (N,) and shares (N, K) or None."""
    logits, shares = np.full(len(labels), np.nan), None
    for number in range(int(fold.max()) + 1):
        held = fold == number
        here, there = torch.from_numpy(held), torch.from_numpy(~held)
        net = train_head([x[there] for x in values], labels[~held], fusion, seed, settings)
        logits[held], found = head_logits(net, [x[here] for x in values])
        if found is not None:
            shares = np.full((len(labels), len(values)), np.nan) if shares is None else shares
            shares[held] = found
        tick()
    return logits, shares


def head_cost(widths: Sequence[int], fusion: str, settings: HeadSettings, repeats: int = 20) -> tuple[float, int]:
    """Processor milliseconds for one image (median), and parameters."""
    net = VectorNet(widths, settings.dim, fusion).eval()
    values = [torch.zeros(1, width) for width in widths]
    took = []
    with torch.inference_mode():
        for _ in range(repeats):
            start = time.process_time()
            net(values)
            took.append(time.process_time() - start)
    return 1000 * float(np.median(took)), sum(p.numel() for p in net.parameters())
