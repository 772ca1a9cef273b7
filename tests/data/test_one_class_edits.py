"""What happens to one class only teaches a shortcut: no recipe can say it, no stream does it, and the audit refuses it.

The forgery itself is the one difference there may be.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from skimage.data import astronaut

from unmask.cli.main import main
from unmask.core.errors import ConfigError
from unmask.core.types import Face, ViewConfig
from unmask.data import forged
from unmask.data.degradations import DEGRADATIONS, PostConfig, post_process
from unmask.data.forged import ForgedStream
from unmask.data.forged_files import write_forgeries
from unmask.data.forgeries import FORGERIES, Forged, forge
from unmask.data.labelled import ManifestStream
from unmask.data.manifest import Row, write_manifest
from unmask.training.recipe import make_recipe

FACE = Face((181, 62, 268, 172), 1.0, ((205, 105), (247, 103), (228, 130), (210, 150), (245, 148)))
STRONG = PostConfig(
    untouched=0.0, resize=0.8, blur=0.8, sharpen=0.8, noise=0.8, gamma=0.8, colour=0.8, jpeg=0.7, webp=1.0
)
MALICIOUS = [name for name, kind in FORGERIES.items() if kind.answers == "edited"]


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Row:
    path = tmp_path_factory.mktemp("photo") / "a.png"
    Image.fromarray(astronaut()).save(path)
    return Row(str(path), 0, group="ann")


@pytest.mark.parametrize(
    "data",
    [
        {"post_fake": {"jpeg": 1.0}},
        {"post": {"fake": {"jpeg": 1.0}}},
        {"post": {"real": {"blur": 1.0}, "fake": {"blur": 0.0}}},
        {"matched": {"fake": 1.0}},
        {"recompressed": [0.0, 1.0]},
        {"degradations": {"jpeg": 1.0}},
    ],
)
def test_a_recipe_cannot_say_what_happens_to_one_class(data: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        make_recipe({"data": {"photos": "x", **data}})
    assert caught.value.code in ("unknown_key", "bad_type", "bad_value", "bad_config"), caught.value.code


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"zoom": 1.8, "early": 1.0, "original": 1.0},
        {"rotate": 20.0, "original": 0.0},
        {"view": ViewConfig(kind="native", size=96)},
        {"view": ViewConfig(kind="frame", size=96)},
    ],
)
def test_a_forgery_that_changes_nothing_leaves_no_difference_at_all(
    photo: Row, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str, image: np.ndarray, *_: object) -> Forged:
        mask = np.zeros(image.shape[:2], np.float32)
        mask[10:30, 10:30] = 1
        return Forged(image.copy(), mask, image, name)

    monkeypatch.setattr(forged, "forge", nothing)
    common = {"view": ViewConfig(size=96), "post": STRONG, "matched": 1.0, "recompressed": 1.0} | settings
    stream = ForgedStream([photo], faces={photo.path: [FACE]}, **common)  # type: ignore[arg-type]
    for epoch in range(6):
        real, fake = stream.sample(epoch, 0), stream.sample(epoch, 1)
        assert real is not None and fake is not None and (real.label, fake.label) == (0, 1)
        assert torch.equal(real.image, fake.image)


def test_labelled_images_are_processed_whatever_their_label(photo: Row, tmp_path: Path) -> None:
    def stream(label: int) -> ManifestStream:
        row = Row(photo.path, label, group="ann", manipulation="x" if label else "")
        view = ViewConfig(kind="frame", size=96)
        return ManifestStream([row], view, post=lambda i, r: post_process(i, r, STRONG), flip=True, rotate=10.0)

    for epoch in range(6):
        real, fake = stream(0).sample(epoch, 0), stream(1).sample(epoch, 0)
        assert real is not None and fake is not None
        assert torch.equal(real.image, fake.image), "the same file at the same place is the same picture"


# ---- files on disk: the audit ----------------------------------------------------


def picture(seed: int, size: int = 72) -> np.ndarray:
    generator = np.random.default_rng(seed)
    smooth = ndimage.zoom(generator.uniform(0, 255, (6, 6, 3)), (size / 6, size / 6, 1), order=1)
    return np.clip(smooth + generator.normal(0, generator.uniform(3, 9), smooth.shape), 0, 255).astype(np.uint8)


def audited(folder: Path, edit: str, on: tuple[int, ...], kind: str = "png") -> int:
    """Exit code of ``unmask data audit`` on 30 photos and a warped copy of each, the classes ``on`` edited further."""
    rows = []
    for i in range(30):
        real = picture(i)
        fake = forge("warp", real, None, np.random.default_rng(i)).image
        for label, image in enumerate((real, fake)):
            if edit and label in on:
                image = DEGRADATIONS[edit](image, 4, np.random.default_rng(i))
            path = folder / f"{i}_{label}.{kind if label in on else 'png'}"
            Image.fromarray(image).save(path)
            rows.append(Row(str(path), label, group=f"p{i}", source="s", manipulation="warp" if label else ""))
    write_manifest(folder / "m.csv", rows)
    return main(["data", "audit", str(folder / "m.csv"), "--jobs", "1"])


def test_the_forgery_alone_and_an_edit_of_both_classes_pass_the_audit(tmp_path: Path) -> None:
    for name, edit, on in (("none", "", ()), ("both", "jpeg", (0, 1))):
        (tmp_path / name).mkdir()
        assert audited(tmp_path / name, edit, on) == 0, name


@pytest.mark.parametrize("edit", ["jpeg", "blur", "brightness", "crop"])
def test_an_edit_of_one_class_is_refused_by_the_audit(
    edit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audited(tmp_path, edit, (1,)) == 1
    assert "a detector trained on this learns" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("edit", [n for n in DEGRADATIONS if n not in ("beauty", "jpeg", "blur", "crop")])
def test_every_other_edit_of_one_class_is_refused(edit: str, tmp_path: Path) -> None:
    assert audited(tmp_path, edit, (1,)) == 1


def test_another_file_format_for_one_class_is_refused(tmp_path: Path) -> None:
    assert audited(tmp_path, "", (1,), kind="webp") == 1


# ---- every malicious edit is a generator of training data -----------------------


@pytest.mark.parametrize("name", MALICIOUS)
def test_every_malicious_edit_makes_training_pairs_and_files(name: str, photo: Row, tmp_path: Path) -> None:
    recipe = make_recipe({"data": {"photos": "x", "forgeries": {name: 1.0}}})
    stream = ForgedStream(
        [photo], ViewConfig(size=96), {photo.path: [FACE]}, recipe.data.forgeries, recipe.data.post, seed=1
    )
    fake = stream.sample(0, 1)
    assert fake is not None and fake.manipulation == name and fake.mask is not None and fake.mask.max() > 0.2
    small = tmp_path / "photos"
    small.mkdir()
    Image.fromarray(astronaut()[20:220, 130:310]).save(small / "b.png")
    made = write_forgeries(small, ["b.png"], tmp_path / "out", lambda *_: [], kinds=[name], seed=2)
    assert [row.manipulation for row in made.rows] == ["", name] and not made.problems
    mask = np.asarray(Image.open(made.rows[1].mask))
    real, changed = (np.asarray(Image.open(row.path)) for row in made.rows)
    assert mask.max() > 0 and (real == changed)[mask == 0].all()
