"""``unmask evaluate`` end to end on a small forged set, and the parts it stands on."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from unmask.analysis.analyzer import load_analyzer
from unmask.cli.main import main
from unmask.core.errors import ConfigError, DataError
from unmask.core.types import Face
from unmask.data.faces import scale_face, write_boxes
from unmask.data.intake import decode
from unmask.data.manifest import Row, read_manifest, write_manifest
from unmask.data.masks import read_mask
from unmask.evaluation import scoring
from unmask.evaluation.matching import Matching, scale_mask
from unmask.evaluation.run import choose_split, evaluate_detector

N = 6


@pytest.fixture(scope="module")
def dataset(portrait_pixels, tmp_path_factory):
    """N real photos, and of each one a fake with a mask: even ones brightened in a square, odd ones blurred there."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    rows, boxes = [], {}
    for i in range(N):
        photo = np.clip(np.roll(portrait_pixels, 3 * i, 1) * random.uniform(0.7, 1.1), 0, 255).astype(np.uint8)
        fake, mask = photo.copy(), np.zeros(photo.shape[:2], np.uint8)
        mask[60:110, 100 : 140 + 4 * i] = 255
        area = mask > 0
        fake[area] = 255 - fake[area] // 2 if i % 2 == 0 else fake[area].mean(axis=0).astype(np.uint8)
        names = [folder / f"{kind}{i}.png" for kind in ("real", "fake", "mask")]
        for name, pixels in zip(names, (photo, fake, mask), strict=True):
            Image.fromarray(pixels).save(name)
        real, forged, truth = map(str, names)
        rows.append(Row(real, 0, group=f"p{i}", source="home"))
        kind = "bright" if i % 2 == 0 else "flat"
        rows.append(Row(forged, 1, mask=truth, pair=real, group=f"p{i}", source="home", manipulation=kind))
        boxes |= {path: [Face((95.0 + 3 * i, 60.0, 160.0 + 3 * i, 150.0))] for path in (real, forged)}
    write_manifest(folder / "data.csv", rows)
    write_boxes(folder / "boxes.csv", boxes)
    return folder


def evaluate(dataset, out, *extra, weights=None, data="data.csv"):
    words = ["evaluate", *([str(weights)] if weights else []), "--out", str(out), "--device", "cpu"]
    words += ["--data", str(dataset / data)] if data else []
    return main([*words, *map(str, extra)])


@pytest.fixture(scope="module")
def result(dataset, tiny_weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "eval"
    code = evaluate(dataset, out, "--boxes", dataset / "boxes.csv", weights=tiny_weights / "edited.safetensors")
    assert code == 0
    return out


def test_files_and_their_content(result, dataset):
    assert sorted(p.name for p in result.iterdir()) == [
        "figures", "metrics.csv", "metrics.json", "predictions.parquet", "report.html",
    ]  # fmt: skip
    content = json.loads((result / "metrics.json").read_text())
    table = pq.read_table(result / "predictions.parquet")
    labels, logits, scores = (np.array(table[name]) for name in ("label", "logit", "score"))
    assert len(labels) == 2 * N
    whole = content["rows"][0]
    assert whole["metrics"]["auc"]["value"] == pytest.approx(roc_auc_score(labels, logits))
    assert whole["metrics"]["accuracy"]["value"] == pytest.approx(np.mean((scores >= 0.5) == labels))
    assert content["about"]["data_sha256"] == read_manifest(dataset / "data.csv").sha256
    assert content["about"]["name"] == "edited"
    assert content["errors"] == []
    with (result / "metrics.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if line["kind"] == "all" and line["metric"] == "auc"]
    assert {line["scorer"] for line in lines} == {"detector", "blur", "metadata"}


def test_every_row_has_both_baselines_and_its_own_reals(result):
    rows = json.loads((result / "metrics.json").read_text())["rows"]
    assert [(row["kind"], row["name"]) for row in rows] == [
        ("all", "all images"), ("manipulation", "bright"), ("manipulation", "flat"),
    ]  # fmt: skip
    for row in rows:
        assert set(row["baselines"]) == {"blur", "metadata"}
        for found in row["baselines"].values():
            assert found["auc"]["value"] is not None or found["auc"]["reason"]
    assert rows[1]["against"] == "own counterparts"
    assert (rows[1]["n_real"], rows[1]["n_fake"]) == (N // 2, N // 2)
    assert rows[1]["pair_order"]["value"] is not None


def test_scores_are_those_of_detect(result, dataset, tiny_weights):
    from unmask.data.faces import read_boxes

    analyzer = load_analyzer(tiny_weights / "edited.safetensors", device="cpu")
    table = pq.read_table(result / "predictions.parquet").to_pylist()
    verdicts = analyzer.stream([row["path"] for row in table], read_boxes(dataset / "boxes.csv"))
    for row, verdict in zip(table, verdicts, strict=True):
        assert (row["score"], row["verdict"], row["status"]) == (verdict.score, verdict.verdict, verdict.status)


def test_pixel_metrics_are_those_of_the_map(result, dataset, tiny_weights):
    from unmask.data.faces import read_boxes

    analyzer = load_analyzer(tiny_weights / "edited.safetensors", device="cpu")
    table = {row["path"]: row for row in pq.read_table(result / "predictions.parquet").to_pylist()}
    row = read_manifest(dataset / "data.csv")[1]
    [(_, evidence)] = analyzer.examine([row.path], read_boxes(dataset / "boxes.csv"))
    truth = read_mask(row.mask, evidence.decoded)
    assert table[row.path]["pixel_auc"] == pytest.approx(roc_auc_score(truth.ravel() > 0.5, evidence.heatmap.ravel()))
    assert table[row.path]["false_alarm_area"] is None
    real = table[row.pair]
    assert (real["pixel_f1"], real["pixel_auc"]) == (None, None)  # nothing to find there
    assert 0 <= real["false_alarm_area"] <= 1


def test_verdicts_add_up(result):
    verdicts = json.loads((result / "metrics.json").read_text())["rows"][0]["verdicts"]
    for truth in ("real", "fake"):
        assert sum(found["count"] for found in verdicts[truth].values()) == N
    decided = sum(verdicts[t][v]["count"] for t in ("real", "fake") for v in ("real", "fake"))
    assert verdicts["coverage"]["count"] == decided


def test_page_is_one_file(result):
    page = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "data:", (result / "report.html").read_text())
    assert re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"'>\s]*)", page) == ["data:"] * page.count("<img")
    assert "//" not in page
    assert page.count("metadata<br>AUC") == page.count("<h2>") - 3  # every table: not figures, reading, facts


def test_unreadable_files_are_listed_and_not_counted(dataset, tiny_weights, tmp_path, capsys):
    rows = list(read_manifest(dataset / "data.csv"))[:8]
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(rows[0].path).read_bytes()[:500])
    page = tmp_path / "<script>alert(1)</script>.png"
    rows += [Row(str(broken), 0, group="x"), Row(str(page), 1, group="y")]
    write_manifest(tmp_path / "data.csv", rows)
    code = evaluate(tmp_path, tmp_path / "out", "--boxes", dataset / "boxes.csv",
                    weights=tiny_weights / "edited.safetensors")  # fmt: skip
    assert code == 1
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert [e["code"] for e in content["errors"]] == ["truncated", "not_found"]
    assert (content["rows"][0]["n_real"], content["rows"][0]["n_fake"]) == (4, 4)
    assert "error [truncated]" in capsys.readouterr().err
    assert "<script>alert" not in (tmp_path / "out" / "report.html").read_text()


def test_one_bad_answer_spoils_only_itself(dataset, tiny_weights, monkeypatch):
    analyzer = load_analyzer(tiny_weights / "edited.safetensors", device="cpu")
    rows = list(read_manifest(dataset / "data.csv"))
    whole = scoring.judge

    def judge(bench, path, *rest):
        if path == rows[3].path:
            raise DataError("bad_score", "not a number")
        return whole(bench, path, *rest)

    monkeypatch.setattr(scoring, "judge", judge)
    boxes = {row.path: [Face((95.0, 60.0, 160.0, 150.0))] for row in rows}
    found = evaluate_detector(analyzer, rows, boxes=boxes)
    assert [(e.path, e.code) for e in found.errors] == [(rows[3].path, "bad_score")]
    assert len(found.predictions) == 2 * N - 1


def test_nothing_is_overwritten(dataset, tiny_weights, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("x")
    assert evaluate(dataset, tmp_path, weights=tiny_weights / "edited.safetensors") == 1
    assert "not an empty folder" in capsys.readouterr().err


def test_combined_detectors_are_evaluated(dataset, tiny_weights, tmp_path):
    assert (
        evaluate(dataset, tmp_path / "out", "--boxes", dataset / "boxes.csv", weights=tiny_weights / "pair.json") == 0
    )
    table = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    assert all(row["logit"] is not None and 0 <= row["score"] <= 1 for row in table)
    order = np.argsort([row["logit"] for row in table], kind="stable")
    assert (np.diff(np.array([row["score"] for row in table])[order]) >= 0).all()  # calibration keeps the order


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "name either a detector or --scores"),
        (["w.safetensors", "--scores", "s.csv"], "name either a detector or --scores"),
        (["w.safetensors"], "needs labelled images"),
        (["w.safetensors", "--data", "x.csv", "--calibrate-on", "val"], "goes with --scores"),
        (["w.safetensors", "--data", "x.csv", "--jpeg-quality", "0"], "1 to 100"),
        (["w.safetensors", "--data", "x.csv", "--size", "3"], "16 to 8192"),
    ],
)
def test_wrong_usage(words, message, tmp_path, capsys):
    assert main(["evaluate", *words, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_folders_give_labels(portrait_pixels, tiny_weights, tmp_path):
    for i, kind in enumerate(("real", "fake") * 2):
        (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(portrait_pixels, 5 * i, 0)).save(tmp_path / "data" / kind / f"{i}.png")
    assert evaluate(tmp_path, tmp_path / "out", weights=tiny_weights / "generated.safetensors", data="data") == 0
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (content["rows"][0]["n_real"], content["rows"][0]["n_fake"]) == (2, 2)


def test_matching_brings_all_to_one_size_and_quality(dataset, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (120, 200, 3)).astype(np.uint8)
    stored = []
    for name, pixels in (("a.png", image), ("b.jpg", image[:, :100])):
        Image.fromarray(pixels).save(tmp_path / name)
        stored.append(Matching(size=160, jpeg_quality=70).apply(decode(tmp_path / name)))
    assert [d.pixels.shape for d in stored] == [(96, 160, 3), (160, 133, 3)]
    assert stored[0].format == stored[1].format == "JPEG"
    assert stored[0].quantization == stored[1].quantization
    lossless = Matching(size=200).apply(decode(tmp_path / "a.png"))
    np.testing.assert_array_equal(lossless.pixels, image)
    plain = decode(tmp_path / "a.png")
    assert Matching().apply(plain) is plain


def test_masks_and_boxes_follow_the_size():
    mask = np.zeros((100, 100), np.float32)
    mask[50, 50] = 1
    small = scale_mask(mask, (25, 25))
    assert small.max() > 0  # a single forged pixel is not lost
    face = scale_face(Face((10, 20, 30, 40), points=((1.0, 2.0),) * 5), (100, 200, 3), (50, 100, 3))
    assert face.box == (5, 10, 15, 20)
    assert face.points == ((0.5, 1.0),) * 5


def test_metadata_probe_sees_a_shortcut_and_matching_removes_it(portrait_pixels, tmp_path):
    """The same kind of pixels for both classes, but one stored as PNG and one as BMP."""
    random = np.random.default_rng(0)
    rows, lines = [], ["path,label,score"]
    for i in range(40):
        name = tmp_path / f"{i}.{'bmp' if i % 2 else 'png'}"
        x, y = random.integers(0, 96, 2)
        Image.fromarray(portrait_pixels[y : y + 160, x : x + 160]).save(name)
        rows.append(Row(str(name), i % 2, group=str(i)))
        lines.append(f"{name.name},{i % 2},{0.01 * i}")
    (tmp_path / "s.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_manifest(tmp_path / "data.csv", rows)
    found = {}
    for extra in ((), ("--size", "128", "--jpeg-quality", "80")):
        out = tmp_path / f"out{len(extra)}"
        assert evaluate(tmp_path, out, "--scores", tmp_path / "s.csv", *extra) == 0
        found[len(extra)] = json.loads((out / "metrics.json").read_text())["rows"][0]["baselines"]["metadata"]["auc"]
    assert found[0]["value"] == 1.0
    assert found[4]["value"] < 0.8
    assert "Read these numbers with care" in (tmp_path / "out0" / "report.html").read_text()


def test_split_to_report_on():
    rows = [Row("/a", 0, split="train"), Row("/b", 1, split="test"), Row("/c", 1, split="val")]
    assert [r.path for r in choose_split(rows, None)] == ["/b"]
    assert [r.path for r in choose_split(rows, "val")] == ["/c"]
    with pytest.raises(DataError, match="1 train, 1 val"):
        choose_split([rows[0], rows[2]], None)
    assert len(choose_split([Row("/a", 0), Row("/b", 1)], None)) == 2


def write_scores(path, n=900, splits=("val", "test")):
    random = np.random.default_rng(0)
    lines = ["path,label,score,group,split,manipulation"]
    for split in splits:
        for i in range(n):
            label = i % 2
            score = random.normal(label * 2.5)
            lines.append(f"{split}/{i}.jpg,{label},{score:.6f},{split}{i // 3},{split},{'swap' if label else ''}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_scores_of_another_tool_without_the_images(tmp_path):
    write_scores(tmp_path / "s.csv")
    assert evaluate(tmp_path, tmp_path / "out", "--scores", tmp_path / "s.csv", data=None) == 0
    whole = json.loads((tmp_path / "out" / "metrics.json").read_text())["rows"][0]
    assert whole["n_real"] == 450
    assert whole["baselines"]["metadata"]["auc"]["reason"] == "the image files are not at hand"
    assert whole["metrics"]["brier"]["reason"].startswith("scores are not probabilities")
    assert whole["verdicts"] is None
    assert whole["metrics"]["far@frr=0.01"]["low"] < whole["metrics"]["far@frr=0.01"]["value"]


def test_thresholds_are_carried_over_from_validation(tmp_path):
    write_scores(tmp_path / "s.csv")
    words = ("--scores", tmp_path / "s.csv", "--calibrate-on", "val")
    assert evaluate(tmp_path, tmp_path / "out", *words, data=None) == 0
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    verdicts = content["rows"][0]["verdicts"]
    assert verdicts["real"]["fake"]["rate"] < 0.04
    assert verdicts["fake"]["real"]["rate"] < 0.1
    assert verdicts["coverage"]["n"] == 900
    assert content["about"]["calibrated_on"] == {"split": "val", "n": 900}
    assert content["about"]["thresholds"]["fake_point"]["n"] == 450
    assert content["rows"][0]["metrics"]["ece"]["value"] < 0.1


@pytest.mark.parametrize("split, reported", [("test", "test"), ("test", "val"), ("val", "val")])
def test_choosing_on_test_or_on_what_is_reported_is_refused(split, reported, tmp_path, capsys):
    write_scores(tmp_path / "s.csv", n=20)
    words = ("--scores", tmp_path / "s.csv", "--calibrate-on", split, "--split", reported)
    assert evaluate(tmp_path, tmp_path / "out", *words, data=None) == 2
    assert "[select_on_test]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_scores_must_fit_the_manifest(dataset, tmp_path, capsys):
    rows = list(read_manifest(dataset / "data.csv"))
    lines = [f"{row.path},{row.label},0.5" for row in rows]
    (tmp_path / "few.csv").write_text("\n".join(["path,label,score", *lines[:-2]]) + "\n")
    assert evaluate(dataset, tmp_path / "a", "--scores", tmp_path / "few.csv") == 1
    assert f"no score for 2 of {2 * N} images" in capsys.readouterr().err
    lines[0] = f"{rows[0].path},1,0.5"
    (tmp_path / "other.csv").write_text("\n".join(["path,label,score", *lines]) + "\n")
    assert evaluate(dataset, tmp_path / "b", "--scores", tmp_path / "other.csv") == 1
    assert "1 labels disagree with the manifest" in capsys.readouterr().err


def test_selection_guard():
    from unmask.evaluation.selection import check_selectable

    check_selectable(["train", "val"], "a checkpoint")
    for splits in (["test"], ["val", "test"], [""], ["holdout"]):
        with pytest.raises(ConfigError) as caught:
            check_selectable(splits, "a checkpoint")
        assert caught.value.code == "select_on_test"
