"""What scripts share that make tables from a study's items: their command line, and the outcomes of all cells."""

import argparse
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

import pandas as pd

from hfprune.analysis.evidence import Evidence
from hfprune.analysis.outcomes import NotMeasuredError, Outcomes
from hfprune.errors import HfpruneError
from hfprune.results import DENSE
from hfprune.settings import load
from hfprune.study.layout import study_file
from hfprune.study.study import Study


def write_table(doc: str | None, tables: Mapping[str, Callable[[Evidence], pd.DataFrame]]) -> None:
    """Write the table that the command line names beside its study's results, as NAME.csv, and print it."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=[*tables])
    parser.add_argument("study", help="its name, or its file")
    given = parser.parse_args()
    try:
        path = study_file(given.study)
        folder = Path("results") / path.stem
        table = tables[given.table](Evidence(load(Study, path), path.stem, folder, folder))
    except HfpruneError as error:
        parser.error(str(error))
    out = folder / f"{given.table}.csv"
    table.to_csv(out, index=False, float_format="%.5g", lineterminator="\n")
    print(table.to_markdown(index=False, floatfmt=".3g"))
    print(out)


def measured(
    evidence: Evidence, measure: str, metric: str, model: str, ratio: float
) -> dict[tuple[str, str], Outcomes]:
    """Return the outcomes of every method and recovery that was measured, and of the dense model as it is."""
    found = {}
    methods = [DENSE, *evidence.study.methods_of(model)]
    pairs = product(methods, evidence.study.recoveries_of(model))
    for method, recovery in dict.fromkeys([(DENSE, "none"), *pairs]):
        cells = evidence.cells_of(model, method, 0.0 if method == DENSE else ratio, recovery)
        try:
            found[method, recovery] = evidence.outcomes(cells, measure, metric)
        except NotMeasuredError:
            continue
    return found
