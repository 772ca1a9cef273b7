"""What happens to a photo on its way: codecs, resizing, blur, noise, tone, overlays. Pure functions on decoded pixels.

Every function maps uint8 RGB (H, W, 3) to a new array. :data:`DEGRADATIONS` names them with five severities each
(robustness sweeps, the image-editing benchmark); three of its rows move content (``crop``, ``screenshot``,
``messenger``) and say where to, all others keep every pixel's place. :func:`post_process` draws one random chain and
applies it to several images alike (training pairs).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image

from unmask.core.errors import ConfigError
from unmask.core.types import UInt8Image
from unmask.data.overlays import beauty, screenshot, sticker, text
from unmask.data.placement import Placement, crop_window, scaled

Sampling = Literal["4:4:4", "4:2:2", "4:2:0"]
_FACTORS = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}
INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}


def u8(array: Any) -> UInt8Image:
    """The array as uint8 (no copy when it already is; floats are rounded and clipped to [0, 255])."""
    array = np.asarray(array)
    whole: UInt8Image = array if array.dtype == np.uint8 else np.clip(np.rint(array), 0, 255).astype(np.uint8)
    return whole


def jpeg(image: UInt8Image, quality: int, sampling: Sampling = "4:2:0", offset: tuple[int, int] = (0, 0)) -> UInt8Image:
    """Through a baseline JPEG in memory.

    Args:
        image: RGB (H, W, 3).
        quality: libjpeg quality, 1 to 100.
        sampling: chroma subsampling.
        offset: rows and columns (0 to 7) by which the 8 x 8 grid is shifted up and left.
    """
    dy, dx = offset
    padded = cv2.copyMakeBorder(image, dy, 0, dx, 0, cv2.BORDER_REPLICATE) if dy or dx else image
    settings = [cv2.IMWRITE_JPEG_QUALITY, int(quality), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _FACTORS[sampling]]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(padded, cv2.COLOR_RGB2BGR), settings)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None  # our own bytes, just written
    return u8(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))[dy:, dx:]


def webp(image: UInt8Image, quality: int) -> UInt8Image:
    """Through a lossy WebP in memory, quality 0 to 100."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", quality=int(quality), method=0)
    return np.asarray(Image.open(buffer).convert("RGB"))


def resample(image: UInt8Image, factor: float, down: str = "area", up: str = "bicubic") -> UInt8Image:
    """Resize by ``factor`` with ``down`` and back with ``up`` (names in :data:`INTERPOLATIONS`)."""
    height, width = image.shape[:2]
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    return u8(
        cv2.resize(
            cv2.resize(image, small, interpolation=INTERPOLATIONS[down]),
            (width, height),
            interpolation=INTERPOLATIONS[up],
        )
    )


def blur(image: UInt8Image, sigma: float) -> UInt8Image:
    """Gaussian blur, ``sigma`` in pixels."""
    return u8(cv2.GaussianBlur(image, (0, 0), max(sigma, 0.05), borderType=cv2.BORDER_REFLECT_101))


def sharpen(image: UInt8Image, amount: float, sigma: float = 1.0) -> UInt8Image:
    """Unsharp mask: ``image + amount * (image - blur(image, sigma))``."""
    return u8(cv2.addWeighted(image, 1 + amount, blur(image, sigma), -amount, 0))


def noise(image: UInt8Image, sigma: float, rng: np.random.Generator) -> UInt8Image:
    """Gaussian noise of standard deviation ``sigma`` levels, independent per pixel and channel."""
    return u8(image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(sigma))


def tone(image: UInt8Image, gamma: float = 1.0, contrast: float = 1.0, brightness: float = 0.0) -> UInt8Image:
    """``255 x^gamma``, then contrast about mid-grey, then ``brightness`` in levels; one table look-up."""
    levels = np.arange(256) / 255.0
    return u8(cv2.LUT(image, u8((255 * levels**gamma - 127.5) * contrast + 127.5 + brightness)))


def recolour(
    image: UInt8Image, brightness: float = 1.0, contrast: float = 1.0, saturation: float = 1.0, hue: float = 0.0
) -> UInt8Image:
    """Brightness, contrast about mid-grey, saturation about the luma, and hue, as one matrix on RGB.

    Args:
        image: RGB (H, W, 3).
        brightness, contrast, saturation: factors.
        hue: turns about the grey axis, in circles (0.1 = 36 degrees).
    """
    c, s = np.cos(2 * np.pi * hue), np.sin(2 * np.pi * hue)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    luma = np.tile([0.299, 0.587, 0.114], (3, 1))
    turn = c * np.eye(3) + (1 - c) / 3 + s * cross
    matrix = (luma + saturation * (np.eye(3) - luma)) @ turn * brightness * contrast
    shift = np.full((3, 1), 127.5 * (1 - contrast))
    return u8(cv2.transform(image, np.concatenate([matrix, shift], 1)))


def messenger(image: UInt8Image, hops: int) -> tuple[UInt8Image, Placement]:
    """Sent on ``hops`` times: each time a JPEG of quality 72 (4:2:0), 0.85 of the size, and such a JPEG again.

    Returns:
        The smaller photo, and where its content came from.
    """
    shape = image.shape[0], image.shape[1]
    for _ in range(hops):
        image = jpeg(image, 72)
        image = jpeg(scaled((image.shape[0], image.shape[1]), 0.85).image(image), 72)
    after = image.shape[0], image.shape[1]
    return image, Placement(shape, after, 0, 0, after)


def crop(image: UInt8Image, share: float, rng: np.random.Generator) -> tuple[UInt8Image, Placement]:
    """A random window that keeps ``share`` of each side."""
    place = crop_window((image.shape[0], image.shape[1]), share, rng)
    return place.image(image), place


Apply = Callable[[UInt8Image, float, np.random.Generator], UInt8Image]
Move = Callable[[UInt8Image, float, np.random.Generator], tuple[UInt8Image, Placement]]


class Degradation(NamedTuple):
    """A named degradation: ``apply(image, level, rng)`` and the level of each severity from 1 to 5."""

    apply: Apply
    levels: tuple[float, float, float, float, float]
    unit: str
    """What the level is."""
    move: Move | None = None
    """The same with where the content went, for a degradation that moves it; None: every pixel keeps its place."""

    @property
    def moves(self) -> bool:
        """True when content moves, so that masks and faces have to go with it (see :meth:`edit`)."""
        return self.move is not None

    def __call__(self, image: UInt8Image, severity: int, rng: np.random.Generator) -> UInt8Image:
        """Degrade uint8 RGB (H, W, 3) at severity 1 (light) to 5 (strong).

        Raises:
            ConfigError: severity is not 1 to 5.
        """
        return self.apply(image, self._level(severity), rng)

    def edit(self, image: UInt8Image, severity: int, rng: np.random.Generator) -> tuple[UInt8Image, Placement]:
        """The same image as from a call, and where the photo's content lies in it.

        Raises:
            ConfigError: severity is not 1 to 5.
        """
        if self.move is not None:
            return self.move(image, self._level(severity), rng)
        return self(image, severity, rng), Placement.still((image.shape[0], image.shape[1]))

    def _level(self, severity: int) -> float:
        if severity not in (1, 2, 3, 4, 5):
            raise ConfigError("bad_severity", f"severity must be 1 to 5, got {severity!r}")
        return self.levels[severity - 1]


def _moving(move: Move, levels: tuple[float, float, float, float, float], unit: str) -> Degradation:
    return Degradation(lambda image, level, rng: move(image, level, rng)[0], levels, unit, move)


DEGRADATIONS: dict[str, Degradation] = {
    "jpeg": Degradation(lambda i, q, _: jpeg(i, int(q)), (90, 75, 60, 45, 30), "quality, 4:2:0"),
    "jpeg_twice": Degradation(
        lambda i, q, _: jpeg(jpeg(i, int(q), offset=(3, 5)), 75), (95, 85, 70, 55, 40), "first quality, then 75"
    ),
    "webp": Degradation(lambda i, q, _: webp(i, int(q)), (90, 75, 60, 40, 20), "quality"),
    "resize": Degradation(lambda i, f, _: resample(i, f), (0.85, 0.7, 0.5, 0.35, 0.25), "factor down and back up"),
    "blur": Degradation(lambda i, s, _: blur(i, s), (0.5, 1.0, 1.5, 2.0, 3.0), "sigma in pixels"),
    "sharpen": Degradation(lambda i, a, _: sharpen(i, a), (0.3, 0.6, 1.0, 1.5, 2.0), "amount"),
    "noise": Degradation(noise, (2.0, 4.0, 8.0, 12.0, 16.0), "sigma in levels"),
    "gamma": Degradation(lambda i, g, _: tone(i, gamma=g), (1.15, 1.3, 1.45, 1.6, 1.8), "exponent"),
    "contrast": Degradation(lambda i, c, _: tone(i, contrast=c), (0.9, 0.8, 0.7, 0.6, 0.5), "factor"),
    "brightness": Degradation(lambda i, b, _: tone(i, brightness=b), (10, 20, 30, 40, 50), "levels added"),
    "saturation": Degradation(lambda i, f, _: recolour(i, saturation=f), (0.85, 0.7, 0.5, 0.3, 0.0), "factor"),
    "beauty": Degradation(lambda i, s, _: beauty(i, s), (10, 20, 30, 45, 60), "levels smoothed on skin"),
    "text": Degradation(text, (0.03, 0.05, 0.07, 0.09, 0.12), "letter height over shorter side"),
    "sticker": Degradation(sticker, (0.08, 0.12, 0.18, 0.24, 0.3), "diameter over shorter side"),
    "crop": _moving(crop, (0.95, 0.9, 0.85, 0.8, 0.7), "share of each side kept"),
    "screenshot": _moving(screenshot, (0.95, 0.85, 0.75, 0.6, 0.5), "size on screen"),
    "messenger": _moving(
        lambda i, n, _: messenger(i, int(n)), (1, 2, 3, 4, 5), "times sent: JPEG 72, size x 0.85, JPEG 72"
    ),
}
"""Every row by name. The overlays (``beauty``, ``text``, ``sticker``) leave the mask of a real edit as it is: they are
no forgery."""


@dataclass(frozen=True)
class PostConfig:
    """How :func:`post_process` draws a chain: each step has a probability and a range; steps run in field order."""

    untouched: float = 0.15
    """Probability that nothing at all is done."""
    resize: float = 0.25
    """Probability of resizing down and back up, with a random pair of interpolations."""
    resize_range: tuple[float, float] = (0.5, 0.95)
    """Factor of the way down."""
    blur: float = 0.15
    """Probability of Gaussian blur."""
    blur_range: tuple[float, float] = (0.3, 1.2)
    """Sigma in pixels."""
    sharpen: float = 0.1
    """Probability of an unsharp mask."""
    sharpen_range: tuple[float, float] = (0.2, 1.0)
    """Amount."""
    noise: float = 0.15
    """Probability of Gaussian noise; the same field for every image."""
    noise_range: tuple[float, float] = (0.5, 4.0)
    """Sigma in levels."""
    gamma: float = 0.2
    """Probability of a gamma curve."""
    gamma_range: tuple[float, float] = (0.75, 1.35)
    """Exponent."""
    colour: float = 0.0
    """Probability of a colour jitter (see :func:`recolour`)."""
    colour_range: tuple[float, float, float, float] = (0.2, 0.2, 0.2, 0.1)
    """How far brightness, contrast and saturation may be from 1, and hue from 0."""
    jpeg: float = 0.6
    """Probability of JPEG (4:4:4 or 4:2:0, evenly), on a random position of its 8 x 8 grid."""
    jpeg_range: tuple[int, int] = (40, 100)
    """Quality."""
    webp: float = 0.08
    """Probability of WebP instead, where JPEG was not drawn."""
    webp_range: tuple[int, int] = (50, 95)
    """Quality."""

    def __post_init__(self) -> None:
        for name in ("untouched", "resize", "blur", "sharpen", "noise", "gamma", "colour", "jpeg", "webp"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, got {getattr(self, name)}")


NO_POST = PostConfig(untouched=1.0)
"""Leaves images as they are."""


def post_process(images: Sequence[UInt8Image], rng: np.random.Generator, config: PostConfig) -> list[UInt8Image]:
    """Apply one random draw of the chain to all images alike.

    Args:
        images: uint8 RGB arrays of one shape (H, W, 3), e.g. a real photo and its forgery.
        rng: the draw; the same state gives the same result.
        config: probabilities and ranges.

    >>> import numpy as np
    >>> grey = np.full((64, 64, 3), 128, np.uint8)
    >>> a, b = post_process([grey, grey], np.random.default_rng(3), PostConfig())
    >>> a.shape, bool((a == b).all())
    ((64, 64, 3), True)
    """
    out = [u8(image) for image in images]
    if rng.random() < config.untouched:
        return out
    if rng.random() < config.resize:
        factor = rng.uniform(*config.resize_range)
        down = str(rng.choice(["area", "bilinear", "bicubic"]))
        up = str(rng.choice(["bilinear", "bicubic", "lanczos"]))
        out = [resample(i, factor, down, up) for i in out]
    if rng.random() < config.blur:
        sigma = rng.uniform(*config.blur_range)
        out = [blur(i, sigma) for i in out]
    if rng.random() < config.sharpen:
        amount, sigma = rng.uniform(*config.sharpen_range), rng.uniform(0.6, 1.6)
        out = [sharpen(i, amount, sigma) for i in out]
    if rng.random() < config.noise:
        field = rng.standard_normal(out[0].shape, dtype=np.float32) * np.float32(rng.uniform(*config.noise_range))
        out = [u8(i + field) for i in out]
    if rng.random() < config.gamma:
        gamma = rng.uniform(*config.gamma_range)
        out = [tone(i, gamma=gamma) for i in out]
    if config.colour and rng.random() < config.colour:  # no draw where there is none: older recipes give what they gave
        spread = np.array(config.colour_range)
        factors = rng.uniform(-spread, spread) + np.array([1, 1, 1, 0])
        out = [recolour(i, *factors) for i in out]
    if rng.random() < config.jpeg:
        quality = int(rng.integers(config.jpeg_range[0], config.jpeg_range[1] + 1))
        sampling: Sampling = "4:4:4" if rng.random() < 0.5 else "4:2:0"
        offset = (int(rng.integers(8)), int(rng.integers(8)))
        out = [jpeg(i, quality, sampling, offset) for i in out]
    elif rng.random() < config.webp:
        quality = int(rng.integers(config.webp_range[0], config.webp_range[1] + 1))
        out = [webp(i, quality) for i in out]
    return out
