"""The ``unmask`` command: a table of verbs, each imported only when it is called."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from unmask.core.errors import ConfigError, UnmaskError
from unmask.core.names import did_you_mean
from unmask.core.version import __version__


class Verb(NamedTuple):
    """One verb: the module with ``configure(parser)`` and ``run(args) -> int``, and its one-line help."""

    module: str
    help: str


VERBS: dict[str, Verb] = {
    "demo": Verb("unmask.cli.demo", "forge a sample portrait with a known mask, analyse both: the first minute"),
    "detect": Verb(
        "unmask.cli.detect", "is this face genuine? files, folders or globs to verdicts, masks and a report"
    ),
    "train": Verb("unmask.cli.train", "train a detector from a recipe"),
    "evaluate": Verb("unmask.cli.evaluate", "measure a detector (or any scores file) on labelled data"),
    "compare": Verb("unmask.cli.compare", "compare detectors on the same images with paired statistics"),
    "data index": Verb("unmask.cli.data_index", "a folder or known layout to a manifest"),
    "data split": Verb("unmask.cli.data_split", "split a manifest so that relatives stay together"),
    "data convert": Verb("unmask.cli.data_convert", "a manifest to the lists of other projects"),
    "data analyze": Verb("unmask.cli.data_analyze", "what a data set is made of: one page with plots, and JSON"),
    "data preview": Verb("unmask.cli.data_preview", "a contact sheet of every class, edited regions outlined"),
    "data audit": Verb("unmask.cli.data_audit", "look for leaks and shortcuts in a manifest"),
    "data forge": Verb("unmask.cli.data_forge", "make forgeries with exact masks from a folder of real photos"),
    "features extract": Verb("unmask.cli.features_extract", "measure forensic features of labelled images, once"),
    "features study": Verb("unmask.cli.features_study", "which features help, at what cost, and when they die"),
    "fusion study": Verb("unmask.cli.fusion_study", "how to join features: every fusion against its cost"),
    "list": Verb(
        "unmask.cli.listing", "what there is: detectors, weights, features, forgeries, degradations, data-set layouts"
    ),
    "model": Verb("unmask.cli.model", "a detector's card: parameters, FLOPs, shapes, departures from its paper"),
    "export": Verb("unmask.cli.export", "ONNX with a parity certificate"),
    "doctor": Verb("unmask.cli.doctor", "what is installed, what is missing, how to get it"),
}

_EXAMPLES = """\
start here:
  unmask demo                               forge a known portrait, analyse it, write a report
  unmask detect photo.jpg                   a verdict, a score, the forged area
  unmask detect photos/ --report out/       the same for a folder, with an HTML report
  unmask detect photo.jpg --json            one JSON object per file
exit codes: 0 every file was analysed; 1 some could not be; 2 wrong usage; 130 stopped with Ctrl-C
"""


def _table(start: str = "") -> str:
    """The verbs that begin with ``start``, one line each."""
    width = max(map(len, VERBS)) + 2
    return "".join(f"  {name:<{width}}{verb.help}\n" for name, verb in VERBS.items() if name.startswith(start))


def build_parser() -> argparse.ArgumentParser:
    """The top-level parser, which knows the verbs' names and help lines but imports none of them."""
    parser = argparse.ArgumentParser(
        prog="unmask",
        description="Tells whether a face image was manipulated, shows where, and says how sure it is and why.",
        epilog=f"verbs:\n{_table()}\n{_EXAMPLES}`unmask VERB --help` explains a verb.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"unmask {__version__}")
    parser.add_argument("verb", metavar="VERB", nargs="?", help="one of the verbs below")
    return parser


def _split_verb(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Find the verb at the start of the command line: one word, or two as in ``data index``."""
    for length in (2, 1):
        name = " ".join(words[:length])
        if len(words) >= length and name in VERBS:
            return name, list(words[length:])
    return None, list(words)


def _tell(name: str, code: str, message: str) -> None:
    """One line on stderr; names of files cannot reach the terminal's controls."""
    from unmask.reports.facts import printable

    print(f"unmask {name}: error [{code}]: {printable(message)}", file=sys.stderr)


def _flush() -> None:
    """Write what is left for stdout; what cannot be written is given up, or Python would try again on its way out."""
    try:
        print(end="", flush=True)
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code; user errors are one line on stderr, never a traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    name, rest = _split_verb(words)
    if name is None:
        parser = build_parser()
        if not words:
            parser.print_help()
            return 0
        grouped = any(verb.startswith(f"{words[0]} ") for verb in VERBS)
        if grouped and (len(words) == 1 or words[1] in ("-h", "--help")):
            print(f"usage: unmask {words[0]} VERB [-h] ...\n\n{_table(f'{words[0]} ')}", end="")
            return 0
        if words[0].startswith("-"):
            parser.parse_args(words)
        asked = " ".join(words[:2]) if grouped else words[0]
        parser.exit(2, f"unmask: unknown verb '{asked}'{did_you_mean(asked, VERBS)}; see unmask --help\n")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    module = importlib.import_module(VERBS[name].module)
    parser = argparse.ArgumentParser(
        prog=f"unmask {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.configure(parser)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a name the terminal's encoding lacks is no reason to stop
    try:
        try:
            return int(module.run(parser.parse_args(rest)))
        finally:
            _flush()
    except UnmaskError as error:
        _tell(name, error.code, error.message)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        print(f"\nunmask {name}: stopped; finished results are kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:  # a full disk, a folder that may not be written
        _tell(name, "system", str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
