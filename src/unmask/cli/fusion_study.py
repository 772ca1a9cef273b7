"""How should the evidence be joined? Every fusion on the same features, images, folds and seeds.

  unmask fusion study features.parquet --out fusion/
  unmask fusion study features.parquet --methods concat reliability stacking --features lbp npr fft --out fusion/
  unmask fusion study features.parquet --maps rgb lbp dct --boxes boxes.csv --out fusion/

FILE comes from `unmask features extract`. Single features are scored by linear probes, late fusions join these
probes' out-of-fold scores, feature-level fusions are small nets; with --maps, early fusions of maps of the table's
images are small convolutional detectors. Every score comes from a model that saw no relative of the image. All
strategies run with one seed; the finalists (the best, `concat` and `reliability`) with --seeds.

Chosen is the cheapest whose AUC lies within one standard error of the best's. The best feature-level fusion, over those
features that a detector can compute itself, is written as weights.safetensors: `unmask detect --detector` takes it.

Written to DIR: report.html (one file), study.json, fusion.csv, weights.safetensors with its card.

exit codes: 0 done; 1 the table does not allow a study; 2 wrong usage; 130 stopped with Ctrl-C (nothing is written
before the end)
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("tables", nargs="+", type=Path, metavar="FILE", help="features (.parquet)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new or empty folder for the results")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="strategies (default: all; `unmask list fusions`)")
    parser.add_argument("--features", nargs="+", metavar="NAME", help="fuse these only (default: all in the table)")
    parser.add_argument("--maps", nargs="+", default=[], metavar="NAME", help="also fuse these maps of the images")
    parser.add_argument("--boxes", type=Path, metavar="FILE", help="face boxes for --maps (else faces are searched)")
    parser.add_argument("--fakes", nargs="+", metavar="KIND", help="keep the fakes of these manipulations only")
    parser.add_argument("--folds", type=int, default=5, metavar="K", help="folds by family, 3 or more (default 5)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds for the finalists (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; of folds and resamples too (default 0)")
    parser.add_argument("--json", action="store_true", help="print what study.json holds")


def run(args: argparse.Namespace) -> int:
    """Read, study, write, summarise."""
    from unmask.cli.progress import progress_bar
    from unmask.cli.study import study_facts
    from unmask.data.faces import read_boxes
    from unmask.evaluation.output import check_out
    from unmask.features.table import read_features
    from unmask.studies.feature_rows import study_rows
    from unmask.studies.fusion_maps import MapSettings, check_maps, face_views
    from unmask.studies.fusion_output import write_fusion_study
    from unmask.studies.fusion_study import FusionStudy, pick_methods

    check_out(args.out)
    maps = check_maps(args.maps)
    methods = pick_methods(args.methods, bool(maps))
    start = time.process_time()
    tables = [read_features(path) for path in args.tables]
    data = study_rows(tables, features=args.features, fakes=args.fakes, count=args.folds, seed=args.seed)
    images = None
    if maps:
        boxes = read_boxes(args.boxes) if args.boxes else None
        with progress_bar("reading images") as progress:
            images = face_views(data.rows, MapSettings().size, boxes, progress)
    with progress_bar("studying") as progress:
        study = FusionStudy(data, methods, maps, images, seeds=args.seeds, seed=args.seed, progress=progress)
        content = study.run()
    about = study_facts(args.tables, data.table, start)
    whole = write_fusion_study(args.out, about, content, study)
    if args.json:
        print(json.dumps(whole, allow_nan=False))
    else:
        show(whole)
        print(f"report: {args.out / 'report.html'}")
    return 0


def show(content: dict[str, Any]) -> None:
    """The table for people."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from unmask.reports.evaluation_page import cell
    from unmask.reports.fusion_study_page import gap

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("strategy", "level", "ms", "parameters", "seeds", "AUC", "95 %", "to best single", "to concat"):
        table.add_column(name, justify="left" if name in ("strategy", "level") else "right")
    for line in content["trials"]:
        area = cell(line["auc"])
        cells = [line["name"], line["level"], f"{line['cost_ms']:.3g}", str(line["parameters"]), str(line["seeds"])]
        cells += [area["text"], area["interval"], gap(line["against_single"]), gap(line["against_concat"])]
        table.add_row(*map(Text, cells), style="bold" if line["name"] == content["choice"]["name"] else "")
    console = Console(highlight=False)
    console.print(table)
    console.print(Text(f"chosen: {content['choice']['name']} (the cheapest within one standard error)", "bold"))
    console.print(Text("differences: mean over seeds; * p below 0.05 by Holm (paired bootstrap by family)", "dim"))
    saved = content["saved"]
    print(
        f"detector: {saved['path']} ({saved['fusion']} of {', '.join(saved['features'])})"
        if saved["path"]
        else f"no detector was written: {saved['reason']}"
    )
