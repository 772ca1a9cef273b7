from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unmask.analysis.analyzer import Analyzer, load_analyzer
from unmask.core.errors import DataError
from unmask.core.verdict import Scores, Thresholds, Verdict, VerdictName
from unmask.data.intake import decode
from unmask.reports import verdict_report
from unmask.reports.maps import pixel_maps
from unmask.reports.verdict_page import overlay_pixels, scope
from unmask.reports.verdict_report import VerdictReport, write_mask

ATTACK = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


class Tags(HTMLParser):
    """Collects every tag and every attribute that could make a browser fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
                self.addresses.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
            if name == "id":
                self.ids.append(value or "")


def parse(page: Path) -> Tags:
    tags = Tags()
    tags.feed(page.read_text(encoding="utf-8"))
    return tags


@pytest.fixture(scope="module")
def pair(tiny_weights: Path) -> Analyzer:
    return load_analyzer(tiny_weights / "pair.json", device="cpu")


def report_on(pair: Analyzer, folder: Path, paths: list[Path]) -> Path:
    bench = pair.bench
    report = VerdictReport(folder, bench.members, bench.name, bench.thresholds, bench.weights_sha256)
    for verdict, evidence in pair.examine(paths):
        report.add(verdict, evidence)
    report.close()
    return report.page


@pytest.fixture(scope="module")
def hostile(pair: Analyzer, portrait: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page on a file whose name and EXIF hold HTML, and on a broken one."""
    folder = tmp_path_factory.mktemp("hostile")
    exif = Image.Exif()
    exif[0x010E] = ATTACK  # ImageDescription
    exif[0x010F] = "Maker & <b>Sons</b>"
    path = folder / (ATTACK.replace("/", "") + ".jpg")
    Image.open(portrait).save(path, quality=90, exif=exif)
    broken = folder / "<i>broken.jpg"
    broken.write_text("x")
    return report_on(pair, folder / "out", [path, broken])


def test_the_page_asks_nobody_for_anything(hostile: Path) -> None:
    tags = parse(hostile)
    outside = [a for a in tags.addresses if not a.startswith(("data:image/", "#"))]
    assert not outside
    assert not {"link", "iframe", "object", "embed", "base", "form"} & set(tags.tags)
    text = hostile.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.findall(r"url\(|@import|https?://(?!www\.w3\.org/)", text)


def test_html_in_names_and_metadata_stays_text(hostile: Path) -> None:
    tags = parse(hostile)
    assert tags.tags.count("script") == 1 and not tags.handlers
    assert "b" in tags.tags and "i" not in tags.tags
    text = hostile.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(2)" in text and "Maker &amp; &lt;b&gt;Sons" in text
    assert len(tags.ids) == len(set(tags.ids))


def test_the_page_holds_the_evidence(hostile: Path, pair: Analyzer) -> None:
    text = hostile.read_text(encoding="utf-8")
    for word in (
        "JPEG quality", "about 90", "quantisation tables", "SHA-256", "Neighbour residual", "Wavelet detail",
        "Spectrum", "How to read a verdict", "not proof", "not_an_image", 'type="range"', "unmask train edited",
    ):  # fmt: skip
        assert word in text, word
    assert all(member.sha256 in text for member in pair.members)
    assert "polyline" in parse(hostile).tags


def test_details_are_bounded_and_the_most_suspicious_get_them(
    pair: Analyzer, portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict_report, "DETAILS", 2)
    monkeypatch.setattr(verdict_report, "ROWS", 4)
    paths = []
    for i in range(5):
        paths.append(tmp_path / f"{i}.png")
        Image.open(portrait).rotate(3 * i).save(paths[-1])
    page = report_on(pair, tmp_path / "out", paths)
    scores = [verdict.score or 0.0 for verdict in pair.stream(paths)]
    best = sorted(sorted(range(5), key=lambda i: (-scores[i], i))[:2])
    text = page.read_text(encoding="utf-8")
    assert [int(n) - 1 for n in re.findall(r'class="file" id="file-(\d+)"', text)] == best
    assert "1 more files stand in report.jsonl" in text and "2 files with the highest scores" in text
    assert len((tmp_path / "out" / "report.jsonl").read_text().splitlines()) == 5


def test_an_earlier_report_is_replaced_whole(pair: Analyzer, portrait: Path, tmp_path: Path) -> None:
    report_on(pair, tmp_path / "out", [portrait, portrait])
    report_on(pair, tmp_path / "out", [portrait])
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 1
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(DataError) as caught:
        report_on(pair, tmp_path / "out", [portrait])
    assert caught.value.code == "not_empty" and "notes.txt" in caught.value.message


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_lies_on_the_stored_pixels(orientation: int, tmp_path: Path) -> None:
    """A bright corner of the stored picture and its mask, found upright and written back, are at the same place."""
    stored = np.zeros((40, 64, 3), np.uint8)
    stored[2:10, 50:60] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    decoded = decode(tmp_path / "a.png")
    write_mask(tmp_path / "m.png", decoded.pixels[..., 0] > 127, decoded.orientation)
    assert (np.asarray(Image.open(tmp_path / "m.png")) == stored[..., 0]).all()


def test_the_overlay_shows_the_cut_mask() -> None:
    heat = np.zeros((20, 20), np.float32)
    heat[5:15, 5:15] = 0.9
    rgba = overlay_pixels(heat, 0.5)
    assert (rgba[..., 3] == 0)[heat == 0].all() and (rgba[..., 3] > 100)[heat > 0].all()
    assert (rgba[5, 5:15] == (255, 214, 10, 255)).all() and tuple(rgba[10, 10, :3]) == (214, 32, 96)


def test_maps_show_what_their_captions_say() -> None:
    rng = np.random.default_rng(0)
    smooth = np.full((64, 64, 3), 120, np.uint8)
    noisy = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for quiet, loud in zip(pixel_maps(smooth), pixel_maps(noisy), strict=True):
        assert quiet.values.min() >= 0 and loud.values.max() <= 1 and quiet.title == loud.title
        assert (
            np.abs(loud.values - np.median(loud.values)).mean() > np.abs(quiet.values - np.median(quiet.values)).mean()
        )
    grid = smooth.copy()
    grid[::4] = 140  # a line every fourth row: energy at a quarter of the sampling rate
    spectrum = pixel_maps(grid)[-1].values
    assert spectrum[32 - 16, 32] > np.percentile(spectrum, 99)


def test_a_folder_that_goes_away_is_a_typed_error(pair: Analyzer, portrait: Path, tmp_path: Path) -> None:
    bench = pair.bench
    report = VerdictReport(tmp_path / "out", bench.members, bench.name, bench.thresholds, bench.weights_sha256)
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").write_text("a file in its place")
    with pytest.raises(DataError) as caught:
        report.add(*next(pair.examine([portrait])))
    assert caught.value.code == "not_writable"


@pytest.mark.parametrize(
    ("verdict", "edited", "generated", "said"),
    [
        ("real", 0.1, None, "as to edits"),
        ("real", None, 0.1, "as to generation"),
        ("real", 0.1, 0.1, ""),
        ("real", None, None, ""),
        ("uncertain", 0.5, None, ""),
        ("fake", 0.9, None, "edited"),
    ],
)
def test_a_real_says_which_question_it_leaves_open(
    verdict: VerdictName, edited: float | None, generated: float | None, said: str
) -> None:
    told = Verdict(
        "a.jpg", None, "ok", verdict, "edited" if verdict == "fake" else None, 0.5, Scores(edited, generated),
        Thresholds(), (), "x", "", (),
    )  # fmt: skip
    assert scope(told) == said
