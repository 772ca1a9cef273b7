"""The frequency stream's start: fixed high-pass filters, brought to a quarter of the image's size."""

from __future__ import annotations

import torch
from timm.layers.cbam import CbamModule
from timm.layers.norm import LayerNorm2d
from timm.layers.squeeze_excite import SqueezeExcite
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.ops.srm import SRM_NAMES, luma, srm, srm_kernels
from unmask.ops.wavelets import dwt2, wavelet_filters


class MSAF(nn.Module):
    """Multi-Scale Artifact Fusion: SRM residuals and wavelet details of the luma, fused by CBAM (Woo et al., 2018).

    Level 1 of the wavelets is Haar on the luma, level 2 coif1 on its approximation, brought to level 1's size. The
    filters are fixed and run in float32 under autocast: half precision is coarser than what they look for.

    Args:
        unit_l1: scale the SRM kernels to unit L1 norm (their gains run from 8 to 256 otherwise).
    """

    def __init__(self, *, unit_l1: bool = True) -> None:
        super().__init__()
        self.kernels: Tensor
        self.haar: Tensor
        self.coif1: Tensor
        self.register_buffer("kernels", srm_kernels(unit_l1=unit_l1), persistent=False)
        self.register_buffer("haar", wavelet_filters("haar"), persistent=False)
        self.register_buffer("coif1", wavelet_filters("coif1"), persistent=False)
        count = len(SRM_NAMES)
        self.residual = nn.Sequential(
            nn.Conv2d(count, 2 * count, 3, 2, 1, bias=False), nn.BatchNorm2d(2 * count), nn.GELU()
        )
        self.wavelet = nn.Sequential(nn.Conv2d(6, 12, 1, bias=False), nn.BatchNorm2d(12), nn.GELU())
        self.cbam = CbamModule(2 * count + 12, rd_ratio=1 / 4)

    def _filtered(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """SRM residuals (B, 10, H, W) and wavelet details (B, 6, H/2, W/2): LH, HL, HH of level 1, then of level 2."""
        with torch.autocast(image.device.type, enabled=False):
            image = image.float()
            approximation, fine = dwt2(luma(image), self.haar)
            coarse = dwt2(approximation, self.coif1)[1].flatten(1, 2)
            coarse = F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
            return srm(image, self.kernels), torch.cat([fine.flatten(1, 2), coarse], 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1], H and W multiples of 4, to (B, 32, H/2, W/2)."""
        residuals, details = self._filtered(image)
        x = torch.cat([self.residual(residuals), self.wavelet(details)], 1)
        fused: Tensor = self.cbam(x.contiguous(memory_format=torch.channels_last))
        return fused

    @torch.no_grad()
    def evidence(self, image: Tensor) -> dict[str, Tensor]:
        """What the fixed filters give: ``SRM residuals`` (B, 10, H, W), ``wavelet details`` (B, 6, H/2, W/2)."""
        residuals, details = self._filtered(image)
        return {"SRM residuals": residuals, "wavelet details": details}


class MBConvDown(nn.Module):
    """An inverted bottleneck (Sandler et al., CVPR 2018) that halves a map's sides, with a pooled shortcut.

    1x1 expansion by 4, depthwise 3x3 of stride 2, LayerNorm, GELU, squeeze-excitation, 1x1 projection; plus average
    pooling and a 1x1 convolution; then LayerNorm, GELU. The 1x1 convolutions are linear layers on channels-last cells:
    the same numbers, several times faster on a CPU.

    Args:
        into: channels in.
        out: channels out.
    """

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        wide = 4 * into
        self.expand = nn.Linear(into, wide, bias=False)  # the depthwise convolution has one
        self.depthwise = nn.Conv2d(wide, wide, 3, 2, 1, groups=wide)
        self.norm = LayerNorm2d(wide)
        self.squeeze = SqueezeExcite(wide)
        self.project = nn.Linear(wide, out)
        self.shortcut = nn.Linear(into, out, bias=False)
        self.norm_out = nn.LayerNorm(out, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, W) to (B, out, H/2, W/2), channels last in memory."""
        wide = self.expand(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        wide = self.squeeze(F.gelu(self.norm(self.depthwise(wide))))
        short = self.shortcut(F.avg_pool2d(x, 2).permute(0, 2, 3, 1))
        return F.gelu(self.norm_out(self.project(wide.permute(0, 2, 3, 1)) + short)).permute(0, 3, 1, 2)
