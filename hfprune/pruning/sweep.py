"""How much is cut: the losses and speeds of a model at several ratios, and the cut that meets the limits."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from tabulate import tabulate

from hfprune.cells import DENSE, read_result
from hfprune.comparison.before_after import SPEED, read_sides, spelt
from hfprune.comparison.rows import speeds_of, speedups
from hfprune.comparison.steps import LIMIT, limit_column, relative_rise
from hfprune.errors import HfpruneError
from hfprune.files import atomic_file
from hfprune.page.pruned import Swept
from hfprune.pruning.beside_dense import CROPS, TURNS
from hfprune.pruning.folder import SWEPT, WORK
from hfprune.report.charts import Chart
from hfprune.report.drawing.panels import sheet, theme
from hfprune.report.style import Look
from hfprune.results.effect import Effect
from hfprune.rounding import percent
from hfprune.stages import Stage

PERPLEXITY = "perplexity"


class Tried(NamedTuple):
    """A cut, and what was measured of it beside the dense model; `neutral` of an effect is the limit."""

    ratio: float
    parameters: int
    losses: dict[str, Effect]
    """Rises, as shares of the dense model's numbers (0.2: by 20 %), of perplexity on held-out text, and of the
    bits per byte of each capability that is to be kept, by name; 95 % intervals are in pairs over documents."""
    speeds: dict[str, Effect]
    """How many times as fast it is, by name; 95 % intervals are over turns with the dense model."""
    documents: dict[str, int]
    files: tuple[Path, ...] = ()
    """The results of the dense and of this model."""


def cuts(jobs: Mapping[str, Stage], most: float | None, goal: float | None) -> list[Tried]:
    """Return what the jobs of a sweep have found, the smallest cut first.

    Args:
        jobs: measure losses, speeds or both.
        most: the limit of every loss.
        goal: the speed-up that is asked for.

    Raises:
        HfpruneError: too few documents for an interval.
    """
    written = [file for job in jobs.values() if job.stage == "measure" for file in job.outputs()]
    results = {file: read_result(file) for file in written if file.suffix == ".json"}
    by_ratio: dict[float, dict[tuple[str, str], Path]] = {}
    for file, result in results.items():
        by_ratio.setdefault(result.cell.cut_at, {})[result.measure, result.task] = file
    dense = by_ratio.pop(0.0, {})
    sizes: dict[float, int] = {}
    for plan in (read_result(job.outputs()[1]) for job in jobs.values() if job.stage == "plan"):
        values = {value.metric: value.value for value in plan.values}
        sizes[plan.cell.cut_at] = int(values["parameters"])
    tried = []
    for ratio, files in sorted(by_ratio.items()):
        rises, documents = dict[str, Effect](), dict[str, int]()
        every = (*dense.values(), *files.values())
        timed = files.pop((SPEED, ""), None)
        for (measure, task), file in sorted(files.items(), key=lambda item: item[0][0] != LIMIT):
            name = PERPLEXITY if measure == LIMIT else spelt(task).replace("_", " ")
            items = [pd.read_parquet(path.with_suffix(".parquet")) for path in (file, dense[measure, task])]
            rise, documents[name] = relative_rise(items[0], items[1], limit_column(measure), most or 0)
            if not rise.has_interval:
                raise HfpruneError(f"--max-loss: too few documents of {name} for an interval; give --ratio")
            rises[name] = rise
        sides = read_sides({timed: results[timed]} if timed else {})
        speeds = speedups(speeds_of(sides, ""), goal or 0)
        tried.append(Tried(ratio, sizes[ratio], rises, speeds, documents, every))
    return tried


def choice(tried: Sequence[Tried]) -> Tried | None:
    """Return the largest cut that is within the limits, or, where speed was asked for, the smallest; or None.

    `tried` begins with the smallest. A cut counts as within a limit of loss only if all smaller ones are, and as
    fast only if all larger ones are (fixed sequences of tests). So one that loses more, or is slower, is chosen in
    at most 2.5 % of draws of the documents or turns, however many are tried, and the intervals that chose the cut
    may judge it. Nor do several limits take a correction, since all must be met (an intersection-union test).
    """
    within, fast = _meeting(tried)
    both = [cut for cut in within if cut in fast]
    if not both:
        return None
    return both[0] if both[0].speeds else both[-1]


def _meeting(tried: Sequence[Tried]) -> tuple[list[Tried], list[Tried]]:
    """Return the cuts within the limits of loss, the smallest first, and the fast ones, the largest first."""
    within = takewhile(lambda cut: all(x.high < x.neutral for x in cut.losses.values()), tried)
    fast = takewhile(lambda cut: all(x.low > x.neutral for x in cut.speeds.values()), reversed(tried))
    return [*within], [*fast]


def shown(tried: Sequence[Tried], out: Path, batch: int = 1) -> tuple[Tried, Swept]:
    """Print what was tried, draw it into the folder `out`, and return the cut to export, and all for the page.

    Args:
        tried: all cuts, the smallest first.
        out: the folder of the figure.
        batch: texts that were decoded at a time.

    Raises:
        HfpruneError: no cut is within the limits; gives what comes nearest.
    """
    best, least = choice(tried), tried[0]
    headers = ["removed", "parameters", *(f"{name} (95 % interval)" for name in least.losses)]
    headers += [*(f"{name}, times as fast (95 % interval)" for name in least.speeds), ""]
    rows = [
        [
            percent(cut.ratio),
            f"{cut.parameters:,}",
            *map(str, (cut.losses | cut.speeds).values()),
            "exported" * (cut == best),
        ]
        for cut in tried
    ]
    said = _measured(least, batch) + f"The {'smallest' if least.speeds else 'largest'} such cut is exported."
    print(
        tabulate(rows, headers, disable_numparse=True, colalign=["right"] * len(headers[:-1])),
        f"\n{said}\n",
        sep="\n",
    )
    _draw(tried, best, out / SWEPT)
    if not best:
        raise HfpruneError(_refusal(tried, out / WORK))
    return best, Swept(headers, rows, said, (out / SWEPT).read_bytes())


def _measured(cut: Tried, batch: int) -> str:
    """Return what was measured of all cuts, and which of them are within the limits."""
    kept, said = [name for name in cut.losses if name != PERPLEXITY], ""
    questions = ", ".join(f"{cut.documents[name]} of {name}" for name in kept)
    answers = (
        f", and of the bits per byte of right answers as a share of the dense model's ({questions})"
        * bool(kept)
    )
    if cut.losses:
        said += (
            "Loss is the rise of perplexity against the dense model, on the same "
            f"{cut.documents[PERPLEXITY]} crops of {CROPS['length']} tokens, each from another document of "
            f"{CROPS['corpus']}{answers}, before any training, but with reconstruction where the recipe has it. "
            "A cut is within the limit if it and every smaller one have the high end of "
            f"{'every' if kept else 'its'} 95 % interval below {percent(cut.losses[PERPLEXITY].neutral)}. "
        )
    if cut.speeds:
        said += (
            f"Each cut took {TURNS['repeats']} turns with the dense model: the prefill of "
            f"{TURNS['prompt_tokens']} tokens, and the decoding of {TURNS['new_tokens']} tokens, {batch} "
            f"{'texts' if batch > 1 else 'text'} at a time. A cut is fast enough if it and every larger one "
            f"have the low end of both 95 % intervals above {cut.speeds['decoding'].neutral:g}. "
        )
    return said


def _refusal(tried: Sequence[Tried], work: Path) -> str:
    """Return the line on each limit that no cut meets, or on the two that no cut meets both.

    Times in the folder `work` are not measured again unless they are removed, as where other work disturbed them.
    """
    (within, fast), lines = _meeting(tried), list[str]()
    if not within:
        least = tried[0]
        lost = ", ".join(f"{name} {loss}" for name, loss in least.losses.items() if loss.high >= loss.neutral)
        lines.append(
            f"--max-loss: no cut has an interval that ends below {percent(least.losses[PERPLEXITY].neutral)}, so "
            f"nothing is exported: the smallest, {percent(least.ratio)} of the parameters, loses {lost}"
        )
    for name, speed in tried[-1].speeds.items():
        if not speed.low > speed.neutral:
            best, largest = max(tried, key=lambda cut: cut.speeds[name].value), tried[-1]
            if best.speeds[name].low > speed.neutral:
                lines.append(
                    f"--speedup: --ratio {best.ratio:g} is {best.speeds[name]} times as fast in {name}, but the "
                    f"larger cut {largest.ratio:g} only {speed}, so nothing is exported; give --ratio "
                    f"{best.ratio:g} to export that cut"
                )
                continue
            lines.append(
                f"--speedup: no cut is shown to be {speed.neutral:g} times as fast in {name}, so nothing is "
                f"exported: the largest speed-up measured is {best.speeds[name]}, at --ratio {best.ratio:g}"
            )
    if tried[-1].speeds and not fast:
        lines.append(
            f"if other programs ran meanwhile, remove the times (find {work} -name '{SPEED}.*' -delete) and run "
            "again"
        )
    return "; ".join(lines) or (
        "--max-loss and --speedup: no cut meets both, so nothing is exported: --max-loss fails above --ratio "
        f"{within[-1].ratio:g}, --speedup below --ratio {fast[-1].ratio:g}"
    )


def _draw(tried: Sequence[Tried], best: Tried | None, path: Path) -> None:
    looks = {
        DENSE: Look("The limit", "#000000", "D"),
        "tried": Look("Tried, with 95 % intervals", "#0072B2", "o"),
        "best": Look("Exported", "#D55E00", "D"),
    }
    charts = []
    for name in [PERPLEXITY] * bool(tried[0].losses) + [*tried[0].speeds]:
        drawn = [((cut.losses | cut.speeds)[name], cut) for cut in tried]
        rows = pd.DataFrame(
            [
                (cut.parameters / 1e6, group, effect.value, effect.low, effect.high)
                for effect, cut in drawn
                for group in ("tried", *["best"] * (cut == best))
            ],
            columns=["place", "group", "value", "low", "high"],
        )
        rows = pd.concat([rows, pd.DataFrame([{"group": DENSE, "value": drawn[0][0].neutral}])])
        rows[["value", "low", "high"]] += name == PERPLEXITY
        label = "Perplexity over the dense model's" if name == PERPLEXITY else f"Speed-up of {name}"
        charts.append(Chart(rows, looks, label, "Parameters (million)", log=True))
    with theme(), atomic_file(path) as file:
        width = 4.6 if len(charts) == 1 else None
        sheet([("", charts)], width=width, height=2.4).savefig(file, metadata={"Date": None})
