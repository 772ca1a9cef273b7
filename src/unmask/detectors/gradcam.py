"""Grad-CAM: where the last feature map of a detector speaks for "fake"."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.detectors.base import AnyDetector


def grad_cam(detector: AnyDetector, image: Tensor) -> Tensor | None:
    """The gradient-weighted sum of a detector's deepest feature map, negative parts cut off.

    Selvaraju et al., "Grad-CAM" (ICCV 2017), equations 1 and 2, for the logit of "fake". The map is the last one that
    any module made and the logit depends on. Coarse, and no mask: it shows what moves the score, which may be anything.

    Args:
        detector: in any mode; left as it is, its parameters get no gradient. Works inside inference mode.
        image: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 1, h, w) in [0, 1], brightest = most, each image scaled to its own maximum; all 0 where nothing speaks for
        "fake". None when the logit depends on no feature map.
    """
    maps: list[Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        made = output if isinstance(output, (list, tuple)) else (output,)
        maps.extend(x for x in made if isinstance(x, Tensor) and x.ndim == 4 and min(x.shape[2:]) > 1)

    modes = [(module, module.training) for module in detector.modules()]
    hooks = [module.register_forward_hook(keep) for module, _ in modes if module is not detector]
    detector.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            logit = detector(image.detach().clone().requires_grad_()).logits.sum()
            found = _deepest(logit, reversed(maps))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
    if found is None:
        return None
    features, gradient = found
    heat = F.relu((gradient.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True))
    return heat / heat.amax((2, 3), keepdim=True).clamp_min(1e-12)


def _deepest(logit: Tensor, maps: Iterable[Tensor]) -> tuple[Tensor, Tensor] | None:
    """The first map that the logit depends on, and the gradient there."""
    for features in maps:
        if features.requires_grad and logit.requires_grad:
            (gradient,) = torch.autograd.grad(logit, features, retain_graph=True, allow_unused=True)
            if gradient is not None and bool(gradient.any()):
                return features.detach().float(), gradient.float()
    return None
