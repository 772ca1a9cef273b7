"""A video in files, a folder of frames, to what a detector of clips says of it, and to a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path, PurePosixPath

from unmask.analysis.judge import Bench, judge
from unmask.analysis.video_scoring import CLIPS, VideoScore, middle_frames, score_video
from unmask.core.errors import DataError
from unmask.core.files import real_path, sha256_file
from unmask.core.types import Face, UInt8Image
from unmask.core.verdict import Verdict
from unmask.data.benchmarks.tree import natural
from unmask.data.clips import frames_hash
from unmask.data.faces import FaceFinder, scale_face
from unmask.data.intake import Decoded, decode
from unmask.data.sources import SUFFIXES
from unmask.detectors.base import AnyDetector
from unmask.reports.evidence import Evidence

Frames = Sequence[str | Path]


def score_frames(
    detector: AnyDetector,
    files: Frames,
    boxes: Mapping[str, Sequence[Face]],
    finder: FaceFinder,
    *,
    clips: int = CLIPS,
    prepare: Callable[[Decoded], Decoded] | None = None,
) -> tuple[VideoScore, Decoded]:
    """What a detector of clips says of a video, with the frame whose faces it names; only frames of windows are read.

    Args:
        detector: of clips, on any device.
        files: the frames of one video, in order.
        boxes: faces by real path, in pixels of the upright frame as it is stored.
        finder: searches the middle frames of windows that have no boxes.
        clips: windows, at most.
        prepare: done to every frame first.

    Raises:
        UnmaskError: see :func:`unmask.analysis.video_scoring.score_video`, and the codes of files that cannot be used.
    """
    middles = set(middle_frames(len(files), detector.config.view.frames, clips))
    kept: dict[int, Decoded] = {}
    stored: dict[int, tuple[int, ...]] = {}

    def read(i: int) -> UInt8Image:
        original = decode(Path(files[i]))
        decoded = original if prepare is None else prepare(original)
        if i in middles:
            kept[i], stored[i] = decoded, original.pixels.shape
        return decoded.pixels

    def find(i: int, pixels: UInt8Image) -> Sequence[Face]:
        given = boxes.get(real_path(files[i]))
        if given is None:
            return finder.find([pixels])[0]
        return [scale_face(face, stored[i], pixels.shape) for face in given]

    found = score_video(detector, len(files), read, find, clips)
    return found, kept[found.middle]


def examine_video(
    bench: Bench, name: str, files: Frames, boxes: Mapping[str, Sequence[Face]], finder: FaceFinder
) -> tuple[Verdict, Evidence]:
    """The verdict on one video; its faces and its evidence are those of one frame near the middle, which show where the
    detector looked, and have no score of their own.

    Raises:
        UnmaskError: see :func:`score_frames`.
    """
    found, decoded = score_frames(bench.members[0].detector, files, boxes, finder)
    verdict, evidence = judge(bench, name, decoded, found.faces, [found.score])
    shown = Path(files[found.middle]).name
    told = (
        f"video: {len(files)} frames, of which {shown} stands for all where a picture, a face or a file is shown; "
        "the score is that of the mean of the clips' logits, the SHA-256 that of all frames' hashes"
    )
    digest = frames_hash([sha256_file(path) for path in files])
    return replace(verdict, sha256=digest, reasons=(told, *verdict.reasons)), evidence


def frames_of(source: object) -> tuple[str, list[str]]:
    """Name and frames of a video: a folder and its images in natural order, or a sequence of files and their folder.

    Raises:
        DataError: ``needs_frames``: something else.
    """
    if isinstance(source, (str, Path)):
        if Path(source).is_dir():
            inner = (str(path) for path in Path(source).iterdir() if path.suffix.lower() in SUFFIXES)
            return str(source), _sorted(inner)
        return str(source), [str(source)]
    if isinstance(source, Sequence) and source and all(isinstance(path, (str, Path)) for path in source):
        return str(Path(source[0]).parent) if len(source) > 1 else str(source[0]), [str(path) for path in source]
    raise DataError("needs_frames", "a detector of clips takes a folder of frames, or a list of frame files")


def group_frames(paths: Iterable[str]) -> Iterator[list[str]]:
    """Files that follow each other in one folder, as one video each, in natural order.

    >>> list(group_frames(["a/10.png", "a/9.png", "b/1.png"]))
    [['a/9.png', 'a/10.png'], ['b/1.png']]
    """
    for _, inner in groupby(paths, key=lambda path: Path(path).parent):
        yield _sorted(inner)


def _sorted(paths: Iterable[str]) -> list[str]:
    return sorted(paths, key=lambda path: natural(PurePosixPath(path)))
