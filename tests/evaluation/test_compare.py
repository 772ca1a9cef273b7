"""``unmask compare``: joined by path, tested in pairs."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from unmask.cli.main import main
from unmask.core.errors import DataError
from unmask.evaluation.compare import compare, holm


def write(path, scores, labels, names=None, groups=True):
    names = names or [f"{i}.jpg" for i in range(len(scores))]
    head = "path,label,score" + (",group" if groups else "")
    rows = [
        f"{n},{y},{s}" + (f",g{i // 2}" if groups else "")
        for i, (n, y, s) in enumerate(zip(names, labels, scores, strict=True))
    ]
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    labels = np.arange(200) % 2
    truth = random.normal(size=200)
    squash = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    return labels, squash(2 * labels + truth - 1), squash(labels + truth - 0.5 + random.normal(size=200))


def test_numbers(data, tmp_path, capsys):
    labels, good, poor = data
    a, b = write(tmp_path / "good.csv", good, labels), write(tmp_path / "poor.csv", poor, labels)
    assert main(["compare", str(a), str(b), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    [pair] = found["pairs"]
    difference = roc_auc_score(labels, good) - roc_auc_score(labels, poor)
    assert pair["bootstrap"]["difference"] == pytest.approx(difference)
    assert pair["delong"]["difference"] == pytest.approx(difference)
    assert pair["bootstrap"]["p"] < 0.05
    assert (found["n_groups"], found["unit"]) == (100, "group")
    right = [((s >= 0.5) == labels) for s in (good, poor)]
    assert pair["mcnemar_half"]["only_first"] == int((right[0] & ~right[1]).sum())
    assert pair["mcnemar_thresholds"] is None


def test_order_of_rows_does_not_matter(data, tmp_path):
    labels, good, poor = data
    names = [f"{i}.jpg" for i in range(200)]
    order = np.random.default_rng(1).permutation(200)
    a = write(tmp_path / "a.csv", good, labels)
    straight = compare([a, write(tmp_path / "b.csv", poor, labels)])
    mixed = compare([a, write(tmp_path / "c.csv", poor[order], labels[order], [names[i] for i in order], groups=False)])
    assert straight["pairs"][0]["bootstrap"] == mixed["pairs"][0]["bootstrap"]


def test_other_images_are_an_error(data, tmp_path, capsys):
    labels, good, poor = data
    a = write(tmp_path / "a.csv", good, labels)
    names = [f"{i}.jpg" if i < 198 else f"other{i}.jpg" for i in range(200)]
    b = write(tmp_path / "b.csv", poor, labels, names)
    assert main(["compare", str(a), str(b)]) == 1
    error = capsys.readouterr().err
    assert "2 only in a (198.jpg, 199.jpg)" in error
    assert "2 only in b (other198.jpg, other199.jpg)" in error
    c = write(tmp_path / "c.csv", poor, [1 - labels[0], *labels[1:]])
    with pytest.raises(DataError, match=r"1 images have other labels in c than in a, first 0\.jpg"):
        compare([a, c])


def test_images_without_a_score_are_left_out_everywhere(data, tmp_path):
    labels, good, poor = data
    a = write(tmp_path / "a.csv", ["" if i < 4 else s for i, s in enumerate(good)], labels)
    found = compare([a, write(tmp_path / "b.csv", poor, labels)])
    assert found["n_unscored"] == 4
    assert found["files"][1]["auc"]["value"] == pytest.approx(roc_auc_score(labels[4:], poor[4:]))


def test_report_and_table(data, tmp_path, capsys):
    labels, good, poor = data
    files = [write(tmp_path / f"{n}.csv", s, labels) for n, s in (("<b>a", good), ("b", poor), ("c", good))]
    assert main(["compare", *map(str, files), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "<b>a against b: <b>a orders better" in shown
    assert "<b>a against c: no difference shown" in shown
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "<b>a" not in page
    assert len(json.loads((tmp_path / "out" / "compare.json").read_text())["pairs"]) == 3
    assert main(["compare", *map(str, files), "--out", str(tmp_path / "out")]) == 1


def test_wrong_usage(data, tmp_path, capsys):
    labels, good, _ = data
    a = write(tmp_path / "a.csv", good, labels)
    assert main(["compare", str(a)]) == 2
    assert main(["compare", str(a), str(a)]) == 2
    b = write(tmp_path / "b.csv", good, np.ones(200, int))
    c = write(tmp_path / "c.csv", good, np.ones(200, int))
    assert main(["compare", str(b), str(c)]) == 1
    assert "0 real" in capsys.readouterr().err


def test_holm_equals_statsmodels():
    values = [0.01, 0.2, 0.03, 0.004, 0.9]
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1])
