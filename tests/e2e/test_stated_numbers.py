"""The shipped weights' numbers are the same wherever they are stated; the tables of the model card are measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CARD = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
PAGES = ("auranet.md", "clmf.md", "detectors.md")
"""Pages that set the shipped weights beside other detectors."""


def cells(line: str) -> list[str]:
    return [cell.strip().replace("*", "") for cell in line.strip().strip("|").split("|")]


def measured(name: str, row: str) -> list[str]:
    """Cells of a row of the card's table for a development set."""
    table = CARD.split(f"\n**{name}**: ")[1].split("\n\n**")[0]
    return next(found for line in table.splitlines() if (found := cells(line))[0] == row)


def stated() -> dict[str, dict[str, str]]:
    """AUC with its interval, pixel F1 / IoU / AUC, counts of verdicts of the edits of each development set."""
    found = {}
    for name in ("fixtures-local", "people", "ffhq", "events", "people-unseen", "events-unseen", "ffhq-unseen"):
        row = "all images" if "-" in name else "edits only"
        _, _, auc, *_, f1, iou, pixel, reals, fakes, _ = measured(name, row)
        found[name] = {"auc": auc, "mask": f"{f1} / {iou} / {pixel}"}
        found[name] |= {"reals": reals.replace("/", " of "), "fakes": fakes.replace("/", " of ")}
    return found


def test_the_cards_summary_is_that_of_its_tables() -> None:
    heads = {
        "events": "| `events`",
        "people": "| `people`",
        "fixtures-local": "| `fixtures_pd_cc0` local edits",
        "ffhq": "| `ffhq`:",
        "people-unseen": "| unseen kinds, `people`",
        "events-unseen": "| unseen kinds, `events`",
        "ffhq-unseen": "| unseen kinds, `ffhq`",
    }
    for name, numbers in stated().items():
        line = next(line for line in CARD.splitlines() if line.startswith(heads[name]))
        assert cells(line)[1:5] == list(numbers.values()), name


def test_the_readme_states_what_the_card_measured() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    people, ffhq = stated()["people"], stated()["ffhq"]
    f1, _, pixel = people["mask"].split(" / ")
    assert f"image AUC {people['auc']}, mask F1 {f1}, pixel AUC {pixel}" in readme
    assert people["reals"].startswith("0 of ") and "no real photo was called `fake`" in readme
    assert f"{people['fakes']} edits were" in readme and f"FFHQ, {ffhq['auc']}" in readme
    events = stated()["events"]
    assert events["reals"] == "1 of 186" and re.search(
        r"Of 186 further genuine images .*, one was called `fake`", readme
    )
    assert f"{events['fakes']}, AUC {events['auc']}" in readme
    unseen = [stated()[f"{name}-unseen"]["auc"].split(" ")[0] for name in ("people", "events", "ffhq")]
    assert "{} on those twenty people, {} on the further photos, {} on FFHQ".format(*unseen) in readme
    standing = next(found for line in CARD.splitlines() if (found := cells(line))[0] == "people" and len(found) == 7)
    assert (
        standing[3] == "0 of 30"
        and f"{standing[4].replace('of', 'of the')} edits and none of the real photos" in readme
    )
    genuine = measured("ffhq-sd3", "ffhq_real")[-3].replace("/", " of ")
    assert f"{genuine} genuine photos called `fake`" in readme


@pytest.mark.parametrize("page", PAGES)
def test_other_pages_compare_with_the_same_numbers(page: str) -> None:
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    rows = [cells(line)[1:] for line in lines if re.match(r"\| \[?shipped `edited`", line)]
    edits = []
    for name in ("fixtures-local", "people", "ffhq"):
        numbers = stated()[name]
        f1, iou, _ = numbers["mask"].split(" / ")
        edits += [numbers["auc"], f"{f1} / {iou}" if " / " in rows[0][1] else f1]
    generated = [
        measured(name, "all images")[2] for name in ("fixtures-generated", "ffhq-sd3", "ffhq-tpdne", "ffhq-nvlabs")
    ]
    assert rows == [edits, generated][: len(rows)]
    assert len(rows) == 1 + (page == "detectors.md")
