"""Every method beside the reference method: what of it differs, and how far its neurons and its outputs do."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from hfprune import layout
from hfprune.analysis.averages import AVERAGE
from hfprune.analysis.collect import (
    ABLATION,
    COMPARISON,
    RANKS,
    jaccard,
    read_collected,
    read_layers,
)
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.statistics import (
    Estimate,
    NotComparableError,
    Outcomes,
    by_seed,
    contrast,
    documents_of,
    paired_bootstrap,
)
from hfprune.analysis.style import looks
from hfprune.analysis.typeset import MISSING, Table, csv, latex, markdown, write_texts
from hfprune.calibration import derive_seed
from hfprune.criterion import make_criterion
from hfprune.results import DENSE, Cell
from hfprune.study import Study

REFERENCE = "entropy"  # the paper's criterion
NEAR = 0.1  # of a layer's width: how far from the cut is a close call
CALIBRATED = {"corpus", "sequences"}
EFFECTS = ("js_distance", "perplexity_ratio", "points")


class Row(NamedTuple):
    """A method, or the reference with another seed, beside the reference on one model at one ratio.

    The reference itself, where ablation was measured, has nothing but its `ablation_correlation`. `overlap` is the
    Jaccard index of the kept neurons and `rank_correlation` Spearman's of the scores. `near_cut` is the share of
    the disputed neurons, which one of the two keeps and the other does not, that lie within a tenth of the layer's
    width from both cuts. `ablation_correlation` is Spearman's of the method's scores with what ablating a neuron
    does. All are means over layers and seeds. The effects, each with its 95 % interval, are differences of JS
    distance to the dense model, ratios of perplexity, and differences of average accuracy in points.
    """

    model: str
    ratio: float
    method: str
    seed: int | None
    reference: str
    differs: str
    overlap: float
    rank_correlation: float
    near_cut: float
    ablation_correlation: float
    js_distance: float = np.nan
    js_distance_low: float = np.nan
    js_distance_high: float = np.nan
    perplexity_ratio: float = np.nan
    perplexity_ratio_low: float = np.nan
    perplexity_ratio_high: float = np.nan
    points: float = np.nan
    points_low: float = np.nan
    points_high: float = np.nan


def reference_of(study: Study, method: str) -> str:
    """Return the method that another is compared with: entropy, or the first criterion of a study without it.

    Where the study has that calibrated as the method is, on the same corpus and as many sequences, then this one.
    """
    criteria = [other for other, settings in study.methods.items() if not settings.baseline]
    reference = REFERENCE if REFERENCE in criteria else [*criteria, *study.methods][0]
    if method == reference:
        return reference
    alike = (
        other
        for other in study.methods
        if other != method
        and _differences(study, other, reference).keys() <= CALIBRATED
        and not _differences(study, method, other).keys() & (CALIBRATED | {"baseline"})
    )
    return next(alike, reference)


def differing(study: Study, method: str, reference: str) -> str:
    """Return what of a method is not as in the reference: `criterion`, `aggregation`, `corpus`, … or `baseline`.

    An option that only one of two criteria has does not count.
    """
    return ", ".join(_differences(study, method, reference))


def _differences(study: Study, method: str, reference: str) -> dict[str, None]:
    """Return the names of what differs, in their order."""
    ours, theirs = _settings(study, method), _settings(study, reference)
    if "baseline" in ours | theirs:
        return {"baseline": None}
    return {key: None for key in ours if key in theirs and ours[key] != theirs[key]}


def _settings(study: Study, name: str) -> dict[str, Any]:
    """Return everything that a method's plans depend on, by the names that the study's file has for it."""
    method = study.methods[name]
    if method.baseline:
        return {"baseline": method.baseline}
    criterion = make_criterion(method.criterion or name, method.options, name, method.parts)
    return {
        "criterion": method.criterion or name,
        **criterion.model_dump(),
        "allocation": method.allocation,
        "parts": method.parts,
        "corpus": study.corpus_of(name),
        "sequences": method.sequences or study.calibration.sequences,
    }


def compare(study: Study, name: str, folder: Path, tidy: Path) -> pd.DataFrame:
    """Compare every method of a study, without recovery, with the reference; columns of `Row`.

    Args:
        study: which cells there should be.
        name: of the study.
        folder: its results, with the cells, scores and plans.
        tidy: folder that `hfprune.analysis.collect.collect` wrote to.

    Raises:
        HfpruneError: a result that is there cannot be read. What is missing leaves its numbers out.
    """
    evidence, neurons = Evidence(study, name, folder, tidy), _Neurons(folder, tidy)
    rows = [
        row
        for model in study.models
        for ratio in study.ratios_of(model)
        for row in _compare_at(evidence, neurons, study, model, ratio)
    ]
    table = pd.DataFrame(rows, columns=Row._fields)
    order = [*looks(study.methods)]
    # One thing that differs before several, and what is only another draw of the calibration first.
    table["kind"] = table["differs"].str.count(",")
    table["place"] = table["method"].map(order.index)
    by = ["model", "ratio", "kind", "differs", "place", "seed"]
    return table.sort_values(by, ignore_index=True)[[*Row._fields]]


def _compare_at(
    evidence: Evidence, neurons: "_Neurons", study: Study, model: str, ratio: float
) -> Iterator[Row]:
    cells = [
        cell
        for cell in evidence.cells
        if (cell.model, cell.ratio, cell.recovery) == (model, ratio, "none") and cell.method != DENSE
    ]
    of = {method: [cell for cell in cells if cell.method == method] for method in study.methods}
    for method in study.methods:
        if not of[method]:  # every cell is recovered
            continue
        reference = reference_of(study, method)
        if reference != method:
            differs = differing(study, method, reference)
            yield _row(evidence, neurons, method, None, differs, of[method], of[reference])
            continue
        predicted = neurons.predicted(of[method])
        if not np.isnan(predicted):
            yield Row(model, ratio, method, None, method, "", np.nan, np.nan, np.nan, predicted)
        first, *others = of[method]
        for cell in others:  # the reference calibrated on another draw
            yield _row(evidence, neurons, method, cell.seed, "seed", [cell], [first])


def _row(
    evidence: Evidence,
    neurons: "_Neurons",
    method: str,
    seed: int | None,
    differs: str,
    ours: list[Cell],
    theirs: list[Cell],
) -> Row:
    model, ratio, reference = theirs[0].model, theirs[0].ratio, theirs[0].method
    assert ratio is not None  # that of plans
    effects: dict[str, float] = {}
    for effect, estimate in _effects(evidence, ours, theirs):
        values = estimate.value, estimate.low, estimate.high
        effects |= dict(zip((effect, f"{effect}_low", f"{effect}_high"), values, strict=True))
    similar = neurons.between(ours, theirs)
    predicted = neurons.predicted(ours)
    return Row(model, ratio, method, seed, reference, differs, *similar, predicted, **effects)


def _effects(evidence: Evidence, ours: list[Cell], theirs: list[Cell]) -> Iterator[tuple[str, Estimate]]:
    """Yield every effect that was measured on both sides, on the same items."""
    tasks = evidence.measured_tasks
    measures: list[tuple[str, str, list[str]]] = [("fidelity", "js_distance", []), ("perplexity", "nll", [])]
    measures += [("zeroshot", AVERAGE, tasks)] if tasks else []
    for effect, (measure, metric, of) in zip(EFFECTS, measures, strict=False):
        try:
            left, right = (evidence.outcomes(cells, measure, metric, of) for cells in (ours, theirs))
            estimate = _difference(left, right, (ours[0], effect))
        except NotComparableError:
            continue
        if effect == "perplexity_ratio":
            estimate = _map(estimate, np.exp)  # blocks are equally long, so that means of means are means
        yield effect, _map(estimate, lambda x: 100 * x) if effect == "points" else estimate


def _difference(left: Outcomes, right: Outcomes, place: tuple) -> Estimate:
    differences = contrast([(1.0, left), (-1.0, right)])
    return paired_bootstrap(differences, derive_seed(0, "comparison", *place), documents_of(left))


def _map(estimate: Estimate, function: Any) -> Estimate:
    value, low, high = (float(function(x)) for x in (estimate.value, estimate.low, estimate.high))
    return replace(estimate, value=value, low=low, high=high)


class _Neurons:
    """How far two cells agree on which neurons matter, from their plans and scores."""

    def __init__(self, folder: Path, tidy: Path) -> None:
        self._folder = folder
        self._read = cache(lambda path: read_layers(path) if path.exists() else {})
        ranks = read_collected(tidy / RANKS)
        with_ablation = ranks[ranks["method_b"] == ABLATION]
        self._predicted = with_ablation.groupby(["model", "method_a", "seed"])["spearman"].mean()

    def between(self, ours: list[Cell], theirs: list[Cell]) -> tuple[float, float, float]:
        """Return overlap, rank correlation and the disputed share near the cut (see `Row`), means over seeds."""
        pairs = by_seed([{cell.seed: cell for cell in cells} for cells in (ours, theirs)])
        overlap, ranks, near = (
            nanmean(nanmean(of(*pair)) for pair in pairs.values())
            for of in (self._overlaps, self._ranks, self._near_cut)
        )
        return overlap, ranks, near

    def predicted(self, ours: list[Cell]) -> float:
        """Return Spearman's correlation of the scores with what ablating a neuron does."""
        return nanmean(self._predicted.get((cell.model, cell.method, cell.seed), np.nan) for cell in ours)

    def _layers(self, pattern: str, *cells: Cell) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield, for every layer, what the files of the cells have; nothing where one cell has none."""
        files = [self._read(self._folder / f"{layout.fill(pattern, cell)}.safetensors") for cell in cells]
        for layer in files[0]:
            if all(layer in file for file in files):
                yield tuple(file[layer] for file in files)

    def _overlaps(self, a: Cell, b: Cell) -> list[float]:
        return [jaccard(*kept) for kept in self._layers(layout.PLAN, a, b)]

    def _ranks(self, a: Cell, b: Cell) -> list[float]:
        pairs = self._layers(layout.SCORES, a, b)
        return [pd.Series(x).corr(pd.Series(y), "spearman") for x, y in pairs]

    def _near_cut(self, a: Cell, b: Cell) -> list[float]:
        """Return of every neuron that one of the two keeps and the other does not whether it was close."""
        found = []
        layers = zip(self._layers(layout.PLAN, a, b), self._layers(layout.SCORES, a, b), strict=False)
        for kept, scores in layers:
            distances = [np.abs(rankdata(-s) - len(k)) / len(s) for k, s in zip(kept, scores, strict=True)]
            found += (np.maximum(*distances)[np.setxor1d(kept[0], kept[1])] < NEAR).astype(float).tolist()
        return found


def nanmean(values: Iterable[float]) -> float:
    """Return the mean of what is a number, NaN where nothing is."""
    return pd.Series([*values], dtype=float).mean()


def comparison_table(rows: pd.DataFrame) -> Table:
    """Make the table of `compare`'s rows."""
    names = looks({*rows["method"], *rows["reference"]})
    labels = [names[method].label for method in rows["method"]]
    seeds = ["" if pd.isna(seed) else f", seed {seed:.0f}" for seed in rows["seed"]]
    shown = pd.DataFrame(
        {
            "Ratio": [f"{100 * ratio:.3g}%" for ratio in rows["ratio"]],
            "Method": [label + seed for label, seed in zip(labels, seeds, strict=True)],
            "Differs in": rows["differs"],
            "Overlap": [_number(value, "{:.2f}") for value in rows["overlap"]],
            "Rank corr.": [_number(value, "{:.2f}") for value in rows["rank_correlation"]],
            "Near the cut": [_number(value, "{:.0%}") for value in rows["near_cut"]],
            "Ablation corr.": [_number(value, "{:.2f}") for value in rows["ablation_correlation"]],
            "Δ JS distance": _intervals(rows, "js_distance", "{:+.3f}", better=-1, than=0),
            "Perplexity ratio": _intervals(rows, "perplexity_ratio", "{:,.2f}", better=-1, than=1),
            "Δ accuracy (points)": _intervals(rows, "points", "{:+.1f}", better=1, than=0),
        }
    )
    shown = shown.drop(columns=[column for column in shown if set(shown[column]) == {MISSING}])
    references = [names[name].label for name in rows["reference"]]
    if len(set(references)) > 1:
        shown.insert(2, "Reference", references)
    notes = [
        f"Reference: {' or '.join(dict.fromkeys(references))}, seed by seed on the same items; without recovery.",
        "Differs in: what the study sets otherwise than for the reference; options that one of two criteria lacks "
        "do not count.",
        "Overlap: Jaccard index of the kept neurons. Rank corr.: Spearman's of the scores. Near the cut: share of "
        "the neurons kept by only one of the two that lie within a tenth of the layer's width from both cuts. "
        + "Ablation corr.: Spearman's of the method's scores with the KL divergence that ablating single neurons "
        "causes. " * ("Ablation corr." in shown) + "All are means over layers.",
        "In brackets: 95 % interval of a paired bootstrap over items, documents and seeds. Bold: wholly on the "
        "better side. Each comparison stands by itself: of a hundred without any effect, five would miss it.",
    ]
    if "Δ accuracy (points)" in shown:
        notes.append(
            "Accuracy: the paper's average over tasks, which counts CrowS-Pairs as an accuracy where it is."
        )
    groups = rows.groupby(["model", "ratio"], sort=False).ngroup()
    return Table("Every method beside the reference.", rows, shown, groups, notes, rows["model"])


def _intervals(rows: pd.DataFrame, effect: str, form: str, better: int, than: float) -> list[str]:
    cells = []
    for value, low, high in zip(*(rows[effect + end] for end in ("", "_low", "_high")), strict=True):
        text = _number(value, form)
        if pd.notna(low):
            text += f" [{form.format(low)}, {form.format(high)}]"
            text = f"**{text}**" if min(better * (low - than), better * (high - than)) > 0 else text
        cells.append(text)
    return cells


def _number(value: float, form: str) -> str:
    return MISSING if pd.isna(value) else form.format(value)


def write_comparison(study: Study, name: str, folder: Path, out: Path) -> pd.DataFrame:
    """Write `comparison.csv`, `.md` and `.tex`, and return the rows of the CSV.

    Args:
        study: which cells there should be.
        name: of the study.
        folder: its results, with the cells, scores and plans.
        out: folder that `hfprune.analysis.collect.collect` wrote to, and this does too.

    Raises:
        HfpruneError: as `compare`.
    """
    rows = compare(study, name, folder, out)
    table, stem = comparison_table(rows), COMPARISON.removesuffix(".csv")
    texts = {"csv": csv(table), "md": markdown(table), "tex": latex(table, stem)}
    write_texts(out, stem, texts)
    return rows
