"""The image-editing benchmark: its numbers against plain formulas, its draws, thresholds, files, and resuming."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from unmask.analysis.stability import make_plan
from unmask.cli.main import main
from unmask.core.errors import DataError
from unmask.core.types import Face
from unmask.data.faces import write_boxes
from unmask.data.manifest import Row, write_manifest
from unmask.evaluation import editing
from unmask.evaluation.editing import Calibration, Edited, calibration_rows, limit_rows
from unmask.evaluation.editing_tables import CLEAN, Tables, rate, worst
from unmask.evaluation.predictions import build
from unmask.evaluation.unfinished import UNFINISHED
from unmask.metrics.image import FRR_POINTS
from unmask.reports.editing_page import _short, crossed_figure, heat_figure

PLAN = make_plan(["jpeg", "noise", "crop"], (1, 5))


@pytest.fixture(scope="module")
def made() -> Edited:
    """200 images of 100 families with known scores; nothing is read or judged."""
    generator = np.random.default_rng(0)
    n, p = 200, len(PLAN)
    labels = np.arange(n) % 2
    kinds = [["", "splice"][y] if i < 120 else ["", "warp"][y] for i, y in enumerate(labels)]
    score = np.clip(0.35 + 0.3 * labels + generator.normal(0, 0.2, n), 0.01, 0.99)
    records = [
        {"path": f"/{i}.png", "label": int(labels[i]), "manipulation": kinds[i], "family": f"f{i // 2}",
         "group": f"f{i // 2}", "score": score[i], "logit": np.log(score[i] / (1 - score[i])),
         "verdict": "fake" if score[i] >= 0.6 else "uncertain",
         "status": "ok", "pixel_f1": 0.5 if labels[i] else None, "pixel_iou": 0.4 if labels[i] else None}
        for i in range(n)
    ]  # fmt: skip
    clean = build(records, {"name": "made", "thresholds": {"fake": 0.6, "real": None}})
    later = np.clip(score[:, None] + generator.normal(0, 0.1, (n, p)), 0.01, 0.99)
    verdicts = np.where(later >= 0.6, "fake", "uncertain").astype(object)
    verdicts[3, 5] = ""  # cropped away
    numbers = {
        "score": later, "logit": np.log(later / (1 - later)), "mask_iou": generator.random((n, p)),
        "pixel_f1": np.where(labels[:, None] == 1, 0.3, np.nan) * np.ones((n, p)),
        "pixel_iou": np.where(labels[:, None] == 1, 0.2, np.nan) * np.ones((n, p)),
        "false_alarm_area": np.where(labels[:, None] == 0, 0.01, np.nan) * np.ones((n, p)),
    }  # fmt: skip
    for values in numbers.values():
        values[3, 5] = np.nan
    return Edited(PLAN, clean, numbers, verdicts, [])


def test_benign_rows_are_the_plain_formulas(made: Edited) -> None:
    tables = Tables(made)
    rows = tables.benign()
    labels = made.clean["label"]
    assert [(r["edit"], r["severity"]) for r in rows] == list(PLAN)
    for k, row in enumerate(rows):
        there = made.verdicts[:, k] != ""
        s = made.numbers["score"][:, k]
        assert row["frr"]["value"] == pytest.approx((s[labels == 0] >= 0.6).mean())
        assert row["far"]["value"] == pytest.approx((s[(labels == 1) & there] < 0.6).mean())
        assert row["auc"]["value"] == pytest.approx(roc_auc_score(labels[there], made.numbers["logit"][there, k]))
        before = roc_auc_score(labels[there], made.clean["logit"][there])
        assert row["auc_change"]["value"] == pytest.approx(row["auc"]["value"] - before)
        assert row["pixel_f1"]["value"] == pytest.approx(0.3) and row["pixel_f1_change"]["value"] == pytest.approx(-0.2)
        assert row["survived"]["value"] == pytest.approx(
            (made.verdicts[there, k] == made.clean["verdict"][there]).mean()
        )
        for key in ("frr", "far", "auc", "survived"):
            assert row[key]["low"] <= row[key]["value"] <= row[key]["high"], key
        assert row["n_cut_away"] == int((~there).sum()) and row["n_real"] + row["n_fake"] == int(there.sum())
    found = worst(rows)
    assert found["frr"] is not None and found["frr"]["value"] == max(r["frr"]["value"] for r in rows)
    assert found["auc"] is not None and found["auc"]["value"] == min(r["auc"]["value"] for r in rows)
    by_edit = tables.by_edit(rows)
    assert [r["edit"] for r in by_edit] == ["jpeg", "noise", "crop"]
    assert by_edit[0]["worst"]["far"]["value"] == max(r["far"]["value"] for r in rows[:2])


def test_malicious_rows_oracle_and_carried_over(made: Edited) -> None:
    labels, logit = made.clean["label"], made.clean["logit"]
    cut = float(np.sort(logit[labels == 0])[-3])
    calibration = Calibration({0.05: cut}, {0.001: "unresolvable: few", 0.01: "unresolvable: few"}, {})
    tables = Tables(made, calibration)
    rows = tables.malicious()
    assert [r["manipulation"] for r in rows] == ["all fakes", "splice", "warp"]
    reals = np.sort(logit[labels == 0])
    for row in rows:
        which = (labels == 1) & (
            (made.clean["manipulation"] == row["manipulation"]) | (row["manipulation"] == "all fakes")
        )
        assert row["n_fake"] == which.sum() and row["n_real"] == 100
        assert row["oracle"]["0.05"]["value"] == pytest.approx((logit[which] <= reals[-6]).mean())  # 5 of 100 above
        for x in ("0.001", "0.01"):
            assert row["oracle"][x]["value"] is None and row["oracle"][x]["reason"].startswith("unresolvable")
            assert "calibration" in row["transferred"][x]["reason"]
        assert row["transferred"]["0.05"]["value"] == pytest.approx((logit[which] < cut).mean())
        assert row["far"]["value"] == pytest.approx((made.clean["score"][which] < 0.6).mean())
        assert row["oracle"]["0.05"]["low"] <= row["oracle"]["0.05"]["value"] <= row["oracle"]["0.05"]["high"]
    points = tables.operating_points()
    assert points[0]["frr"]["value"] == pytest.approx((made.clean["score"][labels == 0] >= 0.6).mean())
    assert points[-1]["aim"] == 0.05 and points[-1]["frr"]["value"] == pytest.approx((logit[labels == 0] >= cut).mean())
    crossed = tables.crossed()
    s = made.numbers["score"][(labels == 1) & (made.clean["manipulation"] == "warp")]
    assert crossed["warp"]["noise"]["far"] == pytest.approx((s[:, 2:4] < 0.6).mean(), abs=1e-6)
    which = (labels == 0) | (made.clean["manipulation"] == "warp")
    areas = [roc_auc_score(labels[which], made.numbers["logit"][which, k]) for k in (2, 3)]
    assert crossed["warp"]["noise"]["auc"] == pytest.approx(np.mean(areas), abs=1e-6)
    assert crossed["warp"][CLEAN]["auc"] == pytest.approx(rows[2]["auc"]["value"], abs=1e-6)
    assert list(crossed["splice"]) == [CLEAN, "jpeg", "noise", "crop"]


def test_stability_per_image_and_summarised(made: Edited) -> None:
    tables = Tables(made)
    images = tables.images()
    same = made.verdicts == made.clean["verdict"][:, None]
    assert images[0]["survived"] == pytest.approx(same[0].mean(), abs=1e-6) and images[0]["edits"] == len(PLAN)
    assert images[3]["survived"] == pytest.approx(same[3, :5].mean(), abs=1e-6) and images[3]["edits"] == len(PLAN) - 1
    scores = np.append(made.numbers["score"][7], made.clean["score"][7])
    assert images[7]["score_low"] == pytest.approx(scores.min(), abs=1e-6)
    assert images[7]["score_high"] == pytest.approx(scores.max(), abs=1e-6)
    rows = {row["images"]: row for row in tables.stability()}
    reals = [image for image in images if not image["label"]]
    assert rows["real"]["n"] == 100
    assert rows["real"]["survived"]["value"] == pytest.approx(np.mean([i["survived"] for i in reals]), abs=1e-6)
    assert rows["real"]["survives_all"]["value"] == pytest.approx(np.mean([i["survived"] == 1 for i in reals]))


def test_without_thresholds_nothing_is_invented(made: Edited) -> None:
    bare = Edited(made.plan, build([], {}), made.numbers, made.verdicts, [])
    bare.clean.columns.update(made.clean.columns)  # type: ignore[attr-defined]
    row = Tables(bare).benign()[0]
    assert row["frr"]["value"] is None and "no threshold" in row["frr"]["reason"]
    assert row["survived"]["value"] is None and row["auc"]["value"] is not None


def test_a_rate_of_nothing_has_the_exact_limit_of_its_families() -> None:
    groups = [f"g{i // 10}" for i in range(100)]
    found = rate(np.zeros(100), groups, 0)
    assert (found.value, found.low) == (0, 0) and found.high == pytest.approx(1 - 0.025 ** (1 / 10))
    assert rate(np.full(3, np.nan), ["a", "b", "c"], 0).reason


def test_limit_takes_whole_families_and_is_the_same_for_any_order() -> None:
    rows = [Row(f"/{i}.png", i % 2, group=f"g{i // 4}") for i in range(40)]
    chosen = limit_rows(rows, 10, 1)
    assert len(chosen) == 8 and len({r.group for r in chosen}) == 2
    assert {r.path for r in limit_rows(rows[::-1], 10, 1)} == {r.path for r in chosen}
    assert len(limit_rows(rows, 1, 0)) == 4


def test_calibration_data_may_not_know_the_reported_images() -> None:
    reported = [Row("/a.png", 0, group="ann", split="test"), Row("/b.png", 1, group="bob", split="test")]
    good = [Row("/c.png", 0, group="cat", split="val"), Row("/d.png", 0, group="dan", split="train")]
    assert calibration_rows([*good, *reported], reported) == good[:1]
    assert calibration_rows([Row("/c.png", 0, group="cat")], reported)[0].path == "/c.png"
    with pytest.raises(DataError, match="reported on"):
        calibration_rows([Row("/e.png", 0, group="ann", split="val")], reported)
    with pytest.raises(DataError, match="no row has split"):
        calibration_rows(reported, [])


def test_figures_draw_what_there_is(made: Edited) -> None:
    tables = Tables(made)
    for picture in (heat_figure(tables.clean(), tables.benign()), crossed_figure(tables.crossed())):
        assert picture is not None and picture.png[:4] == b"\x89PNG"
    assert crossed_figure({}) is None
    assert [_short(v) for v in (0.0, 1.0, 0.5, -0.1)] == ["0", "1.0", ".50", "-.10"]


# ---- the whole way, with untrained weights ----------------------------------------------------------------

N = 4


@pytest.fixture(scope="module")
def data(portrait_pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """N photos with a fake of each (a black square), and a broken file."""
    folder = tmp_path_factory.mktemp("editing")
    rows, boxes = [Row(str(folder / "broken.png"), 0)], {}
    (folder / "broken.png").write_bytes(b"no image")
    for i in range(N):
        photo = np.roll(portrait_pixels, 3 * i, 1)[:200, :220].copy()
        real, fake, mask = (folder / f"{name}{i}.png" for name in ("real", "fake", "mask"))
        Image.fromarray(photo).save(real)
        photo[80:120, 100:140] = 0
        Image.fromarray(photo).save(fake)
        truth = np.zeros(photo.shape[:2], np.uint8)
        truth[80:120, 100:140] = 255
        Image.fromarray(truth).save(mask)
        rows.append(Row(str(real), 0, group=f"p{i}"))
        rows.append(Row(str(fake), 1, mask=str(mask), pair=str(real), group=f"p{i}", manipulation="square"))
        for path in (real, fake):
            boxes[str(path)] = [Face((95.0, 60.0, 160.0, 150.0))]
    write_manifest(folder / "data.csv", rows)
    write_boxes(folder / "boxes.csv", boxes)
    return folder


def words(data: Path, weights: Path, out: Path, *extra: str) -> list[str]:
    return ["evaluate", str(weights / "edited.safetensors"), "--data", str(data / "data.csv"), "--boxes",
            str(data / "boxes.csv"), "--out", str(out), "--device", "cpu", "--editing",
            "--edits", "noise", "crop", "--severities", "1", "5", *extra]  # fmt: skip


@pytest.fixture(scope="module")
def whole(data: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert main(words(data, tiny_weights, out)) == 1  # the broken file
    return out


def content(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "editing.json").read_text())
    del found["about"]["command"]
    return found


def test_everything_is_written_and_says_what_was_measured(whole: Path) -> None:
    assert sorted(p.name for p in whole.iterdir()) == [
        "editing.csv",
        "editing.json",
        "figures",
        "report.html",
        "stability.csv",
    ]
    found = content(whole)
    assert found["about"]["edits"] == [[n, s] for n in ("noise", "crop") for s in (1, 5)]
    assert [e["code"] for e in found["errors"]] == ["not_an_image"]
    assert found["clean"]["n_real"] == found["clean"]["n_fake"] == N and len(found["benign"]) == 4
    assert found["malicious"][1]["manipulation"] == "square"
    assert found["malicious"][1]["oracle"]["0.05"]["reason"].startswith("unresolvable: 4 reals")
    with (whole / "stability.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * N
    with (whole / "editing.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {"benign", "malicious"} == {line["half"] for line in lines}
    page = (whole / "report.html").read_text()
    assert 'src="data:image/png' in page and "http" not in page.replace("http-equiv", "")


def test_real_and_fake_are_edited_with_the_same_draws(
    data: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, list[str]] = {}
    real = editing.edited_answers

    def spy(bench: Any, clean: Any, plan: Any, *, key: str, seed: int) -> Any:
        drawn.setdefault(key, []).append(clean.decoded.sha256)
        return real(bench, clean, plan, key=key, seed=seed)

    monkeypatch.setattr(editing, "edited_answers", spy)
    main(words(data, tiny_weights, tmp_path / "out", "--limit", "5"))
    assert sorted(map(len, drawn.values())) == [2, 2] and all(k.startswith("real") for k in drawn)


def test_stopped_and_resumed_gives_the_same(
    data: Path, tiny_weights: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out, calls = tmp_path / "out", 0
    real = editing.judge

    def judge(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(editing, "judge", judge)
        assert main(words(data, tiny_weights, out)) == 130
    assert [p.name for p in out.iterdir()] == [UNFINISHED] and "goes on from there" in capsys.readouterr().err
    assert main([*words(data, tiny_weights, out), "--seed", "1"]) == 2
    assert "other_settings" in capsys.readouterr().err
    assert main(words(data, tiny_weights, out)) == 1
    ours, theirs = content(out), content(whole)
    assert ours["benign"] == theirs["benign"] and ours["stability"] == theirs["stability"]
    assert (out / "stability.csv").read_bytes() == (whole / "stability.csv").read_bytes()


def test_thresholds_are_carried_over_from_other_people(
    data: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(editing, "unresolvable", lambda n, x: "" if x == 0.05 else f"unresolvable: {n}")
    rows = []
    for i in range(2):
        photo = np.asarray(Image.open(data / f"real{i}.png"))[::-1]
        Image.fromarray(photo).save(tmp_path / f"other{i}.png")
        rows.append(Row(str(tmp_path / f"other{i}.png"), 0, group=f"other{i}", split="val"))
    write_manifest(tmp_path / "others.csv", rows)
    extra = ("--limit", "5", "--calibration", str(tmp_path / "others.csv"))
    assert main(words(data, tiny_weights, tmp_path / "out", *extra)) in (0, 1)  # the broken file may be drawn
    found = content(tmp_path / "out")
    assert found["calibration"]["n_real"] == 2 and found["calibration"]["n_families"] == 2
    assert found["operating_points"][-1]["aim"] == FRR_POINTS[-1]
    assert found["malicious"][0]["transferred"]["0.05"]["value"] is not None
    assert "carried" in capsys.readouterr().out
    assert main(words(data, tiny_weights, tmp_path / "leak", "--calibration", str(data / "data.csv"))) == 1
    assert "[leak]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["--edits", "nois"], "did you mean 'noise'"),
        (["--severities", "6"], "1 to 5"),
        (["--limit", "0"], "--limit"),
        (["--calibrate-on", "val"], "--calibration SOURCE"),
    ],
)
def test_wrong_usage_is_told(
    data: Path, tiny_weights: Path, tmp_path: Path, capsys: Any, change: list[str], told: str
) -> None:
    assert main(words(data, tiny_weights, tmp_path / "out", *change)) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_its_options_mean_nothing_without_it(data: Path, tmp_path: Path, capsys: Any) -> None:
    command = ["evaluate", "default", "--data", str(data / "data.csv"), "--out", str(tmp_path / "o"), "--limit", "3"]
    assert main(command) == 2
    assert "--limit goes with --editing" in capsys.readouterr().err
