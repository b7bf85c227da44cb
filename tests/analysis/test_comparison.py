"""Methods beside the reference: what differs, agreement of neurons, and paired differences, by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawings import figure_of
from safetensors.numpy import load_file
from scipy.stats import spearmanr, t
from synthetic import PAPER, Study, analysed, evidence, gather

from hfprune.analysis.against_reference import compare
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.reference import differing, reference_of
from hfprune.report.collected import Collected
from hfprune.report.drawing.figure_files import made_figure
from hfprune.report.table_files import made_table
from hfprune.report.typeset import markdown
from hfprune.study.study import Study as Config

BASE = {"criterion": "entropy"}


def config(methods: dict, **changes) -> Config:
    return Config(
        models=["tiny-llama"], ratios=[0.2], calibration={"corpus": "c4", "sequences": 4, "length": 8},
        measures={}, methods=methods, **changes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ({"criterion": "cross_entropy"}, "criterion"),
        ({"criterion": "fisher"}, "criterion, aggregation"),
        (BASE | {"options": {"aggregation": "sum_squares"}}, "aggregation"),
        (BASE | {"allocation": "global"}, "allocation"),
        (BASE | {"steps": 4}, "steps"),
        (BASE | {"bias": True}, "bias"),
        (BASE | {"corpus": "c4", "sequences": 4}, ""),
        (BASE | {"sequences": 2, "units": ["neurons", "key_value_groups"]}, "units, sequences"),
        ({"baseline": "shortgpt"}, "baseline"),
    ],
)
def test_what_differs_is_what_the_study_sets_otherwise(method: dict, expected: str) -> None:
    assert ", ".join(differing(config({"entropy": None, "other": method}), "other", "entropy")) == expected


def test_the_reference_is_calibrated_alike_where_the_study_has_that() -> None:
    wiki = {"corpus": "wiki"}
    squares = BASE | {"options": {"aggregation": "sum_squares"}}
    own = {"magnitude": None, "entropy": None, "entropy_wiki": BASE | wiki, "squares": squares}
    own |= {"squares_wiki": squares | wiki, "squares_code": squares | {"corpus": "code"}}
    study = config(own | {"shortgpt": {"baseline": "shortgpt"}})
    again = config({"entropy": None, "again": BASE})
    assert {reference_of(again, method) for method in again.methods} == {"entropy"}
    references = {method: reference_of(study, method) for method in study.methods}
    assert references == dict.fromkeys(study.methods, "entropy") | {"squares_wiki": "entropy_wiki"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Config, Path]:
    """Two methods with three seeds, measured on eight blocks of four documents."""
    study = Study(
        tmp_path_factory.mktemp("study"), methods=["entropy", "magnitude"], ratios=[0.2], seeds=[0, 1, 2]
    )
    rng = np.random.default_rng(0)
    for j, method in enumerate(study.methods):
        for seed in study.seeds:
            study._neurons(method, 0, 0.2 + 0.5 * j, model="tiny-llama", seed=seed)
            for place, metric, values in (
                ("fidelity", "js_distance", 0.4 + 0.1 * j + 0.01 * rng.normal(size=8)),
                ("perplexity", "nll", 4.0 + np.log(2) * j + 0.05 * seed + np.zeros(8)),
                ("zeroshot/boolq", "acc", np.repeat([1, 0], [6 - j, 2 + j])),
            ):
                study.outcomes(method, 0.2, place, values, metric=metric, seed=seed)
    study.tasks = {"boolq": 0.5}
    study.collect()
    return study, study.config(), study.folder


def test_effects_are_paired_differences(measured: tuple[Study, Config, Path]) -> None:
    _, settings, folder = measured
    rows = compare(evidence(settings, folder))
    assert [*rows["method"]] == ["magnitude", "entropy", "entropy"]
    assert [*rows["differs"]] == ["criterion", "seed", "seed"]
    row = rows.iloc[0]
    assert row["perplexity_ratio"] == pytest.approx(2)
    assert row["perplexity_ratio_low"] == pytest.approx(2), "the same on every item and seed"
    assert row["js_distance"] == pytest.approx(0.1, abs=0.01)
    assert 0.07 < row["js_distance_low"] < row["js_distance"] < row["js_distance_high"] < 0.13
    assert row["points"] == pytest.approx(-12.5)
    # One of eight items differs, always the same: Student's t of -1 and seven zeros, in percent.
    half = t.ppf(0.975, 7) * np.std([-1] + [0] * 7, ddof=1) / np.sqrt(8)
    assert row["points_high"] == pytest.approx(100 * (-1 / 8 + half))
    assert (row["draws"], row["resamples"]) == (3, 0)
    # The only comparison of its family: nothing to correct.
    assert row["js_distance_holm"] == row["js_distance_p"] < 0.01
    other_seed = rows.iloc[1]
    assert other_seed["seed"] == 1 and 0 < other_seed["overlap"] < 1
    assert np.isnan(other_seed["perplexity_ratio"]), "two draws of one method have no interval"


def corrected(rows: pd.DataFrame, effects: list[str]) -> bool:
    (smaller, larger), holm = (
        np.sort(rows[[effect + end for effect in effects]].to_numpy(float).ravel()) for end in ("_p", "_holm")
    )
    assert 0 < smaller < larger < 1
    return holm == pytest.approx([2 * smaller, max(2 * smaller, larger)])


def test_outcomes_that_a_study_corrects_together_are_one_family(measured: tuple[Study, Config, Path]) -> None:
    _, settings, folder = measured
    together = settings.model_copy(update={"corrected_together": [["zeroshot", "fidelity"]]})
    alone, family = (compare(evidence(one, folder)).iloc[:1] for one in (settings, together))
    assert corrected(family, ["js_distance", "points"])
    assert not corrected(alone, ["js_distance", "points"]), "each by itself unless the study says so"
    assert [*family["corrected_together"]] == ["points+js_distance"] and "corrected_together" not in alone
    assert [*family["perplexity_ratio_holm"]] == [*alone["perplexity_ratio_holm"]]


def test_agreement_of_neurons_is_the_mean_over_layers_and_seeds(measured: tuple[Study, Config, Path]) -> None:
    study, settings, folder = measured

    def pair(kind: str, *of: tuple[str, int]) -> list[tuple[np.ndarray, np.ndarray]]:
        places = (next(folder.glob(f"{kind}/tiny-llama/{name}/**/seed{k}.safetensors")) for name, k in of)
        a, b = map(load_file, places)
        return [(a[name], b[name]) for name in a]

    def overlap(*of: tuple[str, int]) -> float:
        sets = [({*a}, {*b}) for a, b in pair("plans", *of)]
        return np.mean([len(x & y) / len(x | y) for x, y in sets])

    def ranks(*of: tuple[str, int]) -> float:
        return np.mean([spearmanr(a, b).statistic for a, b in pair("scores", *of)])

    row, other_seed, *_ = (line for _, line in compare(evidence(settings, folder)).iterrows())
    beside = [(("magnitude", k), ("entropy", k)) for k in study.seeds]
    assert row["overlap"] == pytest.approx(np.mean([overlap(*of) for of in beside]))
    assert row["rank_correlation"] == pytest.approx(np.mean([ranks(*of) for of in beside]))
    again = ("entropy", 0), ("entropy", 1)
    assert other_seed["overlap"] == pytest.approx(overlap(*again))
    assert other_seed["rank_correlation"] == pytest.approx(ranks(*again))


def test_disputed_neurons_are_near_the_cut_or_not(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["entropy", "magnitude"], ratios=[0.2])
    # Of twenty neurons both keep ten. They differ in 9 and 10, next to the cut, and in 0 and 19, far from it.
    scores = np.arange(20.0)[::-1].copy()
    swapped = scores.copy()
    swapped[[9, 10]], swapped[[0, 19]] = swapped[[10, 9]], swapped[[19, 0]]
    for method, values in {"entropy": scores, "magnitude": swapped}.items():
        study.scored(method, [values], {0.2: 10})
    study.collect()
    (row,) = compare(Evidence(tmp_path)).itertuples()
    assert (row.overlap, row.near_cut) == (pytest.approx(8 / 12), 0.5)


def test_the_table_shows_them(measured: tuple[Study, Config, Path], tmp_path: Path) -> None:
    _, settings, folder = measured
    tables, rows = analysed(gather(settings, folder, tmp_path)), compare(Evidence(tmp_path))
    assert {path.suffix for path in tables.glob("comparison.*")} == {".csv", ".md", ".tex"}
    text = (tables / "comparison.md").read_text()
    assert "2.00 [2.00, 2.00]" in text and "**2.00" not in text, "worse, and so not bold"
    better = rows.assign(perplexity_ratio_low=0.5, perplexity_ratio=0.6, perplexity_ratio_high=0.7)
    for holm, shown in {0.04: "**0.60 [0.50, 0.70]**", 0.06: " 0.60 [0.50, 0.70]"}.items():
        better.assign(perplexity_ratio_holm=holm).to_csv(tmp_path / "comparison.csv")
        table = made_table("comparison", Collected(tmp_path, PAPER))
        assert shown in markdown(table), "bold by the corrected p-value, not by the raw interval"

    first = settings.model_copy(update={"primary": "perplexity"})
    text = (analysed(gather(first, folder, tmp_path)) / "comparison.md").read_text()
    assert "Primary outcome, chosen before the study was run: Perplexity ratio." in " ".join(text.split())


def test_what_is_not_measured_is_left_out(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["magnitude", "random"], ratios=[0.2])
    for method in study.methods:
        study._neurons(method, 0, 0.5, model="tiny-llama", seed=0)
    study.collect()
    analysed(tmp_path)
    rows = compare(Evidence(tmp_path))
    assert rows[["method", "reference"]].to_numpy().tolist() == [["random", "magnitude"]]
    assert rows[["js_distance", "perplexity_ratio", "points"]].isna().all(axis=None)
    assert len(figure_of("comparison", Collected(tmp_path, PAPER)).axes) == 1, "only the overlap"
    assert compare(evidence(study.config(recoveries=["linear"]), tmp_path)).empty


def test_a_study_of_one_method_says_so(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["entropy"], ratios=[0.2])
    study._neurons("entropy", 0, 0.5, model="tiny-llama", seed=0)
    study.collect()
    text = (analysed(tmp_path) / "comparison.md").read_text()
    assert "No two methods were measured at the same ratio." in text
    assert "not measured" in made_figure("comparison", Collected(tmp_path, PAPER))
