"""From files to verdicts: decode, find faces, ask the detectors, judge; any number of files in bounded memory."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from unmask.analysis.combination import check_calibration, read_combination, read_threshold, read_thresholds
from unmask.analysis.judge import Bench, judge
from unmask.analysis.standing import read_held_out
from unmask.core.errors import ConfigError, UnmaskError, WeightsError
from unmask.core.files import real_path, sha256_file
from unmask.core.types import Face, UInt8Image
from unmask.core.verdict import ErrorInfo, Scores, Verdict
from unmask.data.faces import FaceFinder
from unmask.data.intake import Decoded, decode
from unmask.detectors.base import AnyDetector
from unmask.detectors.scoring import ImageScore, check_takes_images, score_images
from unmask.detectors.weights import WeightsCard, load_weights, read_card
from unmask.reports.evidence import Evidence, Member

logger = logging.getLogger(__name__)

Source = Path | str | bytes | UInt8Image | Sequence[str | Path]
Result = tuple[Verdict, Evidence | None]

CHUNK_IMAGES = 8
CHUNK_PIXELS = 16_000_000
"""A chunk of the stream ends at whichever comes first; together they bound the memory."""


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """One source on its way: decoded, or the error it met."""

    path: str | None
    decoded: Decoded | None = None
    faces: tuple[Face, ...] | None = None
    """As given by the caller; None = to be searched for."""
    sha256: str | None = None
    error: ErrorInfo | None = None


class Analyzer:
    """One or two detectors with the thresholds that turn their score into a verdict; see :func:`load_analyzer`.

    With a detector of clips every source is a video: a folder of frames, or a sequence of frame files.
    """

    def __init__(self, bench: Bench, device: str = "cpu") -> None:
        self.bench = bench
        self._finder = FaceFinder(device=device)

    @property
    def members(self) -> tuple[Member, ...]:
        """The loaded detectors."""
        return self.bench.members

    @property
    def takes_clips(self) -> bool:
        """It looks at videos, not at images."""
        return self.members[0].detector.input_kind == "clip"

    def find_faces(self, image: UInt8Image) -> tuple[Face, ...]:
        """The faces of one upright image (H, W, 3), largest first."""
        return tuple(self._finder.find([image])[0])

    def __call__(self, source: Source) -> Verdict:
        """Analyse one image: a path, the bytes of an image file, or uint8 RGB pixels (H, W, 3).

        Raises:
            UnmaskError: it cannot be analysed (:meth:`stream` answers with a verdict that holds the error instead).
        """
        verdict = next(self.stream([source]))
        if verdict.error is not None:
            raise UnmaskError(verdict.error.code, verdict.error.message)
        return verdict

    def stream(self, sources: Iterable[Source], boxes: Mapping[str, Sequence[Face]] | None = None) -> Iterator[Verdict]:
        """Analyse any number of images in bounded memory; one verdict each, in order, whatever happens."""
        return (verdict for verdict, _ in self.examine(sources, boxes))

    def examine(self, sources: Iterable[Source], boxes: Mapping[str, Sequence[Face]] | None = None) -> Iterator[Result]:
        """Like :meth:`stream`, each verdict together with what it rests on (None on error).

        Args:
            sources: paths, bytes or arrays, or videos; read lazily, a chunk at a time.
            boxes: faces by path (compared as absolute paths); the faces of other images are searched for. Of videos
                those of the middle frames of windows.
        """
        given = {real_path(path): tuple(faces) for path, faces in (boxes or {}).items()}
        if self.takes_clips:
            yield from (self._video(source, given) for source in sources)
            return
        chunk: list[_Item] = []
        pixels = 0
        for source in sources:
            chunk.append(_read(source, given))
            decoded = chunk[-1].decoded
            pixels += decoded.pixels.size // 3 if decoded else 0
            if len(chunk) == CHUNK_IMAGES or pixels >= CHUNK_PIXELS:
                yield from self._analyse(chunk)
                chunk, pixels = [], 0
        yield from self._analyse(chunk)

    def _video(self, source: Source, boxes: Mapping[str, tuple[Face, ...]]) -> Result:
        from unmask.analysis.videos import examine_video, frames_of  # what clips need is not loaded for images

        name = None
        try:
            name, files = frames_of(source)
            return examine_video(self.bench, name, files, boxes, self._finder)
        except Exception as error:
            return self.failure(name, _describe(error)), None

    def _analyse(self, items: Sequence[_Item]) -> Iterator[Result]:
        """Verdicts of a chunk; if it fails as a whole, image by image, so that a bad one spoils only itself."""
        try:
            answers = iter(self._score([(i.decoded.pixels, i.faces) for i in items if i.decoded is not None]))
        except Exception as error:
            if len(items) == 1:
                yield self._failed(items[0], error), None
            else:
                for item in items:
                    yield from self._analyse([item])
            return
        for item in items:
            result: Result
            if item.decoded is None:
                result = self._failed(item), None
            else:
                faces, scored = next(answers)
                try:
                    result = judge(self.bench, item.path, item.decoded, faces, scored)
                except Exception as error:
                    result = self._failed(item, error), None
            yield result

    def _score(
        self, images: Sequence[tuple[UInt8Image, tuple[Face, ...] | None]]
    ) -> list[tuple[tuple[Face, ...], list[ImageScore]]]:
        """Per image its faces and, for each member, its score."""
        pixels = [image for image, _ in images]
        found = iter(self._finder.find([image for image, given in images if given is None]))
        faces = [tuple(next(found)) if given is None else given for _, given in images]
        by_member = [score_images(member.detector, pixels, faces) for member in self.members]
        return [(faces[i], [scored[i] for scored in by_member]) for i in range(len(images))]

    def _failed(self, item: _Item, error: Exception | None = None) -> Verdict:
        told = _describe(error) if error is not None else item.error
        return self.failure(item.path, told or ErrorInfo("internal", "no pixels"), item.sha256)

    def failure(self, path: str | None, error: ErrorInfo, sha256: str | None = None) -> Verdict:
        """The verdict that says why a file could not be analysed."""
        bench = self.bench
        return Verdict(
            path, sha256, "error", None, None, None, Scores(), bench.thresholds, (), bench.name, bench.weights_sha256,
            (), error,
        )  # fmt: skip


def _describe(error: Exception) -> ErrorInfo:
    """What went wrong with one image, for its row; the traceback goes to the debug log."""
    if isinstance(error, UnmaskError):
        return ErrorInfo(error.code, error.message)
    logger.debug("analysis failed", exc_info=error)
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return ErrorInfo(
            "out_of_memory", "there is not enough memory for this image; try --device cpu or a smaller one"
        )
    text = " ".join(str(error).split())[:300]
    return ErrorInfo("internal", f"unmask failed on this image ({type(error).__name__}: {text}); please report it")


def _read(source: Source, boxes: Mapping[str, tuple[Face, ...]]) -> _Item:
    path = str(source) if isinstance(source, (str, Path)) else None
    try:
        if isinstance(source, np.ndarray):
            decoded = _from_array(source)
        else:
            decoded = decode(source)  # type: ignore[arg-type]  # sequences of frames go another way
    except Exception as error:
        described = _describe(error)
        return _Item(path, sha256=_hash(source, described.code), error=described)
    given = None if path is None else boxes.get(real_path(path))
    return _Item(path, decoded, given, decoded.sha256 or None)


def _from_array(pixels: UInt8Image) -> Decoded:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise UnmaskError("not_an_image", f"expected uint8 pixels (H, W, 3), got {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape[:2]
    return Decoded(
        pixels=np.ascontiguousarray(pixels), format="array", mode="RGB", stored_size=(width, height), orientation=1,
        sha256="", n_bytes=pixels.nbytes, quantization=None, exif={}, icc=None, frames=1, reasons=(),
    )  # fmt: skip


def _hash(source: Source, code: str) -> str | None:
    """SHA-256 of a source that could not be decoded, where its bytes can be read at all."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    try:
        if isinstance(source, (str, Path)) and code != "too_large" and Path(source).is_file():
            return sha256_file(source)
    except (OSError, ValueError):
        pass
    return None


def load_analyzer(name_or_file: str | Path | None = None, *, device: str = "auto", clips: bool = False) -> Analyzer:
    """Build an analyzer: the shipped specialists together, one shipped detector by name, or weights of your own.

    Args:
        name_or_file: None or ``"default"`` for the shipped specialists; a shipped name; a ``.safetensors`` file; or a
            combination card (``.json``) whose members lie beside it.
        device: ``"auto"`` (a GPU where there is one), or any torch device.
        clips: take weights of a detector of clips too; it has no answer for single images.

    Raises:
        WeightsError: a missing or damaged file, or nothing is shipped.
        ConfigError: no such name; no such device; ``needs_frames``: the detector looks at clips.
    """
    place = _device(device)
    if name_or_file is None or str(name_or_file) == "default":
        with resources.as_file(resources.files("unmask") / "assets") as assets:
            return _combined(assets / "default.json", place)
    if Path(name_or_file).suffix == ".json":
        return _combined(Path(name_or_file), place)
    detector, card = load_weights(name_or_file)
    is_file = Path(name_or_file).suffix == ".safetensors"
    member = _member(card.detector if is_file else str(name_or_file), detector, card, place, clips=clips)
    thresholds = read_thresholds(card.thresholds, member.name)
    held_out = read_held_out(card.held_out, member.name)
    return Analyzer(Bench(member.name, (member,), thresholds, None, member.sha256, held_out), place)


def _combined(path: Path, device: str) -> Analyzer:
    """The members of a combination card, which lie beside it.

    ``weights_sha256`` is what ``sha256sum MEMBER.safetensors... CARD.json | sha256sum`` prints in that folder.
    """
    combination = read_combination(path)
    files = [path.parent / f"{name}.safetensors" for name in combination.members]
    asked = [file for file in files if read_card(file).answers not in combination.open]
    members = tuple(_member(file.stem, *load_weights(file), device) for file in asked)
    answers = [member.answers for member in members]
    if not members or "both" in answers or len(set(answers)) < len(answers):
        came = ", ".join(answers) or "none"
        raise WeightsError("bad_card", f"{path}: expected members that answer one question each, got {came}")
    lines = [f"{member.sha256}  {member.name}.safetensors\n" for member in members]
    lines.append(f"{sha256_file(path)}  {path.name}\n")
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    thresholds = read_thresholds(combination.thresholds, str(path))
    held_out = read_held_out(combination.held_out, str(path))
    return Analyzer(Bench(path.stem, members, thresholds, combination.calibration, digest, held_out), device)


def _member(name: str, detector: AnyDetector, card: WeightsCard, device: str, *, clips: bool = False) -> Member:
    if not clips:
        check_takes_images(detector, name)
    mask = read_threshold(card.thresholds, "mask", name)
    return Member(
        name=name,
        design=card.detector,
        detector=detector.to(device),
        answers=card.answers,
        calibration=check_calibration(card.calibration, name),
        mask_threshold=0.5 if mask is None else mask,
        sha256=card.sha256,
        command=card.command,
        far=read_threshold(card.thresholds, "distance", name, most=2),
    )


def _device(name: str) -> str:
    """A torch device string that exists here."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError("bad_device", f"device '{name}' cannot be used here: {reason}; try auto or cpu") from None
    return name
