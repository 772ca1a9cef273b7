"""What a feature study takes, and what it says of features that know nothing.

    python benchmarks/feature_study.py [--tables 40]

Prints the processor time of a study of 600 images with 20 features, and, over many tables of pure noise, the mean
out-of-fold AUC of single features and of the chosen combination: pooled over folds as the study reports it, and within
folds.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from unmask.core.version import __version__
from unmask.studies.feature_models import CHOSEN, fit_models
from unmask.studies.feature_rows import study_rows
from unmask.studies.feature_study import study_features

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "studies"))
from tables import gaussian, table

WIDTHS = (1, 2, 3, 4, 8, 16, 26, 32, 48, 64, 64, 96, 128, 128, 256, 384, 512, 512, 768, 1280)


def speed() -> None:
    features = {f"f{i}": gaussian(1.0 if i % 3 == 0 else 0.0, width) for i, width in enumerate(WIDTHS)}
    data = study_rows([table(features, people=150)])
    start = time.process_time()
    study_features(data)
    print(f"600 images, 20 features of {sum(WIDTHS)} values: {time.process_time() - start:.1f} s of processor time")


def noise(tables: int) -> None:
    rows = []
    for seed in range(tables):
        data = study_rows([table({f"n{i}": gaussian(0.0) for i in range(5)}, people=40, seed=100 + seed)])
        models = fit_models(data, strengths=(1.0,))
        scorers = models.out_of_fold()
        folds = [data.fold == number for number in range(5)]
        areas = []
        for names in (data.names, (CHOSEN,)):
            pooled = [roc_auc_score(data.labels, scorers[name]) for name in names]
            within = [roc_auc_score(data.labels[f], scorers[name][f]) for name in names for f in folds]
            areas += [np.mean(pooled), np.mean(within)]
        rows.append([*areas, max(step.auc for step in models.final.paths["gain"])])
    mean, error = np.mean(rows, axis=0), np.std(rows, axis=0) / len(rows) ** 0.5
    heads = ("single, pooled", "single, within folds", "chosen, pooled", "chosen, within folds", "best set, seen")
    for head, value, spread in zip(heads, mean, error, strict=True):
        print(f"{head:22} {value:.3f} ± {spread:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=40)
    args = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, unmask {__version__}")
    noise(args.tables)
    speed()


if __name__ == "__main__":
    main()
