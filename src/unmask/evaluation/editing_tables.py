"""The numbers of the image-editing benchmark: per benign edit and severity, per malicious edit, and per image.

Intervals are 95 % and resample whole families. A rate that is 0 or 1 shows no spread under resampling: its limit is the
exact one (Clopper-Pearson) for as many images as there are families.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.evaluation.editing import Calibration, Edited
from unmask.evaluation.predictions import PIXEL
from unmask.metrics.bootstrap import bootstrap_auc, bootstrap_image, bootstrap_means, interval
from unmask.metrics.image import FRR_POINTS, auc, far_at_frr, split_scores
from unmask.metrics.measure import Measure, missing
from unmask.metrics.pixel import PixelMetrics
from unmask.metrics.suite import exact_ends, pixel_summary

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
CLEAN = "none"
"""Name of the row of the unedited images."""
NO_THRESHOLD = "the weights carry no threshold for fake"


def rate(values: Floats, groups: Sequence[str], seed: int, reason: str = "no such images") -> Measure:
    """Mean of (N,) zeros and ones (nan: not known) with its interval by family.

    >>> rate(np.zeros(4), ["a", "a", "b", "c"], 0).as_json()
    {'value': 0.0, 'low': 0.0, 'high': 0.70759..., 'reason': ''}
    """
    known = ~np.isnan(values)
    if not known.any():
        return missing(reason)
    value = float(values[known].mean())
    n = len(set(np.asarray(groups, str)[known].tolist()))
    return Measure(value, *(exact_ends(value, n) or bootstrap_means(values, groups, seed=seed)))


def mean(values: Floats, groups: Sequence[str], seed: int, reason: str) -> Measure:
    """Mean of (N,) values (nan: does not exist there) with its interval by family."""
    known = ~np.isnan(values)
    if not known.any():
        return missing(reason)
    return Measure(float(values[known].mean()), *bootstrap_means(values, groups, seed=seed))


class Tables:
    """All tables of one benchmark, each as plain JSON values."""

    def __init__(self, edited: Edited, calibration: Calibration | None = None, *, seed: int = 0) -> None:
        self.edited, self.calibration, self.seed = edited, calibration, seed
        self._fake: Mask = edited.clean["label"] == 1
        self._groups = [str(name) for name in edited.clean["family"]]

    # ---- benign edits -----------------------------------------------------------------------------------------------

    def clean(self) -> dict[str, Any]:
        """The row of the unedited images, like those of :meth:`benign`."""
        p = self.edited.clean
        there = np.ones(len(p), bool)
        return self._row(CLEAN, 0, there, p["score"], p["logit"], [p[n] for n in PIXEL if n != "pixel_auc"])

    def benign(self) -> list[dict[str, Any]]:
        """A row per edit and severity: what it does to FRR, FAR, AUC, mask and verdict."""
        rows = []
        e = self.edited
        for k, (name, severity) in enumerate(e.plan):
            n = {key: values[:, k] for key, values in e.numbers.items()}
            there = e.there[:, k]
            pixel = [n["pixel_f1"], n["pixel_iou"], n["false_alarm_area"]]
            row = self._row(name, severity, there, n["score"], n["logit"], pixel)
            row["auc_change"] = self._auc_change(there, n["logit"]).as_json()
            gap = n["pixel_f1"] - e.clean["pixel_f1"]
            row["pixel_f1_change"] = mean(gap, self._groups, self.seed, "no mask to compare").as_json()
            row["survived"] = self._survived([k]).as_json()
            row["mask_iou"] = mean(n["mask_iou"], self._groups, self.seed, "nothing marked").as_json()
            rows.append(row)
        return rows

    def _row(
        self, name: str, severity: int, there: Mask, score: Floats, logit: Floats, pixel: Sequence[Floats]
    ) -> dict[str, Any]:
        fake, groups, seed = self._fake, self._groups, self.seed
        known = there & ~np.isnan(logit)
        measures = {
            "frr": self._called(score, there & ~fake, called=True),
            "far": self._called(score, there & fake, called=False),
            "auc": self._auc(known, logit),
            "pixel_f1": mean(pixel[0], groups, seed, "no forged image with a known mask and a map"),
            "pixel_iou": mean(pixel[1], groups, seed, "no forged image with a known mask and a map"),
            "false_alarm_area": mean(pixel[2], groups, seed, "no authentic image with a map"),
        }
        return {
            "edit": name,
            "severity": severity,
            "n_real": int((there & ~fake).sum()),
            "n_fake": int((there & fake).sum()),
            "n_unscored": int((there & np.isnan(score)).sum()),
            "n_cut_away": int((~there).sum()),
            **{key: m.as_json() for key, m in measures.items()},
        }

    def _called(self, score: Floats, which: Mask, *, called: bool) -> Measure:
        """Share of the images ``which`` that are called fake (or are not); without a score they are not."""
        threshold = self.edited.thresholds.fake
        if threshold is None:
            return missing(NO_THRESHOLD)
        hits = (np.nan_to_num(score, nan=-1.0) >= threshold) == called
        return rate(np.where(which, hits, np.nan), self._groups, self.seed)

    def _auc(self, known: Mask, logit: Floats) -> Measure:
        area = auc(split_scores(logit[known], self._fake[known]))
        if area.reason:
            return area
        groups = np.asarray(self._groups)[known].tolist()
        return Measure(area.value, *_limits(bootstrap_auc(logit[known], self._fake[known], groups, seed=self.seed)))

    def _auc_change(self, there: Mask, logit: Floats) -> Measure:
        """AUC after minus AUC before, on the same images and resamples."""
        before = self.edited.clean["logit"]
        known = there & ~np.isnan(logit) & ~np.isnan(before)
        fake, groups = self._fake[known], np.asarray(self._groups)[known].tolist()
        areas = [auc(split_scores(values[known], fake)) for values in (logit, before)]
        if areas[0].reason:
            return areas[0]
        drawn = [bootstrap_auc(values[known], fake, groups, seed=self.seed) for values in (logit, before)]
        return Measure(areas[0].value - areas[1].value, *_limits(drawn[0] - drawn[1]))

    def _survived(self, columns: Sequence[int], which: Mask | None = None) -> Measure:
        """Share of versions whose verdict is that of the image itself, a mean over images."""
        if self.edited.thresholds.fake is None and self.edited.thresholds.real is None:
            return missing("the weights carry no thresholds, so there is no verdict to survive")
        share = _share_same(self.edited, columns)
        return rate(share if which is None else np.where(which, share, np.nan), self._groups, self.seed)

    def by_edit(self, benign: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """A row per edit: means over images and severities, and its worst severity for each measure."""
        rows = []
        e = self.edited
        for name in dict.fromkeys(edit for edit, _ in e.plan):
            columns = [k for k, (edit, _) in enumerate(e.plan) if edit == name]
            cells = [benign[k] for k in columns]
            rows.append(
                {
                    "edit": name,
                    "survived": self._survived(columns).as_json(),
                    "mask_iou": mean(
                        _nanmean(e.numbers["mask_iou"][:, columns]), self._groups, self.seed, "nothing marked"
                    ).as_json(),
                    "worst": worst(cells),
                }
            )
        return rows

    # ---- malicious edits --------------------------------------------------------------------------------------------

    def malicious(self) -> list[dict[str, Any]]:
        """A row for all fakes and one per manipulation: FAR at fixed, oracle and carried-over thresholds, localization.

        Every row holds its fakes against all real images, so that a threshold is one threshold.
        """
        p = self.edited.clean
        kinds = p["manipulation"].astype(str)
        names = sorted({kind for kind in kinds[self._fake] if kind})
        chosen = [("all fakes", self._fake), *((name, self._fake & (kinds == name)) for name in names)]
        return [self._malicious(name, which) for name, which in chosen if which.any()]

    def _malicious(self, name: str, which: Mask) -> dict[str, Any]:
        p, seed = self.edited.clean, self.seed
        logit, real = p["logit"], ~self._fake
        known = (which | real) & ~np.isnan(logit)
        scores = split_scores(logit[known], self._fake[known])
        groups = np.asarray(self._groups)[known].tolist()
        limits = bootstrap_image(logit[known], self._fake[known], groups, frr_points=FRR_POINTS, seed=seed)

        def told(key: str, found: Measure) -> Measure:
            return found if found.reason or key not in limits else Measure(found.value, *limits[key])

        fakes = p.take(which)
        pixel = pixel_summary(PixelMetrics(*(fakes[key] for key in PIXEL)), list(fakes["family"]), seed=seed)
        return {
            "manipulation": name,
            "n_fake": int(which.sum()),
            "n_real": int(real.sum()),
            "n_families": len(set(fakes["family"])),
            "auc": told("auc", auc(scores)).as_json(),
            "far": self._called(p["score"], which, called=False).as_json(),
            "oracle": {f"{x:g}": told(f"far@frr={x:g}", far_at_frr(scores, x)).as_json() for x in FRR_POINTS},
            "transferred": {f"{x:g}": self._transferred(which, x).as_json() for x in FRR_POINTS},
            **{key: pixel[key].as_json() for key in PIXEL[:3]},
        }

    def _transferred(self, which: Mask, x: float, *, called: bool = False) -> Measure:
        """Share of ``which`` below the carried-over threshold (``called``: at or above it)."""
        if self.calibration is None:
            return missing("no calibration data was given")
        if x not in self.calibration.thresholds:
            return missing(f"{self.calibration.reasons[x]} (calibration)")
        hits = (np.nan_to_num(self.edited.clean["logit"], nan=-np.inf) >= self.calibration.thresholds[x]) == called
        return rate(np.where(which, hits, np.nan), self._groups, self.seed)

    def operating_points(self) -> list[dict[str, Any]]:
        """FRR that the fixed and the carried-over thresholds really give on these images."""
        own = self._called(self.edited.clean["score"], ~self._fake, called=True)
        rows: list[dict[str, Any]] = [
            {"name": "own", "aim": None, "threshold": self.edited.thresholds.fake, "frr": own.as_json()}
        ]
        for x in FRR_POINTS if self.calibration else ():
            assert self.calibration is not None
            frr = self._transferred(~self._fake, x, called=True).as_json()
            threshold = self.calibration.thresholds.get(x)
            rows.append({"name": "transferred", "aim": x, "threshold": threshold, "frr": frr})
        return rows

    def crossed(self) -> dict[str, dict[str, Any]]:
        """Each manipulation after each benign edit, a mean over severities: FAR at the fixed threshold, and AUC against
        all reals after the same edit; the unedited images under :data:`CLEAN`. None where there is none."""
        e = self.edited
        kinds = e.clean["manipulation"].astype(str)
        columns = {name: [k for k, (edit, _) in enumerate(e.plan) if edit == name] for name, _ in e.plan}
        table: dict[str, dict[str, Any]] = {}
        for kind in sorted({k for k in kinds[self._fake] if k}):
            which = self._fake & (kinds == kind)
            n = {"n_fake": int(which.sum())}
            before = n | self._far_and_auc(which, e.clean["score"][:, None], e.clean["logit"][:, None])
            after = {
                name: n | self._far_and_auc(which, e.numbers["score"][:, at], e.numbers["logit"][:, at], e.there[:, at])
                for name, at in columns.items()
            }
            table[kind] = {CLEAN: before, **after}
        return table

    def _far_and_auc(
        self, which: Mask, score: Floats, logit: Floats, there: Mask | None = None
    ) -> dict[str, float | None]:
        """Means over the columns of (N, K) scores of the fakes ``which``."""
        threshold = self.edited.thresholds.fake
        counts = np.ones(score.shape, bool) if there is None else there
        passed = np.where(counts, np.nan_to_num(score, nan=-1.0) < (threshold or 0.0), np.nan)[which]
        areas = []
        for column in logit.T:
            known = (which | ~self._fake) & ~np.isnan(column)
            areas.append(auc(split_scores(column[known], self._fake[known])).value)
        return {
            "far": None if threshold is None else _plain(float(_nanmean(passed.reshape(-1)))),
            "auc": _plain(float(_nanmean(np.array(areas)))),
        }

    # ---- stability --------------------------------------------------------------------------------------------------

    def images(self) -> list[dict[str, Any]]:
        """A row per image: the share of edits its verdict survives, the range of its score, the mask against itself."""
        e, p = self.edited, self.edited.clean
        columns = list(range(len(e.plan)))
        share, overlap = _share_same(e, columns), _nanmean(e.numbers["mask_iou"])
        low, high = _range(e)
        return [
            {
                **{key: str(p[key][i]) for key in ("path", "source", "manipulation", "family", "verdict")},
                "label": int(p["label"][i]),
                "score": _plain(p["score"][i]),
                "edits": int(e.there[i].sum()),
                "survived": _plain(share[i]),
                "score_low": _plain(low[i]),
                "score_high": _plain(high[i]),
                "mask_iou": _plain(overlap[i]),
            }
            for i in range(len(p))
        ]

    def stability(self) -> list[dict[str, Any]]:
        """Verdict stability of all, real and fake images: means over images."""
        e, seed, groups = self.edited, self.seed, self._groups
        columns = list(range(len(e.plan)))
        low, high = _range(e)
        overlap, share = _nanmean(e.numbers["mask_iou"]), _share_same(e, columns)
        rows = []
        for name, which in (("all", np.ones(len(groups), bool)), ("real", ~self._fake), ("fake", self._fake)):
            survived = self._survived(columns, which)
            always = np.where(which & ~np.isnan(share), (share == 1).astype(float), np.nan)
            rows.append(
                {
                    "images": name,
                    "n": int(which.sum()),
                    "survived": survived.as_json(),
                    "survives_all": (survived if survived.reason else rate(always, groups, seed)).as_json(),
                    "score_range": mean(np.where(which, high - low, np.nan), groups, seed, "no score").as_json(),
                    "mask_iou": mean(np.where(which, overlap, np.nan), groups, seed, "nothing marked").as_json(),
                }
            )
        return rows


def _limits(values: Floats) -> tuple[float, float]:
    return interval(values)


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _nanmean(values: Floats) -> Floats:
    """Mean over the last axis of what is known; nan where nothing is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        result: Floats = np.where(known, values, 0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)
    return result


def _share_same(edited: Edited, columns: Sequence[int]) -> Floats:
    """(N,) share of each image's versions with its own verdict; nan where no version counts."""
    same = (edited.verdicts[:, columns] == edited.clean["verdict"][:, None]).astype(np.float64)
    same[~edited.there[:, columns]] = np.nan
    return _nanmean(same)


def _range(edited: Edited) -> tuple[Floats, Floats]:
    """(N,) lowest and highest score of each image and its versions; nan where none has one."""
    scores = np.concatenate([edited.clean["score"][:, None], edited.numbers["score"]], axis=1)
    low = np.where(np.isnan(scores), np.inf, scores).min(1)
    high = np.where(np.isnan(scores), -np.inf, scores).max(1)
    return np.where(np.isinf(low), np.nan, low), np.where(np.isinf(high), np.nan, high)


_WORSE = {"frr": 1, "far": 1, "auc": -1, "pixel_f1": -1, "survived": -1}


def worst(cells: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any] | None]:
    """For each measure the edit and severity with the worst value; None where there is none."""
    found: dict[str, dict[str, Any] | None] = {}
    for key, sign in _WORSE.items():
        known = [c for c in cells if c[key]["value"] is not None]
        if not known:
            found[key] = None
            continue
        cell = max(known, key=lambda c: sign * c[key]["value"])
        found[key] = {"edit": cell["edit"], "severity": cell["severity"], **cell[key]}
    return found
