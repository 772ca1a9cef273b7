"""The whole feature study on tables whose answers are planted."""

from __future__ import annotations

import csv
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from tables import degraded, gaussian, table, without

from unmask.cli.main import main
from unmask.core.errors import ConfigError, DataError
from unmask.features.table import FeatureTable, write_features
from unmask.studies.feature_models import CHOSEN, fit_models
from unmask.studies.feature_rows import FOLDS, join_tables, study_rows
from unmask.studies.feature_study import study_features


@pytest.fixture(scope="module")
def planted() -> FeatureTable:
    """``strong`` (d' = 1.5 in one of four columns), its copy ``twin``, ``weak`` (d' = 0.6), ``noise`` of two widths."""
    makers = {
        "noise": gaussian(0.0, 3),
        "weak": gaussian(0.6),
        "twin": gaussian(0.0, 4),
        "strong": gaussian(1.5, 4),
        "wide": gaussian(0.0, 300),
    }
    found = table(makers, people=75, cost={"noise": 0.1, "weak": 1.0, "twin": 30.0, "strong": 3.0, "wide": 9.0})
    values = dict(found.values)
    values["twin"] = values["strong"] * -2.0 + 5.0
    return FeatureTable(found.rows, values, found.status, found.columns, found.about)


@pytest.fixture(scope="module")
def study(planted: FeatureTable) -> dict:
    """With a degradation ``fog`` whose severity 2 removes what ``strong`` and ``twin`` know."""
    random = np.random.default_rng(5)
    size = planted.values["strong"].shape
    lost = {name: random.normal(size=size) for name in ("strong", "twin")}
    rows = [
        degraded(planted, "fog", 1, {"strong": planted.values["strong"] + 0.3 * random.normal(size=size)}),
        degraded(planted, "fog", 2, lost),
    ]
    people = table(
        {"noise": gaussian(0, 3), "weak": gaussian(0.6), "twin": gaussian(0, 4), "strong": gaussian(1.5, 4)},
        people=40, start=9000, seed=9, split="test",
    )  # fmt: skip
    return study_features(study_rows([planted, *rows]), test=people)


def line(study: dict, name: str) -> dict:
    return next(found for found in study["features"] if found["name"] == name)


def test_the_planted_feature_ranks_first_with_the_auc_of_theory(study: dict) -> None:
    assert {found["name"] for found in study["features"][:2]} == {"strong", "twin"}
    assert study["features"][2]["name"] == "weak"
    for name, d in (("strong", 1.5), ("weak", 0.6)):
        area = line(study, name)["metrics"]["auc"]
        assert area["value"] == pytest.approx(norm.cdf(d / 2**0.5), abs=0.05)
        assert area["low"] < norm.cdf(d / 2**0.5) < area["high"]
    assert line(study, "strong")["metrics"]["pair_order"]["value"] == pytest.approx(0.856, abs=0.06)
    assert line(study, "strong")["metrics"]["ap"]["value"] > 0.75


def test_noise_is_not_told_from_chance(study: dict) -> None:
    for name in ("noise", "wide"):
        area = line(study, name)["metrics"]["auc"]
        assert area["low"] < 0.5 < area["high"]
        assert abs(line(study, name)["permutation"]["drop"]) < 0.01
        assert line(study, name)["label_information"] < 0.08


def test_a_copy_is_redundant(study: dict) -> None:
    found = study["redundancy"]
    first, second, noise = (found["names"].index(name) for name in ("strong", "twin", "noise"))
    for kind in ("spearman", "spearman_within_class", "normalised_information"):
        assert found[kind][first][second] > 0.99
        assert abs(found[kind][first][noise]) < 0.2
    for name in ("strong", "twin"):
        gap = line(study, name)["leave_one_out"]
        assert abs(gap["difference"]) < 0.005 and gap["low"] <= 0.0 <= gap["high"] + 1e-3
        assert line(study, name)["permutation"]["drop"] > 0.03
    assert line(study, "weak")["leave_one_out"]["difference"] > 0.005


def test_the_choice_is_the_cheap_copy_and_what_adds_to_it(study: dict) -> None:
    chosen = study["joint"]["chosen"]
    assert {"strong", "weak"} <= set(chosen["features"]) and "twin" not in chosen["features"]
    assert chosen["cost_ms"] < study["joint"]["all features"]["cost_ms"] / 3
    assert study["shown"]
    expected = norm.cdf((1.5**2 + 0.6**2) ** 0.5 / 2**0.5)
    assert chosen["metrics"]["auc"]["value"] == pytest.approx(expected, abs=0.04)
    paths = study["selection"]["paths"]
    assert [step["step"] for step in paths["gain"]] == list(range(6))
    assert paths["gain"][-1]["auc"]["value"] == study["joint"]["all features"]["metrics"]["auc"]["value"]
    assert paths["gain per ms"][1]["added"] != "twin"
    front = study["selection"]["front"]
    assert all(a["cost_ms_by_fold"] <= b["cost_ms_by_fold"] for a, b in itertools.pairwise(front))
    assert all(a["auc"]["value"] < b["auc"]["value"] for a, b in itertools.pairwise(front))


def test_survival_dies_where_the_signal_is_removed(study: dict) -> None:
    curves = {curve["scorer"]: curve for curve in study["survival"]}
    assert curves["strong"]["dies_at"] == 2 and curves["strong"]["words"] == "dies at severity 2"
    cells = curves["strong"]["cells"]
    assert [cell["severity"] for cell in cells] == [0, 1, 2]
    assert cells[0]["auc"]["value"] == line(study, "strong")["metrics"]["auc"]["value"]
    expected = norm.cdf(1.5 / (1 + 0.3**2) ** 0.5 / 2**0.5)
    assert cells[1]["auc"]["value"] == pytest.approx(expected, abs=0.05)
    assert curves["weak"]["dies_at"] is None and curves["weak"]["words"] == "survives severity 2"
    assert curves["noise"]["words"] == "not alive on these images as they are"
    assert {"all features", "chosen"} <= set(curves)


def test_other_people_are_measured_with_the_finished_models(study: dict) -> None:
    test = study["test"]
    assert (test["families"], test["n_real"], test["n_fake"], test["relatives_left_out"]) == (40, 80, 80, 0)
    area = test["scorers"]["strong"]["metrics"]["auc"]
    assert area["low"] < norm.cdf(1.5 / 2**0.5) < area["high"]
    assert test["scorers"]["wide"]["coverage"]["all"] == 0.0  # this table lacks it
    assert test["scorers"]["wide"]["metrics"]["auc"]["reason"] == "no image has a value"
    assert test["scorers"]["chosen"]["coverage"]["all"] == 1.0
    assert test["scorers"]["all features"]["coverage"]["all"] == 0.0  # cannot be told without measuring it


def test_selection_among_noise_promises_nothing() -> None:
    """Searched on the images it is measured on, the best of many noise features looks good; nested it does not."""
    areas, seen = [], []
    for seed in range(5):
        data = study_rows([table({f"n{i}": gaussian(0.0) for i in range(8)}, people=40, seed=seed)])
        models = fit_models(data, strengths=(1.0,))
        areas.append(roc_auc_score(data.labels, models.out_of_fold()[CHOSEN]))
        seen.append(max(step.auc for step in models.final.paths["gain"]))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.04)  # one of them has a standard error of about 0.045
    assert np.mean(seen) > 0.53


def test_a_study_of_noise_says_so() -> None:
    found = study_features(study_rows([table({f"n{i}": gaussian(0.0) for i in range(3)})]), strengths=(1.0,))
    assert not found["shown"]


def test_missing_values_count_as_missing(planted: FeatureTable) -> None:
    which = np.arange(len(planted)) % 5 == 0
    found = study_features(study_rows([without(planted, "strong", which)], features=["strong", "weak"]))
    strong = line(found, "strong")
    assert strong["coverage"]["all"] == pytest.approx(0.8)
    assert strong["status"] == {"no_face": 60, "ok": 240}
    assert strong["metrics"]["auc"]["value"] == pytest.approx(norm.cdf(1.5 / 2**0.5), abs=0.05)
    assert found["joint"]["all features"]["metrics"]["auc"]["value"] > 0.8
    absent = without(planted, "weak", which | True)
    absent.about["cost_ms"].pop("weak")  # nothing was measured, so nothing was timed
    data = study_rows([absent], features=["strong", "weak"])
    assert data.cost_known and data.costs(range(2)) == 3.0
    nowhere = study_features(data)
    assert line(nowhere, "weak")["metrics"]["auc"] == {
        "value": None, "low": None, "high": None, "reason": "no image has a value",
    }  # fmt: skip


def test_families_never_cross_folds(planted: FeatureTable) -> None:
    rows = {name: column.copy() for name, column in planted.rows.items()}
    rows["group"][:] = ""  # pairs alone hold a photo and its fake together
    rows["sha256"][[0, 50]] = "a" * 64  # and one photo is a copy of another
    data = study_rows([FeatureTable(rows, planted.values, planted.status, planted.columns, planted.about)])
    fold = data.fold
    assert (fold[::2] == fold[1::2]).all() and fold[0] == fold[50]
    assert len(set(fold.tolist())) == FOLDS


def test_what_cannot_be_studied_is_refused(planted: FeatureTable) -> None:
    def refused(code: str, found: FeatureTable, **options: object) -> None:
        with pytest.raises((ConfigError, DataError)) as caught:
            study_rows([found], **options)  # type: ignore[arg-type]
        assert caught.value.code == code

    def changed(**columns: object) -> FeatureTable:
        rows = {n: np.full(len(planted), columns[n], c.dtype) if n in columns else c for n, c in planted.rows.items()}
        return FeatureTable(rows, planted.values, planted.status, planted.columns, planted.about)

    refused("one_class", planted.take(planted.rows["label"] == 1))
    refused("one_class", degraded(planted, "fog", 1, {}))
    refused("no_groups", changed(group="", pair=""))
    refused("bad_folds", planted.take(np.arange(len(planted)) < 12))
    refused("bad_folds", changed(group="one"))
    refused("bad_config", planted, count=2)
    refused("bad_config", planted, fakes=["swop"])
    refused("unknown_feature", planted, features=["strnog"])
    refused("select_on_test", changed(split="test"))
    other = FeatureTable(planted.rows, planted.values, planted.status, planted.columns, {"versions": {"weak": 2}})
    with pytest.raises(DataError, match="another version"):
        join_tables([planted, other])
    with pytest.raises(DataError, match="no image of a family"):
        study_features(study_rows([planted], features=["weak"]), test=planted)
    assert len(join_tables([planted, planted])) == len(planted)


def test_the_command(
    planted: FeatureTable, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = tmp_path / "val <b>.parquet", tmp_path / "study"
    write_features(file, planted)
    words = ["features", "study", str(file), "--features", "strong", "weak", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["unmask", *words])
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "strong" in printed and "chosen: " in printed and str(out / "report.html") in printed
    assert {p.name for p in out.iterdir()} == {
        "study.json", "report.html", "features.csv", "manipulations.csv", "selection.csv", "redundancy.csv",
    }  # fmt: skip
    content = json.loads((out / "study.json").read_text())
    assert content["about"]["command"].startswith("unmask features study ") and "sha256" in content["about"]["files"]
    with (out / "features.csv").open() as lines:
        table = list(csv.DictReader(lines))
    assert [row["name"] for row in table] == [found["name"] for found in content["features"]]
    assert float(table[0]["auc"]) == content["features"][0]["metrics"]["auc"]["value"]
    page = (out / "report.html").read_text()
    assert page.count("data:image/png") == 5 and "<b>.parquet" not in page and "val &lt;b&gt;" in page
    assert not re.search(r"(src|href)=.http", page)
    assert main(words) == 1  # the folder is taken
    assert "not an empty folder" in capsys.readouterr().err
    second = study_features(study_rows([planted], features=["strong", "weak"]))  # the same numbers from the same seed
    assert second["features"] == content["features"] and second["selection"] == content["selection"]


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "study", str(tmp_path / "none.parquet"), "--out", str(tmp_path / "o")]) == 1
    assert "error [not_found]" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "feature_study.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<!-- runs -->\n```python\n(.*?)```", text, re.DOTALL)
    exec(compile(block, "feature_study.md", "exec"), {})
    assert capsys.readouterr().out == "['trace', 'noise'] ['trace']\n"
