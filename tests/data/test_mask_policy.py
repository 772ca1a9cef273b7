"""What counts as the true mask of an image that was generated as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from unmask.core.types import Face, ViewConfig
from unmask.data.degradations import NO_POST
from unmask.data.forged import ForgedStream
from unmask.data.labelled import ManifestStream
from unmask.data.manifest import Row
from unmask.data.masks import MaskPolicy, generated_mask

FACE = Face((181, 62, 268, 172), 1.0, ((205, 105), (247, 103), (228, 130), (210, 150), (245, 148)))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "a.png"
    Image.fromarray(astronaut()).save(path)
    return path


def test_faces_reach_to_the_border_and_not_beyond() -> None:
    mask = generated_mask("face", (10, 20), [Face((-5, -5, 3, 4)), Face((15, 8, 30, 30))])
    assert mask is not None and mask.sum() == 3 * 4 + 5 * 2
    assert generated_mask("face", (10, 20)) is None


@pytest.mark.parametrize("policy", ["ones", "face", "ignore"])
def test_labelled_images(photo: Path, policy: MaskPolicy) -> None:
    edit = photo.with_name("edit.png")
    Image.fromarray(np.full((512, 512), 255, np.uint8)).save(edit)
    rows = [
        Row(str(photo), 1),  # generated: no mask file
        Row(str(photo), 1, mask=str(edit), manipulation="resynthesis"),  # generated: a kind known to be
        Row(str(photo), 1, mask=str(edit), manipulation="splice"),
        Row(str(photo), 0),
    ]
    view = ViewConfig(size=64, margin=2.0)
    stream = ManifestStream(rows, view, {str(photo): [FACE]}, shuffle=False, mask_policy=policy)
    samples = [stream.sample(0, i) for i in range(4)]
    masks = [None if sample is None else sample.mask for sample in samples]
    assert masks[2] is not None and masks[2].min() > 0.999  # an edit's mask is its file
    assert masks[3] is not None and masks[3].max() == 0
    for mask in masks[:2]:
        if policy == "ignore":
            assert mask is None
        elif policy == "ones":
            assert mask is not None and mask.min() > 0.999
        else:  # the box is 87 x 110 in a view of 220 x 220
            assert (
                mask is not None and 0.17 < float(mask.mean()) < 0.23 and mask[0, 32, 32] > 0.999 and mask[0, 0, 0] == 0
            )


@pytest.mark.parametrize("policy", ["ones", "face", "ignore"])
def test_forged_on_the_fly(photo: Path, policy: MaskPolicy) -> None:
    settings = {"view": ViewConfig(size=64, margin=2.0), "faces": {str(photo): [FACE]}, "post": NO_POST, "jitter": 0.0}
    stream = ForgedStream(
        [Row(str(photo), 0)],
        forgeries={"resynthesis": 1.0},
        mask_policy=policy,
        **settings,  # type: ignore[arg-type]
    )
    fake, real = stream.sample(0, 1), stream.sample(0, 0)
    assert fake is not None and real is not None and real.mask is not None and not real.mask.any()
    if policy == "ignore":
        assert fake.mask is None
    elif policy == "ones":
        assert fake.mask is not None and fake.mask.min() > 0.999
    else:
        assert fake.mask is not None and 0.17 < float(fake.mask.mean()) < 0.23
    edits = ForgedStream([Row(str(photo), 0)], forgeries={"self_blend": 1.0}, mask_policy=policy, **settings)  # type: ignore[arg-type]
    sample = edits.sample(0, 1)
    assert sample is not None and sample.mask is not None and 0 < float(sample.mask.mean()) < 1
    assert torch.isfinite(sample.mask).all()


def test_a_recipe_says_which(tmp_path: Path) -> None:
    from unmask.training.data import build_streams
    from unmask.training.recipe import make_recipe

    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("path,x1,y1,x2,y2,score\n" + "".join(f"{i}.png,10,10,50,50,1\n" for i in range(6)))
    data = {"photos": str(tmp_path), "boxes": str(boxes), "forgeries": {"resynthesis": 1}, "mask_policy": "face"}
    streams = build_streams(make_recipe({"data": data, "validation": {"share": 0.5}}), ViewConfig(size=64))
    assert isinstance(streams.train, ForgedStream) and isinstance(streams.validation, ForgedStream)
    assert streams.train.mask_policy == streams.validation.mask_policy == "face"
    assert make_recipe({}).data.mask_policy == "ignore"
