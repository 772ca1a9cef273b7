"""Clips from folders of frames: which frames make a video, which windows there are, that all frames are cut alike."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unmask.core.errors import DataError
from unmask.core.types import Face, ViewConfig
from unmask.data.clips import ClipStream, cut_clip, group_videos, video_key
from unmask.data.degradations import PostConfig, post_process
from unmask.data.loader import make_loader
from unmask.data.manifest import Row

VIEW = ViewConfig(kind="face", size=32, frames=4)
FACE = [Face((20.0, 20.0, 50.0, 50.0))]


def frames_of(video: str, count: int, label: int = 0, manipulation: str = "") -> list[Row]:
    return [
        Row(f"/v/{manipulation or 'real'}/{video}/{i}.png", label, group=video, source="set", manipulation=manipulation)
        for i in range(count)
    ]


def test_a_video_is_named_by_source_manipulation_and_folder() -> None:
    rows = frames_of("000", 12)[::-1]
    for method in ("swap", "reenact"):
        rows += [Row(f"/v/f/000/{i}.png", 1, source="set", manipulation=method) for i in range(0, 20, 2)]
    rows = [row for i, row in enumerate(rows) if row not in rows[:i]]
    videos = group_videos(rows)
    assert [len(v) for v in videos] == [12, 10, 10]
    assert [Path(r.path).stem for r in videos[0]] == [str(i) for i in range(12)]  # 10 after 9
    assert len({video_key(r.source, r.manipulation, r.path) for r in rows}) == 3
    with pytest.raises(DataError, match="real and fake"):
        group_videos([Row("/v/a/0.png", 0), Row("/v/a/1.png", 1)])


def test_windows_are_consecutive_evenly_spaced_and_complete() -> None:
    rows = frames_of("a", 20) + frames_of("b", 5) + frames_of("c", 4, 1, "swap") + frames_of("d", 3)
    stream = ClipStream(rows, VIEW, {r.path: FACE for r in rows}, shuffle=False, clips=3)
    clips = [
        [(Path(r.path).parent.name, int(Path(r.path).stem)) for r in stream.clip(0, i)] for i in range(len(stream))
    ]
    assert [clip[0] for clip in clips] == [
        ("a", 0),
        ("a", 8),
        ("a", 16),
        ("b", 0),
        ("b", 1),
        ("c", 0),
    ]  # d is too short
    for clip in clips:
        assert [n for _, n in clip] == list(range(clip[0][1], clip[0][1] + 4)) and len({v for v, _ in clip}) == 1


def test_a_shuffled_stream_is_balanced_moves_its_windows_and_repeats_itself() -> None:
    rows = frames_of("a", 40) + frames_of("b", 40) + frames_of("c", 40, 1, "swap")
    faces = {r.path: FACE for r in rows}
    stream, again = (ClipStream(rows, VIEW, faces, seed=3, clips=2) for _ in range(2))
    clips = [stream.clip(1, i) for i in range(len(stream))]
    assert clips == [again.clip(1, i) for i in range(len(again))]
    assert [c[0].label for c in clips] == [0, 1] * (len(stream) // 2)
    starts = {int(Path(stream.clip(e, i)[0].path).stem) for e in range(20) for i in range(len(stream))}
    assert len(starts) > 20 and min(starts) >= 0 and max(starts) <= 36


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Two videos whose frames are one picture each, and one with a frame of another size."""
    folder, rows = tmp_path_factory.mktemp("videos"), []
    for name, label in (("still", 0), ("other", 1), ("odd", 0)):
        picture = np.random.default_rng(len(name)).integers(0, 255, (70, 80, 3), dtype=np.uint8)
        (folder / name).mkdir()
        for i in range(6):
            file = folder / name / f"{i}.png"
            Image.fromarray(picture[:60] if name == "odd" and i == 2 else picture).save(file)
            rows.append(Row(str(file), label, group=name, manipulation="swap" if label else ""))
    return rows


def test_all_frames_of_a_clip_are_cut_turned_mirrored_and_processed_alike(videos: list[Row]) -> None:
    rows = videos[:12]
    faces = {r.path: [Face((20 + i, 20, 50 + i, 50))] for i, r in enumerate(rows)}  # jitters from frame to frame
    post = partial(post_process, config=PostConfig(untouched=0.0, noise=1.0))
    stream = ClipStream(rows, VIEW, faces, seed=1, flip=True, rotate=20.0, post=post)
    seen = [stream.sample(epoch, position) for epoch in range(4) for position in range(len(stream))]
    for sample in seen:
        assert sample is not None and sample.image.shape == (4, 3, 32, 32) and sample.mask is None
        assert all(torch.equal(frame, sample.image[0]) for frame in sample.image)
    assert len({float(s.image.mean()) for s in seen if s is not None}) > 8


def test_batches_hold_clips_and_unusable_ones_are_left_out(videos: list[Row], caplog: pytest.LogCaptureFixture) -> None:
    faces = {r.path: FACE for r in videos}
    stream = ClipStream(videos, VIEW, faces, shuffle=False, clips=1)
    batches = list(make_loader(stream, 4, epoch=0))
    assert [b.image.shape for b in batches] == [(2, 4, 3, 32, 32)] and batches[0].is_clip
    assert batches[0].mask.shape == (2, 4, 1, 32, 32) and not batches[0].mask_valid.any()
    assert "one size" in caplog.text
    faces[str(videos[2].path)] = []  # the middle of the first clip
    assert ClipStream(videos, VIEW, faces, shuffle=False, clips=1).sample(0, 0) is None and "no face" in caplog.text


def test_what_holds_no_clip_is_refused(videos: list[Row]) -> None:
    with pytest.raises(DataError, match="the longest has 6") as caught:
        ClipStream(videos, ViewConfig(kind="frame", size=32, frames=7))
    assert caught.value.code == "too_short"
    with pytest.raises(DataError, match="frames >= 2"):
        ClipStream(videos, ViewConfig(kind="frame", size=32))
    with pytest.raises(DataError, match="one size"):
        cut_clip([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)], [], VIEW)
