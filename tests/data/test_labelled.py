"""Labelled images as samples: geometry shared by image, mask and counterpart; orders; what is left out."""

from __future__ import annotations

import functools
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unmask.core.errors import DataError
from unmask.core.types import Face, Sample, UInt8Image, ViewConfig
from unmask.data.intake import decode
from unmask.data.labelled import ManifestStream
from unmask.data.loader import SampleStream, make_loader
from unmask.data.manifest import Row
from unmask.data.masks import read_mask

NATIVE = ViewConfig(kind="native", size=16, crops=4)
FACE = ViewConfig(kind="face", size=16, margin=1.0)


def save(path: Path, pixels: np.ndarray) -> str:
    Image.fromarray(pixels).save(path)
    return str(path)


def make_rows(folder: Path, count: int = 6, size: tuple[int, int] = (40, 40)) -> list[Row]:
    """Real noise photos, and fakes that differ from them by +80 where the mask is."""
    rows = []
    for i in range(count):
        real = np.random.default_rng(i).integers(0, 160, (*size, 3), np.uint8)
        edit = np.zeros(size, np.uint8)
        edit[10:20, 5 + i : 15 + i] = 255
        fake = real + (edit[..., None] // 255 * 80).astype(np.uint8)
        photo = save(folder / f"r{i}.png", real)
        rows.append(Row(photo, 0, group=f"p{i}"))
        files = {"mask": save(folder / f"m{i}.png", edit), "pair": photo}
        rows.append(Row(save(folder / f"f{i}.png", fake), 1, group=f"p{i}", manipulation=f"k{i % 2}", **files))
    return rows


def faces(rows: list[Row]) -> dict[str, list[Face]]:
    return {r.path: [Face((4, 6, 28, 30))] for r in rows}


def darken(images: list[UInt8Image], generator: np.random.Generator, by: int) -> list[UInt8Image]:
    shift = int(generator.integers(1, by))
    return [np.clip(i.astype(int) - shift, 0, 255).astype(np.uint8) for i in images]


@pytest.mark.parametrize("view", [NATIVE, replace(NATIVE, size=64), FACE, replace(FACE, size=24)])
@pytest.mark.parametrize("flip", [False, True])
def test_image_mask_and_pair_keep_one_geometry(tmp_path: Path, view: ViewConfig, flip: bool) -> None:
    rows = make_rows(tmp_path)
    stream = ManifestStream(rows, view, faces(rows), flip=flip)
    for position in range(len(stream)):
        sample = stream.sample(0, position)
        assert sample is not None
        assert sample.mask is not None
        assert sample.pair is not None
        changed = (sample.image - sample.pair).mean(0, keepdim=True) * 255 / 80
        if view.kind == "native" or view.size == 24:  # no resampling: exact
            assert torch.allclose(changed, sample.mask, atol=1e-5)
        else:
            assert torch.allclose(changed, sample.mask, atol=0.02)  # rounding of resized pixels
        assert bool(sample.mask.any()) == bool(sample.label)


def test_rotation_turns_image_mask_and_pair_alike(tmp_path: Path) -> None:
    from scipy.ndimage import rotate

    side = 41
    real = np.full((side, side, 3), 60, np.uint8)
    fake, edit = real.copy(), np.zeros((side, side), np.uint8)
    fake[12:22, 6:16], edit[12:22, 6:16] = 160, 255
    photo = save(tmp_path / "r.png", real)
    files = {"mask": save(tmp_path / "m.png", edit), "pair": photo}
    rows = [Row(photo, 0), Row(save(tmp_path / "f.png", fake), 1, **files)]
    view = ViewConfig(kind="frame", size=side)
    turned = ManifestStream(rows, view, rotate=30.0)
    angles = set()
    for epoch in range(4):
        for position in range(2):
            sample = turned.sample(epoch, position)
            assert sample is not None and sample.mask is not None and sample.pair is not None
            change = (sample.image - sample.pair).mean(0, keepdim=True) * 255 / 100
            assert torch.allclose(change, sample.mask, atol=0.02), "the mask must follow the image"
            if sample.label:
                degrees = range(-30, 31)
                tries = [rotate(edit / 255.0, a, reshape=False, order=1) for a in degrees]
                errors = [float(np.abs(t - sample.mask[0].numpy()).mean()) for t in tries]
                assert min(errors) < 0.004, "SciPy turns it to the same place for some angle of the range"
                angles.add(degrees[int(np.argmin(errors))])
    assert len(angles) > 2
    still = ManifestStream(rows, view, rotate=30.0, shuffle=False).sample(0, 1)
    assert still is not None and still.mask is not None
    assert np.array_equal(still.mask[0].numpy(), edit / 255), "validation is never turned"


def test_flip_mirrors_about_half_and_only_when_shuffled(tmp_path: Path) -> None:
    rows = make_rows(tmp_path, 1)
    plain = [ManifestStream(rows, FACE, faces(rows), shuffle=False, flip=f).sample(0, 1) for f in (False, True)]
    assert plain[0] is not None
    assert plain[1] is not None
    assert torch.equal(plain[0].image, plain[1].image)
    straight = {r.path: ManifestStream([r], FACE, faces(rows)).sample(0, 0) for r in rows}
    mirrored = 0
    stream = ManifestStream(rows, FACE, faces(rows), flip=True)
    for epoch in range(100):
        for position in range(2):
            sample = stream.sample(epoch, position)
            assert sample is not None
            known = straight[sample.path]
            assert known is not None
            assert torch.equal(sample.image, known.image) or torch.equal(sample.image, known.image.flip(-1))
            mirrored += not torch.equal(sample.image, known.image)
    assert 70 < mirrored < 130


def test_post_processing_hits_image_and_pair_alike(tmp_path: Path) -> None:
    rows = make_rows(tmp_path)
    stream = ManifestStream(rows, NATIVE, post=functools.partial(darken, by=40))
    shifts = set()
    for position in range(len(rows)):
        sample = stream.sample(0, position)
        assert sample is not None
        assert sample.pair is not None
        again = stream.sample(0, position)
        assert again is not None
        assert torch.equal(sample.image, again.image)
        outside = sample.image[:, ~(sample.mask[0] > 0)], sample.pair[:, ~(sample.mask[0] > 0)]  # type: ignore[index]
        assert torch.equal(*outside)
        shifts.add(float(sample.pair.mean()))
    assert len(shifts) > 3


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 3), st.integers(0, 3))
def test_orders(reals: int, fakes: int, seed: int, epoch: int) -> None:
    rows = [Row(f"/r{i}", 0) for i in range(reals)]
    rows += [Row(f"/f{i}", 1, manipulation=f"k{i % 3}") for i in range(fakes)]
    plain = ManifestStream(rows, NATIVE, seed=seed)
    assert sorted(plain.order(epoch)) == list(range(len(rows))) and len(plain) == len(rows)
    assert list(ManifestStream(rows, NATIVE, shuffle=False).order(epoch)) == list(range(len(rows)))

    even = ManifestStream(rows, NATIVE, seed=seed, balance="class")
    labels = [even.row(epoch, i).label for i in range(len(even))]
    assert labels == [0, 1] * max(reals, fakes)
    for label, count in ((0, reals), (1, fakes)):
        seen = [i for i in even.order(epoch) if rows[i].label == label]
        assert all(len(set(seen[k : k + count])) == len(seen[k : k + count]) for k in range(0, len(seen), count))

    runs = ManifestStream(rows, NATIVE, seed=seed, balance="m_per_class", per_class=3)
    kinds = [(runs.row(epoch, i).label, runs.row(epoch, i).manipulation) for i in range(len(runs))]
    count = len(set(kinds))
    assert count == 1 + min(fakes, 3)
    assert all(len(set(kinds[k : k + 3])) == 1 for k in range(0, len(kinds), 3))
    assert all(len(set(kinds[k : k + 3 * count])) == count for k in range(0, len(kinds), 3 * count))
    assert {int(i) for i in runs.order(epoch)} == set(range(len(rows)))


def test_order_changes_with_seed_and_epoch_and_not_with_history() -> None:
    rows = [Row(f"/r{i}", 0) for i in range(50)]
    stream = ManifestStream(rows, NATIVE)
    first = stream.order(0).tolist()
    assert stream.order(1).tolist() != first
    assert stream.order(0).tolist() == first
    assert ManifestStream(rows, NATIVE, seed=1).order(0).tolist() != first


def broken(folder: Path, what: str) -> Row:
    good = make_rows(folder, 1)[1]
    if what == "image":
        Path(good.path).write_bytes(b"\xff\xd8\xff broken")
    if what == "mask":
        save(Path(good.mask), np.zeros((5, 5), np.uint8))
    if what == "pair":
        return replace(good, pair=save(folder / "p.png", np.zeros((9, 9, 3), np.uint8)))
    if what == "edit":
        save(Path(good.mask), np.zeros((40, 40), np.uint8))
    return good


@pytest.mark.parametrize("what", ["image", "mask", "pair", "edit"])
def test_an_unusable_row_gives_none_and_a_warning_that_names_it(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    row = broken(tmp_path, what)
    with caplog.at_level(logging.WARNING):
        assert ManifestStream([row], NATIVE).sample(0, 0) is None
    assert row.path in caplog.text


def test_face_views_need_boxes_and_a_face(tmp_path: Path) -> None:
    rows = make_rows(tmp_path, 1)
    with pytest.raises(DataError, match="no face boxes were given for 2 images"):
        ManifestStream(rows, FACE)
    assert ManifestStream(rows, FACE, {r.path: [] for r in rows}).sample(0, 0) is None


def test_a_fake_is_shown_where_its_edit_is(tmp_path: Path) -> None:
    rows = make_rows(tmp_path, 4, size=(64, 64))
    stream: SampleStream = ManifestStream(rows, NATIVE)
    shown: list[Sample | None] = [stream.sample(epoch, p) for epoch in range(5) for p in range(len(stream))]
    assert all(s is not None and s.mask is not None and bool(s.mask.any()) == bool(s.label) for s in shown)


def test_nonsense_is_refused() -> None:
    rows = [Row("/a", 0)]
    with pytest.raises(DataError, match="both classes"):
        ManifestStream(rows, NATIVE, balance="class")
    with pytest.raises(DataError, match="shuffle"):
        ManifestStream(rows, NATIVE, balance="m_per_class", shuffle=False)
    with pytest.raises(DataError, match="at least one row"):
        ManifestStream([], NATIVE)


def test_batches_from_disk_are_the_same_with_workers(tmp_path: Path) -> None:
    rows = make_rows(tmp_path)
    Path(rows[3].path).write_bytes(b"broken")
    stream = ManifestStream(rows, FACE, faces(rows), flip=True, balance="class", post=functools.partial(darken, by=9))
    alone = list(make_loader(stream, 4, epoch=1))
    helped = list(make_loader(stream, 4, epoch=1, workers=2))
    assert len(alone) == len(helped) == 3
    for a, b in zip(alone, helped, strict=True):
        assert all(torch.equal(getattr(a, n), getattr(b, n)) for n in ("image", "label", "mask", "pair", "mask_valid"))
        assert a.path == b.path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_are_stored_like_their_images(tmp_path: Path, orientation: int) -> None:
    stored = np.zeros((20, 30, 3), np.uint8)
    stored[3:9, 4:7] = 255
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(stored).save(tmp_path / "i.png", exif=exif)
    save(tmp_path / "m.png", stored[..., 0])
    decoded = decode(tmp_path / "i.png")
    assert np.array_equal(read_mask(tmp_path / "m.png", decoded), decoded.pixels[..., 0] / np.float32(255))


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (np.eye(8, dtype=np.uint8), "only 0 and 1"),
        (np.arange(192, dtype=np.uint8).reshape(8, 8, 3), "colours"),
        (np.zeros((8, 9), np.uint8), "9x8 pixels, its image 8x8"),
    ],
)
def test_masks_that_mean_something_else_are_refused(tmp_path: Path, pixels: np.ndarray, says: str) -> None:
    image = decode(Path(save(tmp_path / "i.png", np.zeros((8, 8, 3), np.uint8))))
    with pytest.raises(DataError, match=says):
        read_mask(save(tmp_path / "m.png", pixels), image)


def test_pairs_come_side_by_side_with_one_geometry(tmp_path: Path) -> None:
    rows = [*make_rows(tmp_path), Row(save(tmp_path / "alone.png", np.zeros((40, 40, 3), np.uint8)), 1)]
    post = functools.partial(darken, by=9)
    stream = ManifestStream(rows, NATIVE, seed=3, balance="pair", flip=True, post=post)
    assert len(stream) == 2 * 6
    for epoch in (0, 1):
        samples = [stream.sample(epoch, p) for p in range(len(stream))]
        seen = []
        for real, fake in zip(samples[::2], samples[1::2], strict=True):
            assert real is not None and fake is not None and fake.mask is not None and fake.pair is not None
            assert (real.label, fake.label, real.manipulation) == (0, 1, "")
            assert real.group == fake.group and real.path == str(tmp_path / Path(fake.path).name.replace("f", "r"))
            assert torch.equal(real.image, fake.pair) and real.mask is not None and not real.mask.any()
            different = (real.image - fake.image).abs().amax(0, keepdim=True) > 0.1
            assert torch.equal(different, fake.mask > 0.5)  # they differ where the mask is and nowhere else
            seen.append(fake.path)
        assert sorted(seen) == sorted(r.path for r in rows if r.pair)
    backwards = [stream.sample(0, p) for p in (5, 4)]  # whatever was asked before
    forwards = [ManifestStream(rows, NATIVE, seed=3, balance="pair", flip=True, post=post).sample(0, p) for p in (4, 5)]
    for one, other in zip(backwards[::-1], forwards, strict=True):
        assert one is not None and other is not None and torch.equal(one.image, other.image)
    with pytest.raises(DataError, match="needs rows with a counterpart"):
        ManifestStream([replace(r, pair="") for r in rows], NATIVE, balance="pair")
    batches = [list(make_loader(stream, 4, epoch=0, workers=w)) for w in (0, 1)]
    assert all(torch.equal(a.image, b.image) for a, b in zip(*batches, strict=True))
    assert all(b.label.tolist() == [0, 1, 0, 1] for b in batches[0])
