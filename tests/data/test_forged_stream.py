from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from unmask.core.errors import ConfigError, DataError
from unmask.core.types import Face, Sample, ViewConfig
from unmask.data.degradations import NO_POST, PostConfig
from unmask.data.forged import ForgedStream, _mirrored, _moved, _touches, _turned
from unmask.data.forgeries import EDITS
from unmask.data.intake import decode
from unmask.data.loader import make_loader
from unmask.data.manifest import Row
from unmask.data.views import views

FACE = Face((181, 62, 268, 172), 1.0, ((205, 105), (247, 103), (228, 130), (210, 150), (245, 148)))
VIEW = ViewConfig(size=96)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for i in range(4):
        path = folder / f"{i}.png"
        Image.fromarray(np.roll(astronaut(), 7 * i, 1)).save(path)
        rows.append(Row(str(path), 0, group=f"person{i}", source="test"))
    return rows


def stream(photos: list[Row], **settings: object) -> ForgedStream:
    faces = {row.path: [FACE] for row in photos}
    return ForgedStream(photos, **({"view": VIEW, "faces": faces, "seed": 3} | settings))  # type: ignore[arg-type]


def both(s: ForgedStream, epoch: int, pair: int) -> tuple[Sample, Sample]:
    real, fake = s.sample(epoch, 2 * pair), s.sample(epoch, 2 * pair + 1)
    assert real is not None and fake is not None
    return real, fake


@pytest.mark.parametrize("kind", ["face", "frame", "native"])
def test_pairs_are_aligned(photos: list[Row], kind: str) -> None:
    s = stream(photos, view=ViewConfig(kind=kind, size=96), post=NO_POST, original=0.0)  # type: ignore[arg-type]
    assert len(s) == 8
    for epoch in range(8):
        for pair in range(4):
            real, fake = both(s, epoch, pair)
            assert (real.label, fake.label) == (0, 1)
            assert real.image.shape == (3, 96, 96) and real.image.min() >= 0 and real.image.max() <= 1
            assert real.pair is not None and fake.pair is not None and fake.mask is not None and real.mask is not None
            assert torch.equal(real.image, fake.pair) and torch.equal(real.image, real.pair)
            assert not real.mask.any() and fake.mask.any()
            same = (fake.image == real.image).all(0)
            assert same[fake.mask[0] == 0].all() and not same[fake.mask[0] > 0].all()
            assert real.group == fake.group != "" and real.path == fake.path
            assert real.manipulation == "" and fake.manipulation in EDITS


@pytest.mark.parametrize("size", [64, 96, 400])
def test_what_is_forged_at_the_photos_own_size_is_seen_as_a_detector_sees_it(photos: list[Row], size: int) -> None:
    view = ViewConfig(size=size, margin=2.0)
    s = stream(photos, view=view, post=NO_POST, original=1.0, matched=0.0, recompressed=0.0, jitter=0.0, flip=False)
    for pair in range(4):
        real, _ = both(s, 0, pair)
        seen = views(decode(Path(real.path)).pixels, s.faces[real.path], view)
        assert any(np.array_equal(real.image.permute(1, 2, 0).mul(255).round().numpy(), v.pixels) for v in seen)


@pytest.mark.parametrize("size", [64, 96, 400])
def test_forging_at_another_size_keeps_masks_exact(photos: list[Row], size: int) -> None:
    view = ViewConfig(size=size, margin=2.0)
    s = stream(photos, view=view, post=NO_POST, original=1.0, forgeries={"splice": 1, "warp": 1})
    for epoch in range(10):
        real, fake = both(s, epoch, 0)
        assert fake.mask is not None
        assert (fake.image == real.image).all(0)[fake.mask[0] == 0].all()
        assert fake.mask.min() >= 0 and fake.mask.max() <= 1


def test_turned_views_stay_aligned_and_the_face_turns_with_them(photos: list[Row]) -> None:
    plain = stream(photos, post=NO_POST, original=0.0, matched=0.0, recompressed=0.0, flip=False)
    s = stream(photos, post=NO_POST, original=0.0, matched=0.0, recompressed=0.0, flip=False, rotate=20.0)
    for pair in range(4):
        real, fake = both(s, 0, pair)
        assert fake.mask is not None
        assert (fake.image == real.image).all(0)[fake.mask[0] == 0].all() and fake.mask.any()
        assert not torch.equal(real.image, both(plain, 0, pair)[0].image)
    face = Face((20, 30, 40, 60), 1.0, ((25, 40), (35, 40), (30, 45), (26, 52), (34, 52)))
    quarter = _turned(face, 101, 90.0)  # counter-clockwise about (50, 50): (x, y) goes to (y, 100 - x)
    assert quarter.points is not None and face.points is not None
    np.testing.assert_allclose(quarter.points, [(y, 100 - x) for x, y in face.points], atol=1e-9)
    np.testing.assert_allclose(quarter.box, (35, 55, 55, 85), atol=1e-9)


def test_zoomed_views_show_the_forgery_at_several_scales(photos: list[Row]) -> None:
    s = stream(
        photos, post=NO_POST, zoom=3.0, jitter=0.0, view=ViewConfig(size=64, margin=2.0), forgeries={"splice": 1}
    )
    spread = []
    for epoch in range(12):
        for pair in range(4):
            real, fake = both(s, epoch, pair)
            assert real.image.shape == fake.image.shape == (3, 64, 64) and fake.mask is not None
            assert fake.mask.any(), "the square that is cut must show some of the forgery"
            assert (fake.image == real.image).all(0)[fake.mask[0] == 0].all()
            spread.append(float((real.image[:, :, 1:] - real.image[:, :, :-1]).abs().mean()))
    # the photo's 220-pixel square is seen at 64 to 192 pixels: magnified views are flatter from pixel to pixel
    assert max(spread) > 2 * min(spread)


def test_what_happens_afterwards_may_come_before_the_shrinking(photos: list[Row]) -> None:
    grain = PostConfig(0, resize=0, blur=0, sharpen=0, noise=1, noise_range=(9, 9), gamma=0, jpeg=0, webp=0)
    view = ViewConfig(size=72, margin=4.0)

    def roughness(early: float) -> float:
        s = stream(photos, early=early, post=grain, original=1.0, matched=0.0, recompressed=0.0, view=view)
        pairs = [both(s, epoch, pair)[0].image for epoch in range(3) for pair in range(4)]
        return float(torch.stack([image[:, :, 1:] - image[:, :, :-1] for image in pairs]).abs().median())

    assert roughness(0.0) > 1.1 * roughness(1.0), "shrinking averages grain that came before it"


def test_depends_on_seed_epoch_and_position_alone(photos: list[Row]) -> None:
    one, two = stream(photos), pickle.loads(pickle.dumps(stream(photos)))
    forward = [one.sample(2, p) for p in range(8)]
    backward = [two.sample(2, p) for p in reversed(range(8))][::-1]
    for a, b in zip(forward, backward, strict=True):
        assert a is not None and b is not None and torch.equal(a.image, b.image)
        assert a.mask is not None and b.mask is not None and torch.equal(a.mask, b.mask)
    other = stream(photos, seed=4).sample(2, 1)
    assert other is not None and forward[1] is not None and not torch.equal(other.image, forward[1].image)
    next_epoch = one.sample(3, 1)
    assert next_epoch is not None and not torch.equal(next_epoch.image, forward[1].image)


def test_caches_do_not_travel(photos: list[Row]) -> None:
    s = stream(photos)
    fresh = len(pickle.dumps(s))
    s.sample(0, 0)
    assert len(pickle.dumps(s)) == fresh


def test_a_small_cache_gives_the_same_samples(photos: list[Row]) -> None:
    a, b = stream(photos, cache_mb=0).sample(0, 3), stream(photos).sample(0, 3)
    assert a is not None and b is not None and torch.equal(a.image, b.image)


@pytest.mark.slow
def test_same_batches_with_two_workers(photos: list[Row]) -> None:
    s = stream(photos, repeat=3)
    for a, b in zip(make_loader(s, 4, epoch=0), make_loader(s, 4, epoch=0, workers=2), strict=True):
        assert torch.equal(a.image, b.image) and torch.equal(a.mask, b.mask) and a.manipulation == b.manipulation
        assert a.label.tolist() == [0, 1, 0, 1]


def test_every_photo_once_per_round(photos: list[Row]) -> None:
    s = stream(photos, repeat=3)
    assert len(s) == 24
    order = [s.row(1, 2 * pair).path for pair in range(12)]
    for i in range(3):
        assert sorted(order[4 * i : 4 * i + 4]) == sorted(r.path for r in photos)
    assert [s.row(1, p) for p in (0, 2, 4)] == [s.row(1, p) for p in (1, 3, 5)]


def test_weights_hold_kinds_out(photos: list[Row]) -> None:
    s = stream(photos, forgeries={"warp": 1.0, "inpaint": 3.0, "splice": 0.0}, repeat=8)
    seen = [both(s, 0, p)[1].manipulation for p in range(32)]
    assert set(seen) == {"warp", "inpaint"}
    assert seen.count("inpaint") > seen.count("warp")


def test_what_cannot_be_used_is_none_at_both_positions(photos: list[Row], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 no")
    rows = [Row(str(broken), 0)]
    s = ForgedStream(rows, VIEW, {str(broken): [FACE]})
    assert s.sample(0, 0) is None and s.sample(0, 1) is None
    no_face = ForgedStream(photos[:1], VIEW, {photos[0].path: []})
    assert no_face.sample(0, 0) is None
    frame = ForgedStream(photos[:1], ViewConfig(kind="frame", size=96), {photos[0].path: []})
    assert frame.sample(0, 1) is not None
    blank = tmp_path / "blank.png"
    Image.new("RGB", (200, 200), (90, 90, 90)).save(blank)
    flat = ForgedStream([Row(str(blank), 0)], ViewConfig(kind="frame", size=96), forgeries={"copy_move": 1}, matched=0)
    assert flat.sample(0, 0) is None
    mixed = ForgedStream([Row(str(blank), 0)], ViewConfig(kind="frame", size=96), matched=0)
    sample = mixed.sample(0, 1)
    assert sample is not None and sample.manipulation in EDITS and sample.manipulation != "copy_move"


def test_bad_settings_are_refused(photos: list[Row]) -> None:
    with pytest.raises(DataError, match="at least one photo"):
        ForgedStream([], VIEW)
    with pytest.raises(DataError, match="real photos"):
        ForgedStream([Row("a.png", 1)], VIEW, {"a.png": []})
    with pytest.raises(DataError, match="no face boxes"):
        ForgedStream(photos, VIEW)
    with pytest.raises(ConfigError, match="did you mean 'inpaint'"):
        stream(photos, forgeries={"inpant": 1})
    with pytest.raises(DataError, match="one above"):
        stream(photos, forgeries={"warp": 0.0})


def test_landmarks_follow_crop_and_mirror() -> None:
    face = _moved(FACE, (100, 50, 300, 250), 100)
    assert face.box == (40.5, 6.0, 84.0, 61.0)
    assert face.points is not None and face.points[0] == (52.5, 27.5)
    mirrored = _mirrored(face, 100)
    assert mirrored.points is not None
    assert mirrored.points[0][0] < mirrored.points[1][0] and mirrored.points[3][0] < mirrored.points[4][0]
    assert mirrored.points[1] == (47.5, 27.5) and mirrored.box == (16.0, 6.0, 59.5, 61.0)
    assert _mirrored(mirrored, 100) == face


def test_donors_keep_away_from_faces() -> None:
    assert _touches(FACE, 200, 100, 10) and _touches(FACE, 140, 20, 20)
    assert not _touches(FACE, 0, 0, 100) and not _touches(FACE, 320, 0, 60)
    assert _touches(FACE, 0, 0, 500)
