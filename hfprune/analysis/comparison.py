"""Every method beside the reference method: its other settings, neurons and outputs."""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfprune.analysis.declarations import Declaration
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.neurons import ABLATION, jaccard, read_layers
from hfprune.analysis.significance import holm
from hfprune.analysis.statistics import LEVEL, Estimate, NotComparableError, contrast, estimate
from hfprune.analysis.tidy import RANKS, read_companion
from hfprune.criteria import CRITERIA
from hfprune.results import Cell
from hfprune.study import layout
from hfprune.study.study import Study

REFERENCE = "entropy"  # the paper's criterion
NEAR = 0.1  # fraction of a layer's width within which a neuron is near the cut
CALIBRATED = {"corpus", "sequences"}
ENDS = ("", "_low", "_high")  # suffixes of an effect's columns: its value and the ends of its interval
P_VALUES = ("_p", "_holm")  # its p-value, and that by Holm's method for all methods and ratios of the model
ABLATED = "ablation_difference"


class MethodRow(NamedTuple):
    """A method, or the reference with another seed, beside the reference on one model at one ratio.

    The reference itself has a row if ablation was measured, with `ablation_correlation` only. Another seed has
    only the agreement on neurons: two draws of one method have no interval. `draws` counts the seeds, and
    `resamples` the resampled calibrations that the spread over draws is from. `overlap` is the
    Jaccard index of the kept neurons, and `rank_correlation` is Spearman's of the scores. `near_cut` is the share
    of the disputed neurons, which only one of the two keeps, that lie within a tenth of the layer's width from
    both cuts. `ablation_correlation` is Spearman's of the method's scores with the effect of ablating a neuron.
    All are means over layers and seeds.
    """

    model: str
    ratio: float
    method: str
    seed: int | None
    reference: str
    differs: str
    draws: int
    resamples: int
    overlap: float
    rank_correlation: float
    near_cut: float
    ablation_correlation: float


def reference_of(study: Study, method: str) -> str:
    """Return the reference of a method: entropy, or the first criterion of a study without entropy.

    If the study has this reference with the method's own calibration (corpus and number of sequences), that one is
    returned.
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
    """Return the settings in which a method differs from the reference: `criterion`, `corpus`, … or `baseline`.

    An option that only one of two criteria has does not count.
    """
    return ", ".join(_differences(study, method, reference))


def _differences(study: Study, method: str, reference: str) -> dict[str, None]:
    """Return the names of the settings that differ, in order."""
    ours, theirs = _settings(study, method), _settings(study, reference)
    if "baseline" in ours | theirs:
        return {"baseline": None}
    return {key: None for key in ours if key in theirs and ours[key] != theirs[key]}


def _settings(study: Study, name: str) -> dict[str, Any]:
    """Return every setting that a method's plans depend on, by its name in the study's file."""
    method = study.methods[name]
    if method.baseline:
        return {"baseline": method.baseline}
    criterion = CRITERIA.make(method.criterion or name, method.options, name)
    return {
        "criterion": method.criterion or name,
        **criterion.model_dump(),
        "allocation": method.allocation,
        "steps": method.steps,
        "units": method.units,
        "corpus": study.corpus_of(name),
        "sequences": method.sequences or study.calibration.sequences,
    }


def compare(study: Study, name: str, folder: Path, tidy: Path) -> pd.DataFrame:
    """Compare every method of a study, without recovery, with the reference.

    Args:
        study: which cells there should be.
        name: of the study.
        folder: its results, with the cells, scores and plans.
        tidy: folder that `hfprune.analysis.collect.collect` wrote to.

    Returns:
        The columns of `MethodRow`; `ablation_difference`, the difference of the ablation correlations with an
        interval over layers; and for each effect of `hfprune.analysis.declarations.Declarations.effects` its
        value and the ends of its 95 % interval over draws and items together, as `<effect>`, `<effect>_low` and
        `<effect>_high`: differences in the units shown to readers (points for accuracy), or ratios. `<effect>_p`
        is the p-value of no effect, and `<effect>_holm` that p-value corrected by Holm's method for all methods
        and ratios of the model.

    Raises:
        HfpruneError: an existing result cannot be read. Numbers of missing results are left out.
    """
    evidence, neurons = Evidence(study, name, folder, tidy), _Neurons(folder, tidy)
    rows = [
        row
        for model in study.models
        for ratio in study.ratios_of(model)
        for row in _compare_at(evidence, neurons, study, model, ratio)
    ]
    names = [*evidence.declared.effects()]
    effects = [effect + end for effect in names for end in (*ENDS, *P_VALUES)]
    effects = [*(ABLATED + end for end in ENDS), *effects]
    columns = [*MethodRow._fields, *effects]
    table = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(effects, float))
    for name in names:
        table[f"{name}_holm"] = table.groupby("model")[f"{name}_p"].transform(holm)
    # Rows with one differing setting come before those with several.
    table["kind"] = table["differs"].str.count(",")
    by = ["model", "ratio", "kind", "differs", "method", "seed"]
    return table.sort_values(by, ignore_index=True)[columns]


def _compare_at(
    evidence: Evidence, neurons: "_Neurons", study: Study, model: str, ratio: float
) -> Iterator[dict[str, Any]]:
    of = {
        method: evidence.cells_of(model, method, ratio)
        for method in study.methods
        if (model, method, ratio) not in evidence.not_applicable
    }
    for method in study.methods:
        reference = reference_of(study, method)
        if not of.get(method) or not of.get(reference):  # recovered, or not applicable
            continue
        if reference != method:
            differs = differing(study, method, reference)
            yield _row(evidence, neurons, method, differs, of[method], of[reference])
            continue
        predicted = neurons.predicted(of[method])
        if not np.isnan(predicted):
            nothing = np.nan, np.nan, np.nan
            row = MethodRow(model, ratio, method, None, method, "", len(of[method]), 0, *nothing, predicted)
            yield row._asdict()
        first, *others = of[method]
        for cell in others:  # the reference calibrated on another draw
            similar = neurons.between([(cell, first)])
            row = MethodRow(
                model, ratio, method, cell.seed, method, "seed", 1, 0, *similar, neurons.predicted([cell])
            )
            yield row._asdict()


def _row(
    evidence: Evidence, neurons: "_Neurons", method: str, differs: str, ours: list[Cell], theirs: list[Cell]
) -> dict[str, Any]:
    model, ratio, reference = theirs[0].model, theirs[0].ratio, theirs[0].method
    assert ratio is not None  # plans have one
    columns = dict(zip((ABLATED + end for end in ENDS), neurons.differences(method, theirs[0]), strict=True))
    draws, resamples = len(ours), 0
    for effect, declared in evidence.declared.effects().items():
        try:
            found = _effect(evidence, ours, theirs, declared)
        except NotComparableError:
            continue
        resamples = max(resamples, found.resamples)
        # Items of one size, so that the mean of means is the mean.
        scale = declared.metric.scale
        shown = np.exp if declared.metric.effect == "ratio" else lambda x, scale=scale: scale * x
        columns |= {
            effect + end: shown(x) for end, x in zip(ENDS, (found.value, found.low, found.high), strict=True)
        }
        columns[effect + P_VALUES[0]] = found.p_value()
    similar = neurons.between([(a, b) for a in ours for b in theirs if a.seed == b.seed])
    predicted = neurons.predicted(ours)
    row = MethodRow(model, ratio, method, None, reference, differs, draws, resamples, *similar, predicted)
    return row._asdict() | columns


def _effect(evidence: Evidence, ours: list[Cell], theirs: list[Cell], declared: Declaration) -> Estimate:
    """Return the effect of one side against the other, in the metric's own scale; of a ratio, the logarithm.

    Raises:
        NotComparableError: it was not measured on both sides, on the same draws and items.
    """
    sides = [evidence.outcomes(cells, declared.measure, declared.metric.name) for cells in (ours, theirs)]
    return estimate(contrast([(1.0, sides[0]), (-1.0, sides[1])]))


class _Neurons:
    """Agreement of two cells on the neurons, from their plans and scores."""

    def __init__(self, folder: Path, tidy: Path) -> None:
        self._folder = folder
        self._read = cache(lambda path: read_layers(path) if path.exists() else {})
        ranks = read_companion(tidy, RANKS)
        with_ablation = ranks[ranks["method_b"] == ABLATION]
        self._predicted = with_ablation.groupby(["model", "method_a", "seed"])["spearman"].mean()
        self._by_layer = with_ablation.groupby(["model", "method_a", "layer"])["spearman"].mean()

    def between(self, pairs: list[tuple[Cell, Cell]]) -> tuple[float, float, float]:
        """Return overlap, rank correlation and the disputed share near the cut (`MethodRow`), means over pairs."""
        overlap, ranks, near = (
            nanmean(nanmean(of(*pair)) for pair in pairs)
            for of in (self._overlaps, self._ranks, self._near_cut)
        )
        return overlap, ranks, near

    def differences(self, method: str, reference: Cell) -> tuple[float, float, float]:
        """Return how much better a method predicts the effect of ablation than the reference, and the interval.

        Both are correlations by layer, means over seeds; the interval is Student's t over layers, in pairs.
        """
        from scipy.stats import t

        of = self._by_layer.to_dict()
        layers = [layer for model, name, layer in of if (model, name) == (reference.model, method)]
        pairs = [(reference.model, name, layer) for name in (method, reference.method) for layer in layers]
        if len(layers) < 2 or any(key not in of for key in pairs):
            return np.nan, np.nan, np.nan
        ours, theirs = np.array([of[key] for key in pairs]).reshape(2, -1)
        by_layer = ours - theirs
        half = t.ppf((1 + LEVEL) / 2, len(layers) - 1) * by_layer.std(ddof=1) / np.sqrt(len(layers))
        mean = float(by_layer.mean())
        return mean, mean - half, mean + half

    def predicted(self, ours: list[Cell]) -> float:
        """Return Spearman's correlation of the scores with the effect of ablating a neuron."""
        return nanmean(self._predicted.get((cell.model, cell.method, cell.seed), np.nan) for cell in ours)

    def _layers(self, pattern: str, *cells: Cell) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield the tensors of all cells for every layer that all cells have."""
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
        """Return 1 (near both cuts) or 0 for each neuron that only one of the two keeps."""
        from scipy.stats import rankdata

        found = []
        layers = zip(self._layers(layout.PLAN, a, b), self._layers(layout.SCORES, a, b), strict=False)
        for kept, scores in layers:
            distances = [np.abs(rankdata(-s) - len(k)) / len(s) for k, s in zip(kept, scores, strict=True)]
            found += (np.maximum(*distances)[np.setxor1d(kept[0], kept[1])] < NEAR).astype(float).tolist()
        return found


def nanmean(values: Iterable[float]) -> float:
    """Return the mean of the values that are numbers, or NaN if none is."""
    return pd.Series([*values], dtype=float).mean()
