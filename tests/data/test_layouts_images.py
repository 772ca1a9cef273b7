"""Data sets of images: labels from folders, masks of forgeries, their relatives; masks of other forms converted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import image, mask, problems, rows, write

from unmask.data.benchmarks import index_layout
from unmask.data.intake import decode
from unmask.data.masks import read_mask


@pytest.mark.parametrize(
    ("layout", "where", "label", "split", "source", "manipulation"),
    [
        ("fmca", "train/real/000_003.png", 0, "train", "ROOT", ""),
        ("fmca", "valid/fake/Deepfakes_000_003_12.png", 1, "val", "ROOT", "Deepfakes"),
        ("fmca", "valid/fake/000_faceswap-1.png", 1, "val", "ROOT", "FaceSwap"),
        ("fmca", "valid/fake/FaceSwapped.png", 1, "val", "ROOT", ""),
        ("fmca", "train/fake/Deepfakes_Face2Face.png", 1, "train", "ROOT", ""),
        ("forensynths", "train/airplane/0_real/x.png", 0, "train", "progan/airplane", ""),
        ("forensynths", "train/airplane/1_fake/x.png", 1, "train", "progan/airplane", "progan"),
        ("forensynths", "val/horse/1_fake/x.png", 1, "val", "progan/horse", "progan"),
        ("forensynths", "progan_train/horse/1_fake/x.png", 1, "train", "progan/horse", "progan"),
        ("forensynths", "test/progan/horse/1_fake/x.png", 1, "test", "progan/horse", "progan"),
        ("forensynths", "test/biggan/1_fake/x.png", 1, "test", "biggan", "biggan"),
        ("forensynths", "cnn_synth_test/stylegan/car/0_real/x.png", 0, "test", "stylegan/car", ""),
        ("gangen", "AttGAN/0_real/x.png", 0, "", "AttGAN", ""),
        ("gangen", "AttGAN/1_fake/x.png", 1, "", "AttGAN", "AttGAN"),
        ("universalfakedetect", "laion/0_real/x.png", 0, "", "laion", ""),
        ("universalfakedetect", "glide_100_27/1_fake/x.png", 1, "", "laion", "glide_100_27"),
        ("universalfakedetect", "diffusion_datasets/guided/1_fake/x.png", 1, "test", "imagenet", "guided"),
        ("diffusionforensics", "images/test/lsun_bedroom/real/x.png", 0, "test", "lsun_bedroom", ""),
        ("diffusionforensics", "train/imagenet/adm/n01/x.png", 1, "train", "imagenet", "adm"),
        ("diffusionforensics", "sdv2/1_fake/x.png", 1, "", "sdv2", "sdv2"),
        ("diffusionforensics", "sdv2/0_real/x.png", 0, "", "sdv2", ""),
        ("genimage", "ADM/imagenet_ai_0508_adm/train/ai/n01/x.png", 1, "train", "ADM", "ADM"),
        ("genimage", "Midjourney/val/nature/x.JPEG", 0, "val", "Midjourney", ""),
        ("genimage", "train/ai/n01/x.png", 1, "train", "ROOT", "ROOT"),
    ],
)
def test_folders(
    tmp_path: Path, layout: str, where: str, label: int, split: str, source: str, manipulation: str
) -> None:
    root = tmp_path / "ROOT"
    file = image(root / where)
    index = index_layout(root, layout)
    assert not index.problems
    (row,) = index.rows
    assert row.path == str(file)
    assert (row.label, row.split, row.source, row.manipulation) == (label, split, source, manipulation)


@pytest.mark.parametrize(
    ("layout", "where"),
    [
        ("fmca", "train/0_real/x.png"),
        ("forensynths", "test/progan/real/x.png"),
        ("diffusionforensics", "test/imagenet/newmodel/x.png"),
        ("diffusionforensics", "test/adm/real/x.png"),
        ("genimage", "ADM/train/fake/x.png"),
        ("gangen", "0_real/1_fake/x.png"),
    ],
)
def test_a_label_is_never_guessed(tmp_path: Path, layout: str, where: str) -> None:
    image(tmp_path / where)
    index = index_layout(tmp_path, layout)
    assert index.rows == [] and problems(index, tmp_path) == [(where, "no_label")]


@pytest.mark.parametrize(
    ("layout", "fake", "truth"), [("casia1", "Sp", "CASIA 1.0 groundtruth"), ("casia2", "Tp", "Gt")]
)
def test_casia(tmp_path: Path, layout: str, fake: str, truth: str) -> None:
    splice, copied = "Tp_D_NRN_S_N_arc00013_sec00045_11700", "Tp_S_CNN_M_B_nat00098_nat00098_11104"
    for name in ("Au_arc_00013", "Au_sec_00045", "Au_nat_00098", "Au_ani_00001", "holiday"):
        image(tmp_path / "Au" / f"{name}.jpg")
    for name in (splice, copied):
        image(tmp_path / fake / f"{name}.tif")
    mask(tmp_path / truth / f"{splice}_gt.png")
    mask(tmp_path / truth / "Tp_D_other_gt.png")
    index = index_layout(tmp_path, layout)
    assert problems(index, tmp_path) == sorted(
        [
            ("Au/holiday.jpg", "no_group"),
            (truth, "missing"),
            (f"{truth}/Tp_D_other_gt.png", "mask_without_image"),
        ]
    )
    found = rows(index, tmp_path)
    row = found[f"{fake}/{splice}.tif"]
    assert (row.label, row.manipulation, row.mask) == (1, "splice", str(tmp_path / truth / f"{splice}_gt.png"))
    assert row.group == found["Au/Au_arc_00013.jpg"].group == found["Au/Au_sec_00045.jpg"].group
    assert found[f"{fake}/{copied}.tif"].manipulation == "copy_move"
    assert found[f"{fake}/{copied}.tif"].group == found["Au/Au_nat_00098.jpg"].group != row.group
    assert found["Au/Au_ani_00001.jpg"].group not in (row.group, found["Au/Au_nat_00098.jpg"].group)


def coloured(path: Path) -> Path:
    """Red with a green region, saved as a JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[..., 0] = 200
    pixels[8:24, 8:16] = (0, 200, 0)
    Image.fromarray(pixels).save(path, quality=95)
    return path


def test_columbia(tmp_path: Path) -> None:
    root = tmp_path / "columbia"
    image(root / "4cam_auth/canong3_02_sub_01.tif", (32, 32))
    coloured(root / "4cam_auth/edgemask/canong3_02_sub_01_edgemask.jpg")
    image(root / "4cam_splc/canong3_canonxt_sub_01.tif", (32, 32))
    image(root / "4cam_splc/canong3_canonxt_sub_02.tif", (32, 32))
    coloured(root / "4cam_splc/edgemask/canong3_canonxt_sub_01_edgemask.jpg")
    index = index_layout(root, "columbia")
    assert [p.code for p in index.problems] == ["mask_format", "missing"]
    assert "--masks" in index.problems[0].message
    assert [(r.label, r.mask, r.manipulation) for r in index.rows] == [
        (0, "", ""),
        (1, "", "splice"),
        (1, "", "splice"),
    ]

    index = index_layout(root, "columbia", masks=tmp_path / "masks")
    row = rows(index, root)["4cam_splc/canong3_canonxt_sub_01.tif"]
    assert Path(row.mask).is_relative_to(tmp_path / "masks")
    found = read_mask(row.mask, decode(Path(row.path)))
    truth = np.zeros((32, 32))
    truth[8:24, 8:16] = 1
    assert np.abs(found - truth).mean() < 0.06 and set(np.unique(found)) == {0, 1}
    assert sorted(root.rglob("*.png")) == []  # nothing is written into the data set


def test_coverage(tmp_path: Path) -> None:
    for name in ("1.tif", "1t.tif", "2.tif", "2t.tif", "odd.tif"):
        image(tmp_path / "image" / name)
    for name in ("1forged.tif", "1copy.tif", "1paste.tif", "9forged.tif"):
        mask(tmp_path / "mask" / name)
    index = index_layout(tmp_path, "coverage")
    assert problems(index, tmp_path) == [
        ("image/odd.tif", "no_label"),
        ("mask", "missing"),
        ("mask/9forged.tif", "mask_without_image"),
    ]
    found = rows(index, tmp_path)
    fake = found["image/1t.tif"]
    assert (fake.label, fake.pair, fake.mask) == (1, str(tmp_path / "image/1.tif"), str(tmp_path / "mask/1forged.tif"))
    assert fake.group == found["image/1.tif"].group != found["image/2.tif"].group
    assert found["image/1.tif"].label == 0


def test_nist16(tmp_path: Path) -> None:
    root = tmp_path / "nist"
    columns = "TaskID|ProbeFileID|ProbeFileName|ProbeMaskFileName|DonorFileName|IsTarget|BaseFileName"
    columns += "|IsManipulationTypeRemoval|IsManipulationTypeSplice|IsManipulationTypeCopyClone"
    table = [
        columns,
        "manipulation|1|probe/a.jpg|reference/manipulation/mask/a.png|world/d.jpg|Y|world/b.jpg|N|Y|N",
        "manipulation|2|probe/b.jpg|||N|world/b.jpg|N|N|N",
        "manipulation|3|probe/c.jpg|reference/manipulation/mask/c.png||Y|world/d.jpg|Y|N|Y",
        "manipulation|4|probe/gone.jpg|||N|world/b.jpg|N|N|N",
        "manipulation|5|probe/e.jpg|||?|world/b.jpg|N|N|N",
        "manipulation|6|probe/f.jpg|||N||N|N|N",
        "short",
    ]
    write(root / "reference/manipulation/NC2016-manipulation-ref.csv", "\n".join(table))
    for name in "abcefx":
        image(root / f"probe/{name}.jpg")
    image(root / "world/b.jpg")
    pixels = np.full((8, 8), 255, np.uint8)
    pixels[1:4, 2:5] = 0
    (root / "reference/manipulation/mask").mkdir()
    Image.fromarray(pixels).save(root / "reference/manipulation/mask/a.png")
    index = index_layout(root, "nist16", masks=tmp_path / "masks")
    assert problems(index, root) == [
        ("probe/e.jpg", "no_label"),
        ("probe/f.jpg", "no_group"),
        ("probe/gone.jpg", "missing"),
        ("probe/x.jpg", "no_label"),
        ("reference/manipulation/NC2016-manipulation-ref.csv", "bad_list"),
        ("reference/manipulation/mask/c.png", "missing"),
    ]
    found = rows(index, root)
    a, b, c = (found[f"probe/{n}.jpg"] for n in "abc")
    assert [(r.label, r.manipulation) for r in (a, b, c)] == [(1, "splice"), (0, ""), (1, "removal+copy_move")]
    assert a.group == b.group == c.group  # a's base is b's, its donor c's base
    assert a.pair == str(root / "world/b.jpg")
    assert np.array_equal(read_mask(a.mask, decode(Path(a.path))), (pixels == 0).astype(np.float32))


def test_tp_gt(tmp_path: Path) -> None:
    image(tmp_path / "Tp/a.png")
    image(tmp_path / "Tp/b.png")
    image(tmp_path / "Au/c.png")
    mask(tmp_path / "Gt/a_gt.png")
    mask(tmp_path / "Gt/z.png")
    index = index_layout(tmp_path, "tp-gt")
    assert problems(index, tmp_path) == [("Gt", "missing"), ("Gt/z.png", "mask_without_image")]
    found = rows(index, tmp_path)
    assert [found[n].label for n in ("Tp/a.png", "Tp/b.png", "Au/c.png")] == [1, 1, 0]
    assert found["Tp/a.png"].mask == str(tmp_path / "Gt/a_gt.png")
