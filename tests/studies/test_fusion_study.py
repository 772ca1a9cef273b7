"""The whole fusion study: on tables with planted answers, and on images with a detector used afterwards."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from tables import gaussian, table, without

from unmask.cli.main import main
from unmask.core.errors import ConfigError, DataError
from unmask.core.files import sha256_file
from unmask.data.intake import decode
from unmask.data.manifest import Row
from unmask.data.views import views
from unmask.detectors.weights import load_weights
from unmask.features.catalogue import find_features
from unmask.features.extract import extract_features
from unmask.features.table import FeatureTable, write_features
from unmask.nn.fusion import EARLY, FUSIONS
from unmask.studies.crossfit import cross_fit
from unmask.studies.feature_rows import StudyRows, study_rows
from unmask.studies.fusion_compare import Judge, Trial
from unmask.studies.fusion_heads import HeadSettings, head_out_of_fold, hidden, tensors
from unmask.studies.fusion_late import rotation
from unmask.studies.fusion_maps import MapSettings, check_maps, face_views, maps_out_of_fold
from unmask.studies.fusion_study import FusionStudy, pick_methods
from unmask.studies.held_out import HeldOut, Part
from unmask.studies.late import LATE

FEW = ("concat", "reliability", "average", "stacking")
QUICK = HeadSettings(dim=16, epochs=15, batch=64, lr=1e-2)


def planted(people: int = 60) -> FeatureTable:
    """Two features that each know half of what there is, and one that knows nothing but costs most."""
    makers = {"left": gaussian(1.3, 2), "right": gaussian(1.3, 2), "noise": gaussian(0.0, 3)}
    return table(makers, people=people, cost={"left": 2.0, "right": 3.0, "noise": 9.0})


@pytest.fixture(scope="module")
def data() -> StudyRows:
    return study_rows([without(planted(), "noise", np.arange(240) % 3 == 0)], count=3)


@pytest.fixture(scope="module")
def content(data: StudyRows) -> dict:
    return FusionStudy(data, FEW, seeds=2, finalists=1, head=QUICK, strengths=(1.0,)).run()


def line(content: dict, name: str) -> dict:
    return next(found for found in content["trials"] if found["name"] == name)


def test_complementary_features_fused_beat_each_alone(content: dict) -> None:
    single = line(content, content["best_single"])["auc"]["value"]
    for name in FEW:
        found = line(content, name)
        assert found["auc"]["value"] > single + 0.01, name
        assert found["auc"]["low"] < found["auc"]["value"] < found["auc"]["high"]
        assert found["against_single"]["difference"] == pytest.approx(found["auc"]["value"] - single)
        assert found["against_single"]["p_holm"] >= found["against_single"]["p"]
    assert line(content, "noise")["auc"]["low"] < 0.55


def test_costs_seeds_and_the_choice(content: dict) -> None:
    assert line(content, "average")["cost_ms"] == pytest.approx(14.0)
    assert line(content, "concat")["cost_ms"] > 14.0 and line(content, "left")["cost_ms"] == 2.0
    assert [line(content, n)["seeds"] for n in ("concat", "reliability", "average", "left")] == [2, 2, 1, 1]
    choice = content["choice"]
    near = [line(content, name) for name in choice["within_one_error"]]
    assert choice["best"] == content["trials"][0]["name"] and line(content, choice["name"]) in near
    assert line(content, choice["name"])["cost_ms"] <= 1.01 * min(found["cost_ms"] for found in near)
    assert line(content, "reliability")["parameters"] > line(content, "concat")["parameters"]
    shares = line(content, "reliability")["shares"]
    assert shares["left"]["missing"] is None and shares["noise"]["missing"] is not None


def test_what_late_fusion_learns_from_never_holds_a_relative(data: StudyRows) -> None:
    """The study's own parts pass; the same scores said to come from models of all folds are refused."""
    fits = [cross_fit(data.table.values[n], data.known(n), data.labels, data.fold, (1.0,)) for n in data.names]
    families = np.array(data.families, object)
    found = rotation(fits, 0, data.labels, families, data.fold)
    assert not set(found.families) & set(families[data.fold == 0])
    mine = data.fold == 1
    scores = np.stack([fit.inner[0][mine] for fit in fits], axis=1)
    with pytest.raises(DataError, match="trained on them") as caught:
        HeldOut([Part(scores, data.labels[mine], list(families[mine]), set(families[data.fold != 0]))])
    assert caught.value.code == "leak"
    # changing the labels of the fold that is left out changes nothing that its rotation learns from
    flipped = np.where(data.fold == 0, ~data.labels, data.labels)
    again = [cross_fit(data.table.values[n], data.known(n), flipped, data.fold, (1.0,)) for n in data.names]
    np.testing.assert_array_equal(rotation(again, 0, flipped, families, data.fold).logits, found.logits)


def test_heads_see_no_label_of_the_fold_they_score_and_repeat_by_seed(data: StudyRows) -> None:
    values = tensors(data.table.values, data.names)
    quick = replace(QUICK, epochs=2)
    logits, _ = head_out_of_fold(values, data.labels, data.fold, "gating", 0, quick)
    flipped = np.where(data.fold == 0, ~data.labels, data.labels)
    other, _ = head_out_of_fold(values, flipped, data.fold, "gating", 0, quick)
    np.testing.assert_array_equal(other[data.fold == 0], logits[data.fold == 0])
    assert not np.array_equal(head_out_of_fold(values, data.labels, data.fold, "gating", 1, quick)[0], logits)


def test_hiding_features_leaves_every_image_something() -> None:
    torch.manual_seed(0)
    shown = hidden([torch.zeros(1000, 2), torch.zeros(1000, 3)], 0.6)
    gone = torch.stack([torch.isnan(x).all(1) for x in shown], 1)
    assert not bool(gone.all(1).any()) and 0.2 < float(gone.float().mean()) < 0.5
    assert hidden([torch.zeros(4, 2)], 0.9)[0].isnan().sum() == 0


def test_the_choice_is_the_cheapest_within_one_standard_error() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(400) % 2 == 1
    families = [f"p{i // 4}" for i in range(400)]
    good = random.normal(size=400) + 2 * labels
    trials = [
        Trial("best", "feature", (), 10.0, 100, [good]),
        Trial("as good", "late", (), 5.0, 9, [good + 1e-9 * random.normal(size=400)]),
        Trial("same cost", "late", (), 5.01, 3, [good + 1e-9 * random.normal(size=400)]),
        Trial("worse", "single", (), 1.0, 2, [random.normal(size=400) + 1.0 * labels]),
    ]
    judge = Judge(labels, families, 0)
    chosen, how = judge.choose(trials)
    assert chosen.name == "same cost" and "worse" not in how["within_one_error"]
    found = judge.against(trials[0], trials[3])
    assert found["difference"] == pytest.approx(roc_auc_score(labels, good) - trials[3].area(labels))
    assert found["low"] > 0 and found["p"] < 0.01 and found["delong"]["p"] < 0.01


def test_names_are_checked_and_vectors_kept_out_of_early_fusions() -> None:
    assert pick_methods(None, False) == (*FUSIONS, *LATE) and pick_methods(None, True) == (*FUSIONS, *LATE, *EARLY)
    with pytest.raises(ConfigError, match="did you mean 'stacking'"):
        pick_methods(["staking"], False)
    with pytest.raises(ConfigError, match="name --maps") as caught:
        pick_methods(["merge"], False)
    assert caught.value.code == "not_a_map"
    with pytest.raises(ConfigError, match="'glcm' gives a vector") as caught:
        check_maps(["rgb", "glcm"])
    assert caught.value.code == "not_a_map"
    with pytest.raises(ConfigError, match="no map"):
        check_maps(["rbg"])
    with pytest.raises(DataError, match="nothing to fuse"):
        FusionStudy(study_rows([planted(30)], features=["left"], count=3), FEW)


def photos(folder: Path, people: int = 30, side: int = 256) -> list[Row]:
    """Smooth noise; of each a fake whose pixels were doubled (nearest neighbour)."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(people):
        photo = np.clip(120 + 30 * random.normal(size=(side, side, 3)), 0, 255).astype(np.uint8)
        small = Image.fromarray(photo).resize((side // 2, side // 2), Image.Resampling.BILINEAR)
        paths = [folder / f"{i}_{kind}.png" for kind in ("real", "fake")]
        Image.fromarray(photo).save(paths[0])
        small.resize((side, side), Image.Resampling.NEAREST).save(paths[1])
        rows.append(Row(str(paths[0]), 0, group=f"p{i}", sha256=sha256_file(paths[0])))
        rows.append(
            Row(
                str(paths[1]),
                1,
                group=f"p{i}",
                pair=str(paths[0]),
                manipulation="doubled",
                sha256=sha256_file(paths[1]),
            )
        )
    return rows


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Row], Path]:
    folder = tmp_path_factory.mktemp("photos")
    rows = photos(folder)
    boxes = {row.path: [] for row in rows}
    found = extract_features(rows, find_features(["lbp", "npr", "colour"]), boxes=boxes, jobs=1)
    write_features(folder / "features.parquet", found.table)
    return rows, folder / "features.parquet"


def test_the_command_writes_a_report_and_a_detector_that_answers_alike(
    measured: tuple[list[Row], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, features = measured
    out = tmp_path / "fusion"
    words = ["fusion", "study", str(features), "--methods", "concat", "average", "--folds", "3", "--seeds", "1"]
    assert main([*words, "--out", str(out), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads((out / "study.json").read_text(encoding="utf-8"))
    with (out / "fusion.csv").open(encoding="utf-8") as file:
        assert {found["name"] for found in csv.DictReader(file)} == {"lbp", "npr", "colour", "concat", "average"}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "http" not in page.replace("http-equiv", "") and "colour is not in the detector: it looks at another" in page
    saved = content["saved"]
    assert saved["features"] == ["lbp", "npr"] and saved["auc"] > 0.95
    detector, card = load_weights(out / "weights.safetensors")
    assert card.detector == "fused" and card.config["fusion"] == "concat" and card.seed == 0
    assert card.data["sha256"] == content["data"]["sha256"] and card.calibration.scale > 0
    tops = []
    for row in rows[:6]:
        view = views(decode(Path(row.path)).pixels, [], detector.config.view)[0].pixels
        with torch.inference_mode():
            tops.append(float(detector(torch.from_numpy(view.copy()).permute(2, 0, 1)[None].float() / 255).logits))
    assert min(tops[1::2]) > max(tops[::2])
    assert main(["detect", rows[1].path, "--detector", str(out / "weights.safetensors"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["status"] != "error" and answer["detector"]  # noise shows no face
    assert main([*words, "--out", str(out)]) == 1  # nothing is overwritten


def test_maps_of_the_tables_images_are_read(measured: tuple[list[Row], Path]) -> None:
    rows, _ = measured
    boxes = {row.path: [] for row in rows}
    images = face_views(rows[:6], 64, boxes)
    assert images.shape == (6, 3, 64, 64) and images.dtype == torch.uint8
    with pytest.raises(DataError, match="6 are not there"):
        face_views([replace(row, path=row.path + ".gone") for row in rows[:6]], 64, boxes)


def test_an_early_fusion_learns_what_its_maps_show() -> None:
    random = np.random.default_rng(0)
    labels, fold = np.arange(48) % 2 == 1, np.arange(48) // 2 % 2
    pixels = 120 + 10 * random.normal(size=(48, 3, 64, 64))
    pixels[labels, :, ::2, ::2] += 60.0  # a grid
    images = torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))
    settings = MapSettings(size=64, width=4, dim=8, epochs=15, batch=8, lr=1e-2)
    found = maps_out_of_fold(images, labels, fold, settings.config(["rgb", "npr"], "merge"), 0, settings)
    assert roc_auc_score(labels, found.logits) > 0.9 and found.cost_ms > 0 and found.parameters > 100


def test_the_pages_block_runs_and_its_table_is_whole() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "fusion.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(block, {})
    rows = re.findall(r"^\| (early|feature|late) \| `(\w+)` \|", text, re.MULTILINE)
    assert rows == [(level, n) for level, t in (("early", EARLY), ("feature", FUSIONS), ("late", LATE)) for n in t]


def test_wrong_use_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "features.parquet"
    write_features(file, planted(20))
    for words, told in (
        (["--maps", "rgb", "glcm"], "gives a vector and no map"),
        (["--methods", "concat_channels"], "name --maps"),
        (["--methods", "concat", "--seeds", "0"], "seeds and finalists"),
        (["--features", "lefd", "right"], "did you mean 'left'"),
    ):
        assert main(["fusion", "study", str(file), "--out", str(tmp_path / "out"), *words]) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
