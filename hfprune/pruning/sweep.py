"""How much may be cut: the loss of a model at several ratios, and the largest cut within a limit."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tabulate import tabulate

from hfprune.analysis.effect import Effect
from hfprune.comparison.rows import paired, share
from hfprune.errors import HfpruneError
from hfprune.files import atomic_file
from hfprune.pruning.folder import SWEPT
from hfprune.report.charts import Chart
from hfprune.report.drawing.panels import sheet, theme
from hfprune.report.style import Look
from hfprune.results import DENSE, read_result
from hfprune.rounding import percent
from hfprune.stages import Stage

# Short crops of many documents: what shows a loss in seconds.
CROPS = {"measure": "perplexity", "corpus": "wikipedia-sample", "sequences": 64, "length": 128}


class Tried(NamedTuple):
    """A cut and its loss: the rise of perplexity on held-out text against the dense model (0.2: by 20 %)."""

    ratio: float
    parameters: int
    loss: Effect
    """Its 95 % interval is in pairs over documents; `neutral` is the limit."""
    documents: int


def losses(jobs: dict[str, Stage], most: float) -> list[Tried]:
    """Return what the jobs of a sweep have found beside the limit `most`, the smallest cut first."""
    dense, *cells = [file for file in jobs["measure"].outputs() if file.suffix == ".parquet"]
    plans = [job.outputs()[1] for job in jobs.values() if job.stage == "plan"]
    tried = []
    for plan, cell in zip(map(read_result, plans), cells, strict=True):
        found = paired([pd.read_parquet(file) for file in (cell, dense)], "nll")
        if not found:
            raise HfpruneError("--max-loss: too few documents fill a crop for an interval; give --ratio")
        loss = replace(share(1.0, float(np.exp(found.value)), found, better=-1), neutral=most)
        left = {value["metric"]: value["value"] for value in plan["values"]}["parameters"]
        tried.append(Tried(plan["cell"]["ratio"], int(left), loss, found.n))
    return sorted(tried, key=lambda one: one.ratio)


def choice(tried: Sequence[Tried], most: float) -> Tried | None:
    """Return the largest cut with the high end of its interval below the limit, or None."""
    return max((one for one in tried if one.loss.high < most), key=lambda one: one.ratio, default=None)


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
        f"Loss is the rise of perplexity against the dense model, on the same {least.documents} crops of "
        f"{CROPS['length']} tokens, each from another document of {CROPS['corpus']}, before any training. The "
        f"largest cut with the high end of its 95 % interval below {limit} is exported."
    )
    print(tabulate(rows, headers, disable_numparse=True, colalign=["right"] * 3), f"\n{said}\n", sep="\n")
    _draw(tried, best, most, out / SWEPT)
    if not best:
        raise HfpruneError(
            f"--max-loss: no cut has the high end of its interval below {limit}, and nothing is exported: the "
            f"smallest, {rows[0][0]} of the parameters, loses {least.loss}"
        )
    data = base64.b64encode((out / SWEPT).read_bytes()).decode()
    return {"ratio": best.ratio, "headers": headers, "rows": rows, "said": said, "figure": data}


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
