"""How much may be cut: the losses of a model at several ratios, and the largest cut within a limit."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from tabulate import tabulate

from hfprune.cells import DENSE, read_result
from hfprune.comparison.before_after import spelt
from hfprune.comparison.steps import LIMIT, limit_column, relative_rise
from hfprune.errors import HfpruneError
from hfprune.files import atomic_file
from hfprune.page.pruned import Swept
from hfprune.pruning.beside_dense import CROPS
from hfprune.pruning.folder import SWEPT
from hfprune.report.charts import Chart
from hfprune.report.drawing.panels import sheet, theme
from hfprune.report.style import Look
from hfprune.results.effect import Effect
from hfprune.rounding import percent
from hfprune.stages import Stage

PERPLEXITY = "perplexity"


class Tried(NamedTuple):
    """A cut and its losses: rises against the dense model, as shares of its numbers (0.2: by 20 %)."""

    ratio: float
    parameters: int
    losses: dict[str, Effect]
    """Of perplexity on held-out text, and of the bits per byte of each capability that is to be kept, by name; the
    95 % intervals are in pairs over documents, and `neutral` is the limit."""
    documents: dict[str, int]
    files: tuple[Path, ...] = ()
    """The results of the dense and of this model."""

    def is_within(self, most: float) -> bool:
        """Tell whether every interval ends below the limit."""
        return all(loss.high < most for loss in self.losses.values())


def losses(jobs: Mapping[str, Stage], most: float) -> list[Tried]:
    """Return what the jobs of a sweep have found beside the limit `most`, the smallest cut first.

    Raises:
        HfpruneError: too few documents for an interval.
    """
    results = {file: read_result(file) for file in jobs["measure"].outputs() if file.suffix == ".json"}
    by_ratio: dict[float, dict[tuple[str, str], Path]] = {}
    for file, result in results.items():
        ratio = 0.0 if result.cell.method == DENSE else result.cell.ratio or 0.0
        by_ratio.setdefault(ratio, {})[result.measure, result.task] = file
    dense = by_ratio.pop(0.0)
    sizes: dict[float, int] = {}
    for plan in (read_result(job.outputs()[1]) for job in jobs.values() if job.stage == "plan"):
        values = {value.metric: value.value for value in plan.values}
        sizes[plan.cell.ratio or 0.0] = int(values["parameters"])
    tried = []
    for ratio, files in sorted(by_ratio.items()):
        rises, documents = dict[str, Effect](), dict[str, int]()
        for (measure, task), file in sorted(files.items(), key=lambda item: item[0][0] != LIMIT):
            name = PERPLEXITY if measure == LIMIT else spelt(task).replace("_", " ")
            items = [pd.read_parquet(path.with_suffix(".parquet")) for path in (file, dense[measure, task])]
            rise, documents[name] = relative_rise(items[0], items[1], limit_column(measure), most)
            if not rise.has_interval:
                raise HfpruneError(f"--max-loss: too few documents of {name} for an interval; give --ratio")
            rises[name] = rise
        tried.append(Tried(ratio, sizes[ratio], rises, documents, (*dense.values(), *files.values())))
    return tried


def choice(tried: Sequence[Tried], most: float) -> Tried | None:
    """Return the largest cut up to which all have the high ends of their intervals below the limit, or None.

    `tried` begins with the smallest. Since a cut counts only if all smaller ones do (a fixed sequence of tests),
    one that loses more than the limit is chosen in at most 2.5 % of draws of the documents, however many are
    tried, and the intervals that chose the cut may judge it. Nor do several losses take a correction, since all of
    them must be within (an intersection-union test).
    """
    return [None, *takewhile(lambda cut: cut.is_within(most), tried)][-1]


def shown(tried: Sequence[Tried], most: float, out: Path) -> tuple[Tried, Swept]:
    """Print what was tried, draw it into the folder `out`, and return the cut to export, and all for the page.

    Raises:
        HfpruneError: no cut is within the limit; gives the losses of the smallest.
    """
    best, limit, least = choice(tried, most), percent(most), tried[0]
    names = [*least.losses]
    kept = [name for name in names if name != PERPLEXITY]
    headers = ["removed", "parameters", *(f"{name} (95 % interval)" for name in names), ""]
    rows = [
        [
            percent(cut.ratio),
            f"{cut.parameters:,}",
            *map(str, cut.losses.values()),
            "exported" * (cut == best),
        ]
        for cut in tried
    ]
    questions = ", ".join(f"{least.documents[name]} of {name}" for name in kept)
    answers = (
        f", and of the bits per byte of right answers as a share of the dense model's ({questions})"
        * bool(kept)
    )
    said = (
        f"Loss is the rise of perplexity against the dense model, on the same {least.documents[PERPLEXITY]} crops "
        f"of {CROPS['length']} tokens, each from another document of {CROPS['corpus']}{answers}, before any "
        "training, but with reconstruction where the recipe has it. The largest cut is exported up to which each "
        f"has the high end of {'every' if kept else 'its'} 95 % interval below {limit}."
    )
    print(
        tabulate(rows, headers, disable_numparse=True, colalign=["right"] * len(headers[:-1])),
        f"\n{said}\n",
        sep="\n",
    )
    _draw(tried, best, most, out / SWEPT)
    if not best:
        lost = ", ".join(f"{name} {loss}" for name, loss in least.losses.items() if loss.high >= most)
        raise HfpruneError(
            f"--max-loss: no cut has an interval that ends below {limit}, so nothing is exported: the smallest, "
            f"{rows[0][0]} of the parameters, loses {lost}"
        )
    return best, Swept(headers, rows, said, (out / SWEPT).read_bytes())


def _draw(tried: Sequence[Tried], best: Tried | None, most: float, path: Path) -> None:
    looks = {
        DENSE: Look(f"--max-loss {percent(most)}", "#000000", "D"),
        "tried": Look("Tried, with 95 % intervals", "#0072B2", "o"),
        "best": Look("Exported", "#D55E00", "D"),
    }
    drawn = [(cut.parameters, cut.losses[PERPLEXITY]) for cut in tried]
    rows = pd.DataFrame([(count, loss.value, loss.low, loss.high) for count, loss in drawn])
    rows = rows.set_axis(["parameters", "value", "low", "high"], axis=1)
    rows = rows.assign(place=rows["parameters"] / 1e6, group="tried")
    exported = rows[[cut == best for cut in tried]].assign(group="best")
    rows = pd.concat([rows, exported, pd.DataFrame([{"group": DENSE, "value": most}])])
    rows[["value", "low", "high"]] += 1
    chart = Chart(rows, looks, "Perplexity over the dense model's", "Parameters (million)", log=True)
    with theme(), atomic_file(path) as file:
        sheet([("", [chart])], width=4.6, height=2.4).savefig(file, metadata={"Date": None})
