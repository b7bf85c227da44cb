"""The command line of scripts that make tables from a study's items."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from hfprune.analysis.evidence import Evidence
from hfprune.settings import load
from hfprune.study.layout import study_file
from hfprune.study.study import Study


def write_table(doc: str | None, tables: Mapping[str, Callable[[Evidence], pd.DataFrame]]) -> None:
    """Write the table that the command line names beside its study's results, as NAME.csv, and print it."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=[*tables])
    parser.add_argument("study", help="its name, or its file")
    given = parser.parse_args()
    path = study_file(given.study)
    folder = Path("results") / path.stem
    table = tables[given.table](Evidence(load(Study, path), path.stem, folder, folder))
    out = folder / f"{given.table}.csv"
    table.to_csv(out, index=False, float_format="%.5g", lineterminator="\n")
    print(table.to_markdown(index=False, floatfmt=".3g"))
    print(out)
