"""The table of effects, agreement of neurons with the reference, and what differs from it, by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawings import figure_of
from safetensors.numpy import load_file
from scipy.stats import spearmanr, t
from synthetic import PAPER, Study, analysed, effects_of, evidence, gather

from hfprune.report.drawing.figure_files import make_figure
from hfprune.report.table_files import make_table
from hfprune.report.typeset import markdown
from hfprune.results.effect import Effect
from hfprune.results.evidence import Evidence
from hfprune.results.files import NEURONS
from hfprune.results.reader import Results
from hfprune.study.reference import differing, reference_of
from hfprune.study.study import Study as Config

BASE = {"criterion": "entropy"}
CALIBRATIONS = {name: {"corpus": name, "sequences": 4, "length": 8} for name in ("c4", "wiki")}


def config(methods: dict, **changes) -> Config:
    return Config(
        models=["tiny-llama"], ratios=[0.2], calibrations=CALIBRATIONS,
        measures={}, methods=methods, **changes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ({"criterion": "cross_entropy"}, "criterion"),
        ({"criterion": "fisher"}, "criterion, aggregation"),
        (BASE | {"options": {"aggregation": "sum_squares"}}, "aggregation"),
        (BASE | {"allocation": "global"}, "allocation"),
        (BASE | {"bias": True}, "bias"),
        (BASE, ""),
        (BASE | {"bias": True, "units": ["neurons", "key_value_groups"]}, "units, bias"),
        ({"baseline": "shortgpt"}, "baseline"),
    ],
)
def test_what_differs_is_what_the_study_sets_otherwise(method: dict, expected: str) -> None:
    assert ", ".join(differing(config({"entropy": None, "other": method}), "other", "entropy")) == expected


def test_a_number_of_labels_differs_from_the_one_that_records_leave_out() -> None:
    study = config(
        {"entropy": None, "fisher": None, "more": {"criterion": "fisher", "options": {"labels": 4}}}
    )
    assert differing(study, "more", "fisher") == differing(study, "fisher", "more") == ["labels"]


def test_the_reference_is_entropy_or_the_first_criterion_whatever_the_calibration() -> None:
    squares = BASE | {"options": {"aggregation": "sum_squares"}}
    shortgpt = {"baseline": "shortgpt"}
    own = {"shortgpt": shortgpt, "magnitude": None, "entropy": None, "squares": squares}
    study = config(own)
    assert [*study.calibrations] == ["c4", "wiki"]
    assert {reference_of(study, method) for method in study.methods} == {"entropy"}
    first = config({"shortgpt": shortgpt, "magnitude": None, "again": BASE})
    assert {reference_of(first, method) for method in first.methods} == {"magnitude"}, "which no baseline is"
    alone = config({"shortgpt": shortgpt})
    assert reference_of(alone, "shortgpt") == "shortgpt"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Config, Path]:
    """Two methods with three draws, measured on eight blocks of four documents."""
    study = Study(
        tmp_path_factory.mktemp("study"), methods=["entropy", "magnitude"], ratios=[0.2], draws=[0, 1, 2]
    )
    rng = np.random.default_rng(0)
    for j, method in enumerate(study.methods):
        for draw in study.draws:
            study._neurons(method, 0, 0.2 + 0.5 * j, model="tiny-llama", draw=draw)
            for place, metric, values in (
                ("fidelity", "js_distance", 0.4 + 0.1 * j + 0.01 * rng.normal(size=8)),
                ("perplexity", "nll", 4.0 + np.log(2) * j + 0.05 * draw + np.zeros(8)),
                ("zeroshot/boolq", "acc", np.repeat([1, 0], [6 - j, 2 + j])),
            ):
                study.outcomes(method, 0.2, place, values, metric=metric, draw=draw)
    study.tasks = {"boolq": 0.5}
    study.collect()
    return study, study.config(), study.folder


def by_outcome(rows: pd.DataFrame) -> dict[str, pd.Series]:
    return {row["outcome"]: row for _, row in rows.iterrows()}


def test_effects_are_paired_differences(measured: tuple[Study, Config, Path]) -> None:
    _, settings, folder = measured
    rows = effects_of(evidence(settings, folder))
    assert {*zip(rows["method"], rows["against"], rows["differs"], strict=True)} == {
        ("magnitude", "entropy", "criterion")
    }
    found = by_outcome(rows)
    perplexity, distance, points = (found[name] for name in ("perplexity_ratio", "js_distance", "points"))
    assert perplexity["value"] == pytest.approx(2) and perplexity["neutral"] == 1
    assert perplexity["low"] == pytest.approx(2), "the same on every item and draw"
    assert distance["value"] == pytest.approx(0.1, abs=0.01)
    assert 0.07 < distance["low"] < distance["value"] < distance["high"] < 0.13
    assert distance["base"] == pytest.approx(0.4, abs=0.01), "entropy's own"
    assert (points["value"], points["unit"]) == (pytest.approx(-12.5), "points")
    # One of eight items differs, always the same: Student's t of -1 and seven zeros, in percent.
    half = t.ppf(0.975, 7) * np.std([-1] + [0] * 7, ddof=1) / np.sqrt(8)
    assert points["high"] == pytest.approx(100 * (-1 / 8 + half))
    assert (points["draws"], points["resamples"], points["n"]) == (3, 0, 8)
    assert points["covers"] == "draws and items"
    # The only comparison of its family: nothing to correct.
    assert distance["holm"] == distance["p"] < 0.01


def corrected(rows: pd.DataFrame, outcomes: list[str]) -> bool:
    chosen = rows[rows["outcome"].isin(outcomes)]
    (smaller, larger), holm = (np.sort(chosen[name].to_numpy(float)) for name in ("p", "holm"))
    assert 0 < smaller < larger < 1
    return holm == pytest.approx([2 * smaller, max(2 * smaller, larger)])


def test_outcomes_that_a_study_corrects_together_are_one_family(measured: tuple[Study, Config, Path]) -> None:
    _, settings, folder = measured
    together = settings.model_copy(update={"corrected_together": [["zeroshot", "fidelity"]]})
    alone, family = (effects_of(evidence(one, folder)) for one in (settings, together))
    assert corrected(family, ["js_distance", "points"])
    assert not corrected(alone, ["js_distance", "points"]), "each by itself unless the study says so"
    assert by_outcome(family)["points"]["family"] == "reference: points and js_distance"
    perplexities = (by_outcome(rows)["perplexity_ratio"]["holm"] for rows in (family, alone))
    assert len({*perplexities}) == 1


def test_questions_about_recovery_by_hand(tmp_path: Path) -> None:
    """Each question is the difference of two cells whose distances are known."""
    study = Study(
        tmp_path, methods=["entropy", "magnitude"], ratios=[0.2], draws=[0, 1, 2], tasks={"piqa": 0.5}
    )
    value = {("entropy", "none"): 1.0, ("magnitude", "none"): 3.0, ("dense", "none"): 90.0}
    value |= {("entropy", "lora"): 10.0, ("magnitude", "lora"): 15.0, ("dense", "lora"): 100.0}
    items = np.linspace(0, 1, 8)
    for (method, recovery), shift in value.items():
        for draw in study.draws[: 1 if (method, recovery) == ("dense", "none") else None]:
            at = {"ratio": 0.0 if method == "dense" else 0.2, "draw": draw, "recovery": recovery}
            study.outcomes(method, at.pop("ratio"), "zeroshot/piqa", items + shift, **at)
    recovery = {"instructions": "pairs"}
    made = evidence(study.config(recoveries=["none", "lora"], recovery=recovery), tmp_path)
    sides = ["method", "recovery", "against", "against_recovery"]
    for question, expected in {
        "reference": [("magnitude", "none", "entropy", "none"), ("magnitude", "lora", "entropy", "lora")],
        "dense": [(method, kind, "dense", kind) for kind in ("none", "lora") for method in study.methods],
        "untuned_dense": [(method, "lora", "dense", "none") for method in study.methods],
        "gain": [(method, "lora", method, "none") for method in study.methods],
    }.items():
        rows = effects_of(made, question).set_index(sides)["value"].to_dict()
        assert rows == pytest.approx({at: 100 * (value[at[:2]] - value[at[2:]]) for at in expected}), question


JS = {"form": "{:+.4f}", "better": -1}
NONE = "no significant difference"
WRITTEN = [
    (Effect(-0.0035, -0.005, -0.002, holm=0.01, **JS), "−0.0035 (−0.0050 to −0.0020)*", -1, "better"),
    (Effect(0.0017, 0.0001, 0.0033, holm=0.07, **JS), "+0.0017 (+0.0001 to +0.0033)", 1, NONE),
    (Effect(0.4, -1.6, 2.3, "{:+.1f}", better=1, holm=1.0), "+0.4 (−1.6 to +2.3)", 0, NONE),
    (Effect(0.43, 0.40, 0.46, "{:.2f}", 1.0, ratio=True, better=-1), "0.43 (0.40 to 0.46)", -1, "better"),
    (Effect(0.8, 0.8, 0.8, "{:.2f}", 1.0, ratio=True), "0.80", -1, ""),
    (Effect(2.5, form="{:+.1f}", better=1), "+2.5", None, ""),
    # An end that rounding would move across no effect keeps its side; of a tie, only rounding is left.
    (Effect(-3.24, -6.50, 0.0097, "{:+.1f}"), "−3.24 (−6.50 to +0.01)", 0, ""),
    (Effect(-5e-16, -6e-16, -4e-16, **JS), "+0.0000", 0, NONE),
]


@pytest.mark.parametrize(("effect", "written", "side", "standing"), WRITTEN)
def test_an_effect_is_written_in_one_way(
    effect: Effect, written: str, side: int | None, standing: str
) -> None:
    assert (str(effect), effect.side, effect.standing) == (written, side, standing)
    if effect.has_interval and not effect.ratio:
        assert effect.turned().side == -(side or 0) and effect.turned().turned() == effect


def test_agreement_of_neurons_is_the_mean_over_layers_and_draws(measured: tuple[Study, Config, Path]) -> None:
    study, settings, folder = measured

    def pair(kind: str, *of: tuple[str, int]) -> list[tuple[np.ndarray, np.ndarray]]:
        places = (next(folder.glob(f"{kind}/tiny-llama/{name}/**/draw{k}.safetensors")) for name, k in of)
        a, b = map(load_file, places)
        return [(a[name], b[name]) for name in a]

    def overlap(*of: tuple[str, int]) -> float:
        sets = [({*a}, {*b}) for a, b in pair("plans", *of)]
        return np.mean([len(x & y) / len(x | y) for x, y in sets])

    def ranks(*of: tuple[str, int]) -> float:
        return np.mean([spearmanr(a, b).statistic for a, b in pair("scores", *of)])

    rows = pd.read_csv(evidence(settings, folder).folder / NEURONS).set_index(["method", "draw"])
    row, other_draw = rows.loc[("magnitude", np.nan)], rows.loc[("entropy", 1)]
    beside = [(("magnitude", k), ("entropy", k)) for k in study.draws]
    assert row["overlap"] == pytest.approx(np.mean([overlap(*of) for of in beside]))
    assert row["rank_correlation"] == pytest.approx(np.mean([ranks(*of) for of in beside]))
    again = ("entropy", 0), ("entropy", 1)
    assert other_draw["overlap"] == pytest.approx(overlap(*again))
    assert other_draw["rank_correlation"] == pytest.approx(ranks(*again))
    own = ("magnitude", 0), ("magnitude", 2)
    assert rows.loc[("magnitude", 2), "overlap"] == pytest.approx(overlap(*own))


def test_disputed_neurons_are_near_the_cut_or_not(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["entropy", "magnitude"], ratios=[0.2])
    # Of twenty neurons both keep ten. They differ in 9 and 10, next to the cut, and in 0 and 19, far from it.
    scores = np.arange(20.0)[::-1].copy()
    swapped = scores.copy()
    swapped[[9, 10]], swapped[[0, 19]] = swapped[[10, 9]], swapped[[19, 0]]
    for method, values in {"entropy": scores, "magnitude": swapped}.items():
        study.scored(method, [values], {0.2: 10})
    study.collect()
    (row,) = pd.read_csv(tmp_path / NEURONS).itertuples()
    assert (row.overlap, row.near_cut) == (pytest.approx(8 / 12), 0.5)


def test_the_table_shows_them(measured: tuple[Study, Config, Path], tmp_path: Path) -> None:
    _, settings, folder = measured
    tables = analysed(gather(settings, folder, tmp_path))
    assert {path.suffix for path in tables.glob("effects.*")} == {".csv", ".md", ".tex"}
    text = (tables / "effects.md").read_text()
    assert " 2.00* " in text and "**2.00" not in text, "worse, and so not bold"
    assert "Entropy, draw 2" in text and "Magnitude, draw" not in text, "of the reference alone"
    rows = pd.read_csv(tmp_path / "effects.csv", keep_default_na=False, na_values=[""])
    ratio = rows["outcome"] == "perplexity_ratio"
    rows.loc[ratio, ["low", "value", "high"]] = 0.5, 0.6, 0.7
    for holm, shown in {0.04: "**0.60 (0.50 to 0.70)*", 0.06: " 0.60 (0.50 to 0.70) "}.items():
        rows.assign(holm=rows["holm"].where(~ratio, holm)).to_csv(tmp_path / "effects.csv", index=False)
        table = make_table("effects", Results(tmp_path, PAPER))
        assert shown in markdown(table), "bold by the corrected p-value, not by the raw interval"

    first = settings.model_copy(update={"primary": "perplexity"})
    text = (analysed(gather(first, folder, tmp_path)) / "effects.md").read_text()
    assert "Primary outcome, declared before the study ran: Perplexity ratio." in " ".join(text.split())


def test_what_is_not_measured_is_left_out(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["magnitude", "random"], ratios=[0.2])
    for method in study.methods:
        study._neurons(method, 0, 0.5, model="tiny-llama", draw=0)
    study.collect()
    analysed(tmp_path)
    assert effects_of(Evidence(tmp_path)).empty
    table = make_table("effects", Results(tmp_path, PAPER))
    assert table.numbers[["method", "reference"]].to_numpy().tolist() == [["random", "magnitude"]]
    assert len(figure_of("effects", Results(tmp_path, PAPER)).axes) == 1, "only the overlap"


def test_a_study_of_one_method_says_so(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["entropy"], ratios=[0.2])
    study._neurons("entropy", 0, 0.5, model="tiny-llama", draw=0)
    study.collect()
    text = (analysed(tmp_path) / "effects.md").read_text()
    assert "No two methods were measured at the same ratio." in text
    assert "not measured" in make_figure("effects", Results(tmp_path, PAPER))
