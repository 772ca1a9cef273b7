from __future__ import annotations

import inspect

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.data import astronaut

from unmask.core.errors import ConfigError, DataError
from unmask.core.seeds import rng
from unmask.core.types import Face
from unmask.data.forged_files import _forgeries, write_forgeries
from unmask.data.forgeries import EDITS, FORGERIES, forge
from unmask.data.forgeries.base import Draft, Region, blend, change_map, compose
from unmask.data.forgeries.changes import draw_colour
from unmask.data.forgeries.cloning import cloned, membrane
from unmask.data.forgeries.colouring import statistics, to_lab
from unmask.data.forgeries.copy_moving import mirrored_patch
from unmask.data.forgeries.face_warping import warped_back
from unmask.data.forgeries.inpainting import pyramid_fill
from unmask.data.forgeries.regions import FIVE, PARTS, face_frame, hull, outline_near, rasterize
from unmask.data.forgeries.splicing import find_centre
from unmask.data.forgeries.upsampling import KINDS, resample_up

PHOTO = np.ascontiguousarray(astronaut()[20:220, 130:310])
FACE = Face((51, 42, 137, 152), 1.0, ((75, 85), (117, 83), (98, 110), (80, 130), (115, 128)))
FAST = sorted(set(FORGERIES) - {"resynthesis"})


def shifted(face: Face, dx: float, dy: float, scale: float, points: bool) -> Face:
    x1, y1, x2, y2 = (v * scale + s for v, s in zip(face.box, (dx, dy, dx, dy), strict=True))
    assert face.points is not None
    moved = tuple((x * scale + dx, y * scale + dy) for x, y in face.points)
    return Face((x1, y1, x2, y2), 1.0, moved if points else None)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(FAST),
    height=st.integers(64, 200),
    width=st.integers(64, 180),
    face=st.none()
    | st.builds(
        shifted,
        st.just(FACE),
        st.floats(-80, 120),
        st.floats(-80, 120),
        st.floats(0.3, 1.5),
        st.booleans(),
    ),
    seed=st.integers(0, 2**31),
)
def test_promises_of_every_forgery(name: str, height: int, width: int, face: Face | None, seed: int) -> None:
    image = np.ascontiguousarray(PHOTO[:height, :width])
    before = image.copy()
    try:
        forged = forge(name, image, face, np.random.default_rng(seed))
    except DataError as error:
        assert error.code == "cannot_forge"  # rare; the next test counts
        return
    assert (image == before).all(), "the photo that was given is not written to"
    assert forged.image.shape == forged.real.shape == image.shape and forged.image.dtype == np.uint8
    assert forged.mask.shape == image.shape[:2] and forged.mask.dtype == np.float32
    assert forged.mask.min() >= 0 and forged.mask.max() <= 1
    assert (forged.image == forged.real)[forged.mask == 0].all()
    assert (forged.image != forged.real)[forged.mask > 0].any()
    assert forged.label == 1 and forged.manipulation == name
    again = forge(name, image, face, np.random.default_rng(seed))
    assert (again.image == forged.image).all() and (again.mask == forged.mask).all()


@pytest.mark.parametrize("name", FORGERIES)
def test_visible_differs_by_seed_and_rarely_fails(name: str) -> None:
    count = 4 if name == "resynthesis" else 25
    results = [forge(name, PHOTO, FACE, np.random.default_rng(s)) for s in range(count)]
    for forged in results:
        change = change_map(forged.image, forged.real)[forged.mask > 0]
        assert change.mean() >= FORGERIES[name].least
    assert len({r.image.tobytes() for r in results}) == count
    areas = np.array([(r.mask > 0).mean() for r in results])
    if FORGERIES[name].answers == "edited":
        assert areas.max() < 0.95, "an edit leaves something of the photo"
        hits = [r.mask[42:152, 51:137].sum() > 0 for r in results]
        assert np.mean(hits) > 0.6, "most edits touch the face"
    else:
        assert (areas == 1).all()


@pytest.mark.parametrize("name", FAST)
def test_donors_are_only_read(name: str) -> None:
    donor = np.random.default_rng(0).integers(0, 255, (90, 70, 3), dtype=np.uint8)
    kept = donor.copy()
    for seed in range(5):
        forge(name, PHOTO, FACE, np.random.default_rng(seed), [donor])
    assert (donor == kept).all()


def test_splices_take_content_from_the_donor() -> None:
    donor = np.zeros((120, 120, 3), np.uint8)
    donor[..., 1] = 255
    greener = 0
    for seed in range(30):
        forged = forge("splice", PHOTO, FACE, np.random.default_rng(seed), [donor])
        inside = forged.mask > 0.9
        greener += bool(inside.any() and forged.image[inside].mean(0)[1] - forged.real[inside].mean(0)[1] > 30)
    assert greener >= 5


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match="did you mean 'splice'"):
        forge("splise", PHOTO, FACE, np.random.default_rng(0))
    with pytest.raises(DataError, match="at least 64"):
        forge("warp", PHOTO[:60], FACE, np.random.default_rng(0))
    with pytest.raises(DataError, match="uint8 RGB"):
        forge("warp", PHOTO[..., 0], FACE, np.random.default_rng(0))
    for name in ("copy_move", "warp", "inpaint"):
        with pytest.raises(DataError) as caught:
            forge(name, np.full((90, 90, 3), 127, np.uint8), None, np.random.default_rng(0))
        assert caught.value.code == "cannot_forge"


def test_compose_is_the_blending_formula() -> None:
    random = np.random.default_rng(0)
    real = random.integers(0, 256, (70, 80, 3), dtype=np.uint8)
    foreign = random.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    weight = random.random((20, 30), np.float32)
    weight[:3], weight[3:6], weight[6:9] = 0, 1, 0.01
    forged = compose(Draft(real, foreign, Region(11, 13, weight)), "x")
    kept = np.where(weight < 0.02, 0, weight)
    expected = real.astype(float)
    expected[11:31, 13:43] += kept[..., None] * (foreign.astype(float) - real[11:31, 13:43])
    assert np.abs(forged.image - expected).max() <= 0.51
    assert (forged.mask[11:31, 13:43] == kept).all() and forged.mask.sum() == pytest.approx(kept.sum(), rel=1e-5)
    ones = np.ones((20, 30), np.float32)
    assert (blend(real[:20, :30], foreign, ones) == foreign).all()
    assert (blend(real[:20, :30], foreign, 0 * ones) == real[:20, :30]).all()


def test_face_frame_recovers_an_affine_map_and_falls_back_to_the_box() -> None:
    frame = np.array([[40.0, -6.0, 100.0], [8.0, 44.0, 90.0]])
    points = FIVE @ frame[:, :2].T + frame[:, 2]
    face = Face((50, 40, 150, 190), 1.0, tuple(map(tuple, points)))
    assert np.allclose(face_frame(face), frame)
    collapsed = tuple((70 + 0.1 * i, 60.0 + 10 * i) for i in range(5))
    from_box = face_frame(Face((50, 40, 150, 190)))
    assert np.allclose(face_frame(Face((50, 40, 150, 190), 1.0, collapsed)), from_box)
    outline = PARTS["face"] @ from_box[:, :2].T + from_box[:, 2]
    assert outline[:, 0].min() == pytest.approx(50, abs=6) and outline[:, 1].max() == pytest.approx(190, abs=10)


def test_hulls_are_convex_and_lie_on_their_part() -> None:
    for name in PARTS:
        outline = hull(FACE, name, np.random.default_rng(3))
        edges = np.roll(outline, -1, 0) - outline
        turns = edges[:, 0] * np.roll(edges, -1, 0)[:, 1] - edges[:, 1] * np.roll(edges, -1, 0)[:, 0]
        assert (turns >= -1e-3).all() or (turns <= 1e-3).all()
        frame = face_frame(FACE)
        centre = frame[:, :2] @ PARTS[name].mean(0) + frame[:, 2]
        assert np.hypot(*(outline.mean(0) - centre)) < 30


def test_rasterize_fills_the_outline() -> None:
    square = np.array([(20.0, 30.0), (60.0, 30.0), (60.0, 80.0), (20.0, 80.0)])
    region = rasterize(square, (100, 100), np.random.default_rng(0))
    assert region is not None
    full = np.zeros((100, 100), np.float32)
    full[region.box] = region.weight
    assert set(np.unique(full)) == {0.0, 1.0}
    assert full.sum() == pytest.approx(40 * 50, rel=0.06)
    ys, xs = np.nonzero(full)
    assert (xs.mean(), ys.mean()) == pytest.approx((39.5, 54.5), abs=1)
    soft = rasterize(square, (100, 100), np.random.default_rng(0), feather=0.08)
    assert soft is not None and 0.05 < ((soft.weight > 0.1) & (soft.weight < 0.9)).mean() < 0.7


@pytest.mark.parametrize("where", [(-200, 0), (0, -200), (400, 0), (0, 400), (95, 95)])
def test_regions_outside_the_frame_are_refused(where: tuple[int, int]) -> None:
    square = np.array([(0.0, 0.0), (40.0, 0.0), (40.0, 40.0), (0.0, 40.0)]) + where
    assert rasterize(square, (100, 100), np.random.default_rng(0), feather=0.05) is None


def test_pyramid_fill_keeps_what_is_known_and_continues_it() -> None:
    ys, xs = np.mgrid[0:60, 0:70]
    ramp = np.stack([xs * 2, ys * 3, xs + ys], 2).astype(np.uint8)
    hole = np.zeros((60, 70), np.float32)
    hole[20:40, 25:50] = 1
    broken = ramp.copy()
    broken[hole > 0] = 0
    filled = pyramid_fill(broken, hole)
    assert (filled == ramp)[hole == 0].all()
    assert np.abs(filled.astype(float) - ramp)[hole > 0].mean() < 10
    flat = pyramid_fill(np.full((40, 40, 3), 90, np.uint8), hole[10:50, 10:50])
    assert np.abs(flat.astype(int) - 90).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_upsampling_keeps_shape_and_place(kind: str, factor: int) -> None:
    smooth = ndimage.gaussian_filter(PHOTO.astype(float), (4, 4, 0)).astype(np.uint8)
    result = resample_up(smooth, factor, kind, np.random.default_rng(0))
    assert result.shape == smooth.shape
    inner = (slice(12, -12), slice(12, -12))
    assert np.abs(result.astype(float) - smooth)[inner].mean() < 6, "no shift, no change of brightness"


def test_nearest_leaves_blocks() -> None:
    result = resample_up(PHOTO, 4, "nearest", np.random.default_rng(0))
    blocks = result[:200, :180].reshape(50, 4, 45, 4, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()


def test_lab_agrees_with_skimage() -> None:
    ours, theirs = to_lab(PHOTO), rgb2lab(PHOTO)
    assert np.abs(ours - theirs).max() < 0.5
    mean, spread = statistics(ours)
    assert np.allclose(mean, theirs.reshape(-1, 3).mean(0), atol=0.1)
    assert np.allclose(spread, theirs.reshape(-1, 3).std(0), atol=0.1)


def test_colour_change_keeps_grey_near_grey_only_without_shift() -> None:
    changed = draw_colour(np.random.default_rng(0), strength=0.0)(PHOTO)
    assert (changed == PHOTO).all()
    assert np.abs(draw_colour(np.random.default_rng(0))(PHOTO).astype(int) - PHOTO).mean() > 2


def test_a_copy_comes_from_elsewhere_in_the_photo() -> None:
    region = Region(40, 60, np.ones((30, 40), np.float32))
    for seed in range(20):
        centre = find_centre(PHOTO, PHOTO, region, np.random.default_rng(seed))
        assert centre is not None
        x, y = centre
        assert np.hypot(x - 80, y - 55) >= 0.5 * np.sqrt(30 * 40) - 1e-6
        assert 20 <= x <= PHOTO.shape[1] - 20 and 15 <= y <= PHOTO.shape[0] - 15
    assert find_centre(PHOTO[:20], PHOTO, region, np.random.default_rng(0)) is None


def test_the_mirrored_part_is_the_other_eye() -> None:
    face = Face((50, 50, 150, 170), 1.0, tuple((100 + 40 * x, 80 + 40 * y) for x, y in FIVE))
    image = np.zeros((200, 200, 3), np.uint8)
    image[70:90, 110:130] = 255  # the right eye
    patch = mirrored_patch(image, Region(70, 70, np.ones((20, 21), np.float32)), face)  # where the left eye is
    assert (patch[1:-1, 2:-2] == 255).all()


def test_a_kind_that_came_later_changes_no_draw_of_the_older_ones() -> None:
    """Data sets on disk, recipes and seeds rest on these names in this order."""
    old = ("self_blend", "splice", "copy_move", "inpaint", "warp", "upsample", "colour", "resynthesis_part", "retouch")
    assert tuple(EDITS) == old and set(EDITS.values()) == {1.0}
    assert inspect.signature(write_forgeries).parameters["kinds"].default == old
    with_new = [name for name, forgery in FORGERIES.items() if forgery.answers == "edited"]
    assert with_new == [*old, "face_warp", "seamless"]
    assert not FORGERIES["face_warp"].by_default and not FORGERIES["seamless"].by_default
    # what `data forge` draws of a photo for a seed: its kinds in order, as written down before there was a tenth
    order = [old[i] for i in rng(0, "a.jpg", "kinds").permutation(len(EDITS))]
    made = [f.manipulation for f in _forgeries("a.jpg", PHOTO, [FACE], tuple(EDITS), 3, 0)]
    assert made == order[:3] == ["splice", "copy_move", "self_blend"]


def test_a_warped_face_has_lost_fine_detail_inside_the_mask_and_nowhere_else() -> None:
    def detail(image: np.ndarray, where: np.ndarray) -> float:
        return float(np.abs(ndimage.laplace(image[..., 1].astype(float)))[where].mean())

    lower = 0
    for seed in range(20):
        forged = forge("face_warp", PHOTO, FACE, np.random.default_rng(seed))
        assert (forged.real == PHOTO).all(), "the photo itself is the counterpart"
        inside = forged.mask > 0.9
        lower += bool(not inside.any() or detail(forged.image, inside) < 0.9 * detail(PHOTO, inside))
        # the face stays where it was: no large shift of content
        if inside.sum() > 400:
            mean = [cv2.blur(i[..., 1].astype(np.float32), (9, 9))[inside] for i in (forged.image, PHOTO)]
            assert np.corrcoef(*mean)[0, 1] > 0.97
    assert lower == 20


def test_warping_back_is_the_inverse_of_the_way_there() -> None:
    ys, xs = np.indices((120, 140)).astype(np.float32)
    smooth = np.stack([60 + ys, 40 + xs, 50 + (xs + ys) / 2], -1).astype(np.uint8)
    region = Region(30, 50, np.ones((41, 52), np.float32))
    for factor, degrees in ((1.0, 0.0), (0.5, 0.0), (0.37, 21.0), (0.8, -40.0)):
        back = warped_back(smooth, region, factor, degrees, 0.5)
        assert np.abs(back.astype(int) - smooth[region.box]).max() <= 2, (factor, degrees)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), near=st.booleans())
def test_cloning_keeps_what_is_there_and_takes_gradients_only(seed: int, near: bool) -> None:
    generator = np.random.default_rng(seed)
    outline = outline_near(PHOTO.shape[:2], FACE if near else None, generator, radius=(0.1, 0.5))
    region = rasterize(outline, PHOTO.shape[:2], generator, elastic=0.03)
    if region is None:
        return
    under, outside = PHOTO[region.box], region.weight <= 0.5
    assert (cloned(PHOTO, np.ascontiguousarray(under), region) == under).all(), "onto itself"
    brighter = np.ascontiguousarray(np.clip(under, 0, 200) + 55).astype(np.uint8)
    lifted = cloned(np.clip(PHOTO, 0, 200).astype(np.uint8), brighter, region)
    assert (lifted == np.clip(under, 0, 200)).all(), "a constant has no gradient"
    other = np.random.default_rng(seed).integers(0, 255, under.shape, dtype=np.uint8)
    assert (cloned(PHOTO, other, region) == under)[outside].all()


def test_the_membrane_is_harmonic() -> None:
    """Perez et al. 2003, equations 2 and 10, held against scipy's Laplacian and against functions that are harmonic."""
    ys, xs = np.indices((50, 61)).astype(np.float64)
    inside = np.hypot(ys - 25, xs - 28) + 4 * np.sin(np.arctan2(ys - 25, xs - 28) * 5) < 19
    known = np.stack([3 * xs - ys, xs * ys / 9, (xs**2 - ys**2) / 20], -1)
    found = membrane(np.where(inside[..., None], 1e6, known).astype(np.float32), inside)
    assert np.abs(found - known).max() < 1e-2
    noise = np.random.default_rng(0).normal(0, 50, (50, 61, 3)).astype(np.float32)
    found = membrane(noise, inside)
    assert (found == noise)[~inside].all()
    assert np.abs(ndimage.laplace(found.astype(np.float64), axes=(0, 1)))[inside].max() < 1e-3
    assert found[inside].min() >= noise[~inside].min() and found[inside].max() <= noise[~inside].max()
