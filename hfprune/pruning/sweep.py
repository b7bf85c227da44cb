"""How much may be cut: the loss of a model at several ratios, and the largest cut within a limit."""

import base64
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tabulate import tabulate

from hfprune.cells import DENSE, read_result
from hfprune.comparison.rows import paired
from hfprune.errors import HfpruneError
from hfprune.files import atomic_file
from hfprune.pruning.beside_dense import CROPS
from hfprune.pruning.folder import SWEPT
from hfprune.report.charts import Chart
from hfprune.report.drawing.panels import sheet, theme
from hfprune.report.style import Look
from hfprune.results.effect import SHARE, Effect
from hfprune.rounding import percent
from hfprune.stages import Stage


class Tried(NamedTuple):
    """A cut and its loss: the rise of perplexity on held-out text against the dense model (0.2: by 20 %)."""

    ratio: float
    parameters: int
    loss: Effect
    """Its 95 % interval is in pairs over documents; `neutral` is the limit."""
    documents: int
    files: tuple[Path, ...] = ()
    """The results of the dense and of this model."""


def losses(jobs: dict[str, Stage], most: float) -> list[Tried]:
    """Return what the jobs of a sweep have found beside the limit `most`, the smallest cut first."""
    dense, *cells = [file for file in jobs["measure"].outputs() if file.suffix == ".json"]
    plans = [job.outputs()[1] for job in jobs.values() if job.stage == "plan"]
    tried = []
    for plan, cell in zip(map(read_result, plans), cells, strict=True):
        found = paired([pd.read_parquet(file.with_suffix(".parquet")) for file in (cell, dense)], "nll")
        if not found:
            raise HfpruneError("--max-loss: too few documents fill a crop for an interval; give --ratio")
        value, low, high = np.expm1([found.value, found.low, found.high]).tolist()
        loss = Effect(value, low, high, SHARE, most, better=-1)
        left = {value.metric: value.value for value in plan.values}["parameters"]
        tried.append(Tried(plan.cell.ratio or 0, int(left), loss, found.n, (dense, cell)))
    return sorted(tried, key=lambda one: one.ratio)


def choice(tried: Sequence[Tried], most: float) -> Tried | None:
    """Return the largest cut up to which all have the high end of their interval below the limit, or None.

    `tried` begins with the smallest. Since a cut counts only if all smaller ones do (a fixed sequence of tests),
    one that loses more than the limit is chosen in at most 2.5 % of draws of the documents, however many are
    tried, and the interval that chose the cut may judge it.
    """
    return [None, *takewhile(lambda one: one.loss.high < most, tried)][-1]


def shown(tried: Sequence[Tried], most: float, out: Path) -> dict[str, Any]:
    """Print what was tried, draw it into the folder `out`, and return both for the page.

    Raises:
        HfpruneError: no cut is within the limit; gives the loss of the smallest.
    """
    best, limit, least = choice(tried, most), percent(most), tried[0]
    headers = ["removed", "parameters", "loss (95 % interval)", ""]
    rows = [
        [percent(one.ratio), f"{one.parameters:,}", str(one.loss), "exported" * (one == best)]
        for one in tried
    ]
    said = (
        f"Loss is the rise of perplexity relative to the dense model, on {least.documents} crops of "
        f"{CROPS['length']} tokens, one per document of {CROPS['corpus']}, after reconstruction if the recipe "
        "has it and before any training. The exported cut is the largest up to which every 95 % interval "
        f"ends below {limit}."
    )
    print(tabulate(rows, headers, disable_numparse=True, colalign=["right"] * 3), f"\n{said}\n", sep="\n")
    _draw(tried, best, most, out / SWEPT)
    if not best:
        raise HfpruneError(
            f"--max-loss: no cut has an interval that ends below {limit}, so nothing is exported: the smallest, "
            f"{rows[0][0]} of the parameters, loses {least.loss}"
        )
    data = base64.b64encode((out / SWEPT).read_bytes()).decode()
    found = {"ratio": best.ratio, "files": best.files}
    return found | {"headers": headers, "rows": rows, "said": said, "figure": data}


def _draw(tried: Sequence[Tried], best: Tried | None, most: float, path: Path) -> None:
    looks = {
        DENSE: Look(f"--max-loss {percent(most)}", "#000000", "D"),
        "tried": Look("Tried, with 95 % intervals", "#0072B2", "o"),
        "best": Look("Exported", "#D55E00", "D"),
    }
    rows = pd.DataFrame([(one.parameters, one.loss.value, one.loss.low, one.loss.high) for one in tried])
    rows = rows.set_axis(["parameters", "value", "low", "high"], axis=1)
    rows = rows.assign(place=rows["parameters"] / 1e6, group="tried")
    exported = rows[[one == best for one in tried]].assign(group="best")
    rows = pd.concat([rows, exported, pd.DataFrame([{"group": DENSE, "value": most}])])
    rows[["value", "low", "high"]] += 1
    chart = Chart(rows, looks, "Perplexity over the dense model's", "Parameters (million)", log=True)
    with theme(), atomic_file(path) as file:
        sheet([("", [chart])], width=4.6, height=2.4).savefig(file, metadata={"Date": None})
