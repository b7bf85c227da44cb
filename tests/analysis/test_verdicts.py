"""Claims: what the paper publishes, what a study says to it, and what users get wrong."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from command_line import run
from drawings import figure_of
from synthetic import PAPER, Study, analysed, gather

from hfprune.analysis.condition import (
    NOT_APPLICABLE,
    NOT_COMPARABLE,
    NOT_RUN,
    VERDICTS,
    Condition,
    verdict,
)
from hfprune.analysis.evidence import Evidence
from hfprune.analysis.statistics import Estimate
from hfprune.analysis.verdicts import evaluate
from hfprune.criteria import make_criterion
from hfprune.errors import HfpruneError
from hfprune.paper.claims import Claim, Paper
from hfprune.report import style
from hfprune.report.collected import Collected
from hfprune.results import DENSE, Value
from hfprune.settings import load
from hfprune.study.layout import cells
from hfprune.study.study import Study as StudyFile

TASKS = {"boolq": 0.6, "piqa": 0.6}
CLAIM = {
    "id": "a-claim",
    "sentence": "Entropy is better.",
    "where": "Table 6",
    "tables": [6],
    "ratios": [0.2],
    "measure": "zeroshot",
    "metric": "average",
    "left": {"methods": ["entropy"]},
    "right": {"methods": ["cross_entropy"]},
    "relation": "higher",
}
JS = {"measure": "fidelity", "metric": "js_distance", "tables": [7], "relation": "lower"}
TIME = {"measure": "cost", "metric": "seconds", "tables": [5], "ratios": [None], "effect": "ratio"}


@pytest.fixture(scope="module")
def paper() -> Paper:
    return Paper.read(PAPER / "claims.yaml")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Three draws, the fewest that give an interval."""
    methods = ["entropy", "cross_entropy"]
    return Study(tmp_path / "study", methods=methods, ratios=[0.2], tasks=TASKS, seeds=[0, 1, 2])


def judge(paper: Paper, study: Study, **changes) -> pd.DataFrame:
    """Evaluate one claim on a study; return the rows of the study's models."""
    claim = Claim.model_validate(CLAIM | changes)
    rows, _ = evaluate(
        Paper(paper.models, [claim], paper.numbers),
        Evidence(study.collect()),
    )
    return rows[rows["model"].isin(study.models)]


def answer(study: Study, method: str, *right: int, of: int = 100, **cell) -> None:
    """Write that a method has the first items of each task right: how many, task by task, with every seed."""
    for task, count in zip(study.tasks, right, strict=True):
        write(study, method, f"zeroshot/{task}", [1] * count + [0] * (of - count), **cell)


def write(study: Study, method: str, place: str, outcomes, seeds=None, **cell) -> list[Path]:
    """Write the same outcomes with these seeds, by default with every seed of the study."""
    ratio = 0.0 if method == DENSE else cell.pop("ratio", 0.2)
    seeds = [0] if method == DENSE else seeds or study.seeds
    return [study.outcomes(method, ratio, place, outcomes, seed=seed, **cell) for seed in seeds]


# --- the paper's own numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "model", "ratio", "effect", "confidence"),
    [
        ("above-sdmprune", "LLaMA-2-7B", 0.2, 59.0 - 58.2, "ok"),
        ("above-sdmprune", "LLaMA3.2-1.2B", 0.3, 48.59 - 46.40, "ok"),
        ("above-sdmprune", "Qwen2.5-7B", 0.4, 54.6 - 51.1, "suspect"),
        ("above-dense", "LLaMA-2-7B", 0.2, 59.0 - 58.3, "ok"),
        ("cross-entropy-above-distillation", "LLaMA-2-7B", 0.3, 46.8 - 45.2, "ok"),
        ("lower-js-distance", "LLaMA-2-7B", 0.3, 0.353 - 0.362, "ok"),
        ("higher-jaccard", "LLaMA-2-7B", 0.2, 0.445 - 0.439, "suspect"),
        ("mlp-only-gains-with-ratio", "LLaMA-2-7B", 0.3, (48.4 - 46.4) - (54.8 - 53.2), "ok"),
        ("faster-prefill", "LLaMA-2-7B", 0.3, 57.5 / 42.1, "ok"),
        ("faster-decoding", "LLaMA-2-7B", 0.2, 553.9 / 473.9, "ok"),
        ("faster-scoring", "LLaMA3.2-1.2B", None, 317.1 / 150.7, "ok"),
        ("leaner-scoring", "LLaMA-2-7B", None, 35.3 / 51.2, "ok"),
        ("entropy-above-distillation", "LLaMA-2-7B", 0.2, 53.1 - 51.9, "ok"),
        ("above-llm-pruner", "LLaMA3.2-1.2B", 0.2, 50.77 - 47.39, "ok"),
        ("as-many-parameters", "LLaMA-2-7B", 0.3, 4.7 / 6.7, "ok"),
    ],
)
def test_published_effects(paper: Paper, claim, model, ratio, effect, confidence) -> None:
    (found,) = [c for c in paper.claims if c.id == claim]
    published = paper.effect(found, model, ratio, found.metric)
    assert published is not None
    assert published.effect == pytest.approx(effect) and published.confidence == confidence


def test_published_average_without_crows_is_that_of_the_nine_other_tasks(paper: Paper) -> None:
    (claim,) = [c for c in paper.claims if c.id == "above-sdmprune"]
    published = paper.effect(claim, "LLaMA-2-7B", 0.2, "average without CrowS")
    # Table 1 by hand: 530.3 / 9 - 520.0 / 9.
    assert published is not None and published.effect == pytest.approx(10.3 / 9)
    assert paper.effect(claim, "LLaMA3.2-1.2B", 0.2, "average without CrowS") is None  # no tasks in Table 2


def test_every_claim_has_published_numbers_except_what_the_paper_lacks(paper: Paper) -> None:
    def published(claim: Claim) -> bool:
        models = paper.of(claim)["model"].unique()
        return any(paper.effect(claim, m, r, claim.metric) for m in models for r in claim.ratios)

    assert [c.id for c in paper.claims if not published(c)] == ["above-tuned-dense", "fewer-flops"]


# --- verdicts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "condition", "expected"),
    [
        (0.1, 2, ("higher", 0), "reproduced"),
        (-2, -0.1, ("higher", 0), "contradicted"),
        (-1, 1, ("higher", 0), "inconclusive"),
        (0, 1, ("higher", 0), "inconclusive"),
        (-2, -0.1, ("lower", 0), "reproduced"),
        (0.1, 2, ("lower", 0), "contradicted"),
        (2.6, 3, ("higher", 2.5), "reproduced"),
        (2, 2.4, ("higher", 2.5), "contradicted"),
        (0.79, 0.8, ("lower", 0.805), "reproduced"),
        # Within the margin nothing is shown that matters, on whichever side.
        (0.1, 0.4, ("higher", 0, 0.5), "equivalent"),
        (-0.4, -0.1, ("higher", 0, 0.5), "equivalent"),
        (-0.4, 0.4, ("lower", 0, 0.5), "equivalent"),
        (0.1, 0.6, ("higher", 0, 0.5), "reproduced"),
        (-0.1, 0.6, ("higher", 0, 0.5), "inconclusive"),
        # A published factor may be missed by the margin.
        (0.95, 1.2, ("higher", 1, 0.1, True), "reproduced"),
        (0.85, 1.2, ("higher", 1, 0.1, True), "inconclusive"),
        (0.7, 0.85, ("higher", 1, 0.1, True), "contradicted"),
        (0.85, 1.05, ("lower", 1, 0.1, True), "reproduced"),
        # Equality holds within the margin only.
        (0.95, 1.05, ("about", 1, 0.1), "reproduced"),
        (0.85, 1.05, ("about", 1, 0.1), "inconclusive"),
        (1.2, 1.3, ("about", 1, 0.1), "contradicted"),
        (0.5, 0.8, ("about", 1, 0.1), "contradicted"),
    ],
)
def test_verdict_is_where_the_interval_lies(low, high, condition, expected: str) -> None:
    assert verdict(Estimate(0, low, high, 1, 3), Condition(*condition)) == expected


def test_no_interval_is_no_verdict() -> None:
    nothing = np.nan, np.nan
    assert verdict(Estimate(9, *nothing, n=50, draws=1), Condition("higher", 0)) == "one draw"
    assert verdict(Estimate(9, *nothing, n=50, draws=2), Condition("higher", 0)) == "inconclusive"
    assert verdict(Estimate(9, *nothing, draws=1), Condition("higher", 0)) == "inconclusive", "a time, say"


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ((70, 70), (50, 60), "reproduced"),
        ((50, 60), (70, 70), "contradicted"),
        ((51, 60), (50, 60), "inconclusive"),
    ],
)
def test_accuracy_verdicts_by_hand(paper: Paper, study: Study, ours, theirs, expected: str) -> None:
    answer(study, "entropy", *ours)
    answer(study, "cross_entropy", *theirs)
    (row,) = judge(paper, study).itertuples()
    assert row.verdict == expected
    assert row.effect == pytest.approx((sum(ours) - sum(theirs)) / 2)  # points
    assert (row.n, row.draws, row.kind, row.unit) == (200, 3, "other model", "points")
    assert row.note == "2 of the paper's 10 tasks"


def test_swapping_the_methods_flips_the_sign(paper: Paper, study: Study) -> None:
    answer(study, "entropy", 70, 65)
    answer(study, "cross_entropy", 50, 60)
    sides = {"left": CLAIM["right"], "right": CLAIM["left"]}
    (row,), (swapped,) = (judge(paper, study, **x).itertuples() for x in ({}, sides))
    assert swapped.effect == -row.effect == -12.5
    assert (swapped.low, swapped.high) == pytest.approx((-row.high, -row.low))
    assert (row.verdict, swapped.verdict) == ("reproduced", "contradicted")
    assert (row.left, swapped.left) == ("entropy 20%, none", "cross_entropy 20%, none")


def test_distance_must_be_lower(paper: Paper, study: Study) -> None:
    for method, shift in {"entropy": 0.0, "cross_entropy": 0.1}.items():
        write(study, method, "fidelity", np.linspace(0.2, 0.5, 30) + shift, metric="js_distance")
    (row,) = judge(paper, study, **JS).itertuples()
    assert (row.verdict, row.effect) == ("reproduced", pytest.approx(-0.1))
    assert (row.low, row.high) == pytest.approx((-0.1, -0.1))  # paired: every item differs by as much


def test_more_than_at_another_ratio(paper: Paper, tmp_path: Path) -> None:
    methods, ratios = ["entropy", "cross_entropy"], [0.2, 0.3]
    study = Study(tmp_path, methods=methods, ratios=ratios, tasks={"boolq": 0.6}, seeds=[0, 1, 2])
    for ratio, (ours, theirs) in {0.2: (60, 55), 0.3: (60, 30)}.items():
        answer(study, "entropy", ours, ratio=ratio)
        answer(study, "cross_entropy", theirs, ratio=ratio)
    (row,) = judge(paper, study, ratios=[0.3], beyond=0.2).itertuples()
    assert (row.verdict, row.effect) == ("reproduced", pytest.approx(30 - 5))


def test_draws_are_averaged_and_their_spread_counts(paper: Paper, study: Study) -> None:
    """One lucky draw among three, whatever its 200 items say, shows nothing."""
    for seed, count in enumerate([90, 50, 50]):
        answer(study, "entropy", count, count, seeds=[seed])
    answer(study, "cross_entropy", 50, 50)
    (row,) = judge(paper, study).itertuples()
    assert (row.draws, row.effect) == (3, pytest.approx(40 / 3))
    # Student's t of 40, 0 and 0 alone is 13.3 ± 57.4; draws and items leave it hardly fewer degrees of freedom.
    assert row.low == pytest.approx(40 / 3 - 57.4, abs=10) and row.verdict == "inconclusive"
    assert row.needs == "10 times the draws" or row.needs.endswith("times the draws")
    assert row.minimum_detectable_effect > row.effect


def test_one_draw_is_no_verdict_however_large_the_effect(paper: Paper, study: Study) -> None:
    study.seeds = [0]
    answer(study, "entropy", 90, 90)
    answer(study, "cross_entropy", 10, 10)
    (row,) = judge(paper, study).itertuples()
    assert (row.verdict, row.draws, row.effect) == ("one draw", 1, pytest.approx(80))
    assert np.isnan([row.low, row.high, row.minimum_detectable_effect]).all()


def test_one_draw_with_resamples_has_a_verdict(paper: Paper, study: Study) -> None:
    study.seeds, rng = [0], np.random.default_rng(0)
    for method, shift in {"entropy": 0.0, "cross_entropy": 0.1}.items():
        (path,) = write(study, method, "fidelity", np.linspace(0.2, 0.5, 30) + shift, metric="js_distance")
        items = pd.read_parquet(path.with_suffix(".parquet"))
        luck = [0.0, *rng.normal(scale=0.01, size=8)]
        again = [items.assign(resample=n, js_distance=items["js_distance"] + x) for n, x in enumerate(luck)]
        pd.concat(again).to_parquet(path.with_suffix(".parquet"))
    (row,) = judge(paper, study, **JS).itertuples()
    assert (row.verdict, row.effect) == ("reproduced", pytest.approx(-0.1))
    assert (row.draws, row.resamples) == (1, 8) and row.high - row.low > 0.02


def test_other_draws_on_the_two_sides_are_not_comparable(paper: Paper, study: Study) -> None:
    """Of five draws only the first was measured on one side; the others must not stand against it."""
    study.seeds = [0, 1, 2, 3, 4]
    for seed in study.seeds:
        answer(study, "entropy", 60 + seed, 60, seeds=[seed])
    answer(study, "cross_entropy", 80, 80, seeds=[0])
    (row,) = judge(paper, study).itertuples()
    assert row.verdict == "not comparable" and np.isnan(row.effect)
    assert row.note == "the two sides were measured on different draws (seeds 0, 1, 2, 3, 4 and 0)"


def test_within_the_margin_the_sides_are_equivalent(paper: Paper, study: Study) -> None:
    answer(study, "entropy", 500, 501, of=1000)
    answer(study, "cross_entropy", 500, 500, of=1000)
    (row,) = judge(paper, study, margin=0.5).itertuples()
    assert (row.verdict, row.margin, row.effect) == ("equivalent", 0.5, pytest.approx(0.05))
    (row,) = judge(paper, study, margin=0.1).itertuples()
    assert row.verdict == "inconclusive" and row.needs.endswith("times the items"), "to be equivalent"


def test_crows_gets_an_average_without_it(paper: Paper, study: Study) -> None:
    study.tasks = {"boolq": 0.6, "crows_pairs_english": 0.6}
    for method, (boolq, crows) in {"entropy": (60, 30), "cross_entropy": (50, 60)}.items():
        write(study, method, "zeroshot/boolq", [1] * boolq + [0] * (100 - boolq))
        outcomes = [1] * crows + [0] * (100 - crows)
        write(study, method, "zeroshot/crows_pairs_english", outcomes, metric="pct_stereotype")
    rows = judge(paper, study).set_index("metric")
    assert rows["effect"].to_dict() == pytest.approx({"average": -10, "average without CrowS": 10})
    assert rows["verdict"].to_dict() == {"average": "contradicted", "average without CrowS": "reproduced"}


def test_times_are_ratios_and_one_run_is_inconclusive(paper: Paper, study: Study) -> None:
    study.result("entropy", None, "cost", "", Value("seconds", 2.0))
    study.result("cross_entropy", None, "cost", "", Value("seconds", 1.0))
    (row,) = judge(paper, study, **TIME).itertuples()
    assert (row.effect, row.verdict) == (2, "one draw")
    assert row.note == "measured in fewer than 3 processes, so there is no interval"


def test_repeats_of_one_process_give_times_no_verdict_and_sizes_need_none(paper: Paper, study: Study) -> None:
    study.result("entropy", 0.2, "latency", "", Value("prefill_seconds", 1.0, 0.01, 9), Value("flops", 8e9))
    dense = Value("prefill_seconds", 2.0, 0.02, 9), Value("flops", 1e10)
    study.result(DENSE, 0.0, "latency", "", *dense)
    right = {"methods": [DENSE]}
    claim = {"measure": "latency", "effect": "ratio", "tables": [4], "relation": "lower", "right": right}
    (row,) = judge(paper, study, **claim, metric="prefill_seconds").itertuples()
    assert (row.verdict, row.effect) == ("one draw", pytest.approx(0.5)) and np.isnan(row.low)
    (row,) = judge(paper, study, **claim, metric="flops", threshold=0.805).itertuples()
    assert (row.verdict, row.low, row.high) == ("reproduced", pytest.approx(0.8), pytest.approx(0.8))
    (row,) = judge(paper, study, **claim, metric="flops", threshold=0.75).itertuples()
    assert row.verdict == "contradicted"


def test_times_taken_in_turns_with_the_dense_model_are_taken_as_they_are(paper: Paper, study: Study) -> None:
    for seed, value in enumerate((1.24, 1.25, 1.26)):
        speedup = Value("prefill_speedup", value, 0.2, 9)
        study.result("entropy", 0.2, "latency", "", Value("prefill_seconds", 1.0, 0.1, 9), speedup, seed=seed)
    study.result(DENSE, 0.0, "latency", "", Value("prefill_seconds", 2.0, 0.1, 9))
    (claim,) = [c for c in paper.claims if c.id == "faster-prefill"]
    (row,) = judge(paper, study, **claim.model_dump(exclude={"ratios"})).itertuples()
    assert (row.effect, row.verdict, row.left) == (
        pytest.approx(1.25, rel=1e-4),
        "reproduced",
        "dense 0%, none",
    )
    assert row.threshold == pytest.approx(57.5 / 46.3), "the factor that Table 4 prints for another model"
    spread = np.log([1.24, 1.25, 1.26]).std(ddof=1) / np.sqrt(3)
    assert row.high / row.effect == pytest.approx(np.exp(4.302653 * spread)), (
        "of three processes, two degrees"
    )


def test_blocks_of_one_document_are_drawn_together(paper: Paper, study: Study) -> None:
    for method, shift in {"entropy": 0.0, "cross_entropy": 0.1}.items():
        distances = np.linspace(0.2, 0.5, 30) + shift * np.tile([0, 2], 15)
        for result in write(study, method, "fidelity", distances, metric="js_distance"):
            items = pd.read_parquet(path := result.with_suffix(".parquet"))
            items.assign(document=items["item"] // 2).to_parquet(path)
    (row,) = judge(paper, study, **JS).itertuples()
    # The two blocks of each document differ by 0 and 0.2, so that all documents are alike.
    assert (row.effect, row.low, row.high) == (pytest.approx(-0.1),) * 3


# --- the claims' thresholds --------------------------------------------------------------------------------

# By hand from the paper: half of Table 6's smallest difference, 53.1 - 52.6, and of Table 7's, 0.243 - 0.241 and
# 0.445 - 0.439;
# 57.5 ms / 46.3 ms and 42.1 ms, 553.9 and 593.8 / 473.9 tokens per second (Table 4); "about 3x", "31 %", "20 %",
# rounded; parameters as printed, 5.4 and 4.7 of 6.7 billion.
CONDITIONS = {
    "above-sdmprune": ("higher", 0, 0.25),
    "above-llm-pruner": ("higher", 0, 0.25),
    "above-dense": ("higher", 0, 0.25),
    "above-tuned-dense": ("higher", 0, 0.25),
    "entropy-above-cross-entropy": ("higher", 0, 0.25),
    "entropy-above-distillation": ("higher", 0, 0.25),
    "cross-entropy-above-distillation": ("higher", 0, 0.25),
    "lower-js-distance": ("lower", 0, 0.001),
    "higher-jaccard": ("higher", 0, 0.003),
    "mlp-only-above-attention": ("higher", 0, 0.25),
    "mlp-only-above-attention-tuned": ("higher", 0, 0.25),
    "mlp-only-gains-with-ratio": ("higher", 0, 0.25),
    "mlp-only-gains-with-ratio-tuned": ("higher", 0, 0.25),
    "faster-prefill": ("higher", (57.5 / 46.3, 57.5 / 42.1), 0.1),
    "faster-decoding": ("higher", (553.9 / 473.9, 593.8 / 473.9), 0.1),
    "faster-scoring": ("higher", 2.5, None),
    "leaner-scoring": ("lower", 0.695, None),
    "fewer-flops": ("lower", 0.805, None),
    "as-many-parameters": ("about", (5.4 / 6.7, 4.7 / 6.7), 0.05),
}


def test_every_claim_judges_what_the_paper_says(paper: Paper) -> None:
    found = {}
    for claim in paper.claims:
        model = "LLaMA-2-7B" if claim.threshold == "published" else "none of the paper's"
        than = [paper.threshold(claim, model, ratio) for ratio in claim.ratios]
        if claim.id == "as-many-parameters":
            del than[2]  # Table 4 has no 40 %
        found[claim.id] = (claim.relation, than[0] if len(set(than)) == 1 else tuple(than), claim.margin)
    assert [*found] == [*CONDITIONS]
    for name, (relation, than, margin) in CONDITIONS.items():
        assert found[name] == (relation, pytest.approx(than), margin), name
    assert [claim.id for claim in paper.claims if claim.arithmetic] == ["fewer-flops", "as-many-parameters"]


@pytest.mark.parametrize(
    ("claim", "seconds", "expected"),
    [("faster-scoring", 2.6, "reproduced"), ("faster-scoring", 2.4, "contradicted")],
)
def test_scoring_has_a_verdict_against_sdmprune_itself(
    paper: Paper, study: Study, claim, seconds, expected
) -> None:
    study.methods = ["entropy", "distillation", "sdmprune"]
    (found,) = [c for c in paper.claims if c.id == claim]
    changes = found.model_dump(exclude={"ratios"}) | {"ratios": [None]}
    for method, time in {"entropy": 1.0, "distillation": 9.0}.items():
        for seed in study.seeds:
            study.result(method, None, "cost", "", Value("seconds", time, 0.001, 5), seed=seed)
    (row,) = judge(paper, study, **changes).itertuples()
    assert row.verdict == NOT_RUN, "plain distillation does not stand for SDMPrune"
    for seed in study.seeds:
        study.result("sdmprune", None, "cost", "", Value("seconds", seconds, 0.001, 5), seed=seed)
    (row,) = judge(paper, study, **changes).itertuples()
    assert (row.verdict, row.effect) == (expected, pytest.approx(seconds))


def test_sdmprune_has_its_own_settings_at_each_ratio() -> None:
    """0.4 and 0.2, 0.42 and 0.5, 0.1 and 0.2: alpha and temperature at 20, 30 and 40 %."""
    study = load(StudyFile, PAPER.parent / "config/studies/paper.yaml")
    found = {}
    for cell in cells("paper", study):
        if cell.method.startswith("sdmprune"):
            method = study.methods[cell.method]
            made = make_criterion(method.criterion or cell.method, method.options)
            found.setdefault(cell.ratio, set()).add((made.alpha, made.temperature))
    assert found == {0.2: {(0.4, 0.2)}, 0.3: {(0.42, 0.5)}, 0.4: {(0.1, 0.2)}}


# --- not run ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "cross_entropy 20%, none: boolq, piqa not measured"),
        (JS, "entropy 20%, none: fidelity not measured"),
        (TIME, "entropy: cost, seconds not measured"),
        (
            {"right": {"methods": ["sdmprune", "distillation"]}},
            "sdmprune 20%, none is not in the study; distillation 20%, none is not in the study",
        ),
        ({"left": {"methods": ["entropy"], "recoveries": ["lora"]}}, "entropy 20%, lora is not in the study"),
        ({"ratios": [0.4]}, "entropy 40%, none is not in the study"),
    ],
)
def test_what_is_missing_is_said(paper: Paper, study: Study, changes, reason: str) -> None:
    answer(study, "entropy", 60, 60)
    (row,) = judge(paper, study, **changes).itertuples()
    assert (row.verdict, row.note) == (NOT_RUN, reason)
    assert np.isnan(row.effect)


def test_a_study_without_accuracies_has_not_run_their_claims(paper: Paper, study: Study) -> None:
    study.tasks = {"my_task": 0.6}
    (row,) = judge(paper, study).itertuples()
    assert (row.verdict, row.note) == (NOT_RUN, "the study has none of the paper's tasks")


def test_other_items_are_not_compared(paper: Paper, study: Study) -> None:
    answer(study, "entropy", 60, 60)
    answer(study, "cross_entropy", 50, 50, of=90)
    (row,) = judge(paper, study).itertuples()
    note = "the two sides were measured on different items of boolq"
    assert (row.verdict, row.note) == (NOT_COMPARABLE, note)


def test_the_first_alternative_that_was_measured_stands_and_says_so(paper: Paper, study: Study) -> None:
    answer(study, "entropy", 60, 60)
    answer(study, "cross_entropy", 50, 50)
    (row,) = judge(paper, study, right={"methods": ["sdmprune", "cross_entropy"]}).itertuples()
    assert row.right == "cross_entropy 20%, none"
    assert row.note.endswith("cross_entropy stands for sdmprune")


def test_the_papers_models_that_were_not_run_stand_as_published(paper: Paper, study: Study) -> None:
    rows, _ = evaluate(paper, Evidence(study.collect()))
    absent = rows[rows["model"] == "Qwen3-1.7B"]
    assert absent[["claim", "ratio", "published", "confidence", "verdict"]].to_numpy().tolist() == [
        ["above-sdmprune", 0.2, 4.0, "tentative", NOT_RUN],
        ["above-sdmprune", 0.3, 5.7, "ok", NOT_RUN],
    ]
    assert set(absent["note"]) == {"the model is not in the study"}
    assert set(rows["claim"]) == {claim.id for claim in paper.claims}


# --- the paper's models ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("right", "note"), [(583, ""), (540, "our dense model averages 54.0 ± ")])
def test_dense_model_is_checked_first(paper: Paper, tmp_path: Path, right: int, note: str) -> None:
    tasks = paper.numbers.query("table == 1 and method == 'dense' and task != 'average'").set_index("task")
    methods = ["entropy", "cross_entropy"]
    study = Study(
        tmp_path, methods=methods, ratios=[0.2], models=["llama-2-7b"], tasks=tasks["value"].to_dict()
    )
    for method, count in {DENSE: right, "entropy": 520, "cross_entropy": 500}.items():
        for task, metric in tasks["metric"].items():
            outcomes = [1] * count + [0] * (1000 - count)
            ratio = 0.0 if method == DENSE else 0.2
            study.outcomes(method, ratio, f"zeroshot/{task}", outcomes, metric=metric, model="llama-2-7b")
    row = judge(paper, study).iloc[0]
    assert (row["kind"], row["published"], row["effect"]) == ("paper's model", 0.5, pytest.approx(2))
    assert row["note"].startswith(note) and bool(row["note"]) == bool(note)


# --- files -----------------------------------------------------------------------------------------------


def written(study: Study, out: Path) -> dict[str, bytes]:
    analysed(gather(study.config(), study.folder, out))
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("claims*"))}


def test_files_are_the_same_each_time_and_hold_every_claim(
    paper: Paper, study: Study, tmp_path: Path
) -> None:
    answer(study, "entropy", 70, 70)
    answer(study, "cross_entropy", 50, 60)
    files = written(study, tmp_path / "once")
    assert files == written(study, tmp_path / "twice")
    kept = [f"tables/claims.{suffix}" for suffix in ("csv", "md", "tex")]
    assert [*files] == ["claims.csv", "claims_by_task.csv", *kept]
    for claim in paper.claims:
        assert claim.sentence in files["tables/claims.md"].decode()
        assert f"tab:claims-{claim.id}" in files["tables/claims.tex"].decode()
    assert "| tiny-llama | other model | 20% | 15.0 | " in " ".join(
        files["tables/claims.md"].decode().split()
    )
    tasks = pd.read_csv(tmp_path / "once/claims_by_task.csv")
    # Twenty and ten items that only one side has right: 2 / 2^20 and 2 / 2^10.
    assert tasks["seed"].tolist() == [0, 0, 1, 1, 2, 2]
    tasks = tasks[tasks["seed"] == 1]
    assert tasks[["task", "left_only", "right_only"]].to_numpy().tolist() == [
        ["boolq", 20, 0],
        ["piqa", 10, 0],
    ]
    assert tasks["p_value"].tolist() == pytest.approx([2 / 2**20, 2 / 2**10], rel=1e-6)
    assert tasks["effect"].tolist() == [20, 10]


def test_a_broken_result_is_named_and_costs_nothing(study: Study, tmp_path: Path) -> None:
    answer(study, "entropy", 70, 70)
    answer(study, "cross_entropy", 50, 60)
    before = written(study, tmp_path / "out")
    (broken,) = study.folder.glob("cells/*/entropy/**/seed1/**/piqa.parquet")
    broken.write_bytes(b"PAR1")
    with pytest.raises(HfpruneError, match=r"piqa\.parquet: cannot read it") as error:
        written(study, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in before} == before


def test_forest_plot_draws_ours_and_the_published(paper: Paper, study: Study) -> None:
    answer(study, "entropy", 70, 70)
    answer(study, "cross_entropy", 50, 60)
    analysed(study.collect())
    figure = figure_of("claims", Collected(study.folder, PAPER))
    axes = {text.get_text().replace("\n", " "): ax for ax in figure.axes for text in ax.texts}
    assert len(axes) == 1, "only claims that were measured"
    ax = axes["Without recovery, entropy is a more accurate criterion than cross-entropy."]
    points = {
        tuple(line.get_xydata()[0]): line.get_color() for line in ax.lines if line.get_marker() != "None"
    }
    assert points[15, 0] == style.VERDICT_LOOKS["reproduced"].colour
    assert {key for key in points if key[1] > 0} == {(0.5, 1), (0.5, 2)}  # Table 6 at 20 % and 30 %
    assert [label.get_text() for label in ax.get_yticklabels()][:2] == ["tiny-llama, 20%", "LLaMA-2-7B, 20%"]
    assert set(style.VERDICT_LOOKS) == set(VERDICTS) - {NOT_RUN, NOT_APPLICABLE, NOT_COMPARABLE}


def test_command_line(study: Study, tmp_path: Path, capsys) -> None:
    answer(study, "entropy", 70, 70)
    answer(study, "cross_entropy", 50, 60)
    run("claims", "--results", study.collect(), "--claims", PAPER / "claims.yaml")
    assert (
        "claims: 1 reproduced, 0 contradicted, 0 equivalent, 0 inconclusive, 0 one draw, "
        in capsys.readouterr().err
    )
    assert pd.read_csv(study.folder / "claims.csv")["verdict"].value_counts()["reproduced"] == 1


# --- bad input -------------------------------------------------------------------------------------------


def put(**changes) -> Callable[[dict], dict]:
    return lambda data: data | {"claims": [data["claims"][0] | changes, *data["claims"][1:]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(relatoin="higher"), "claims.0: unknown key 'relatoin'; did you mean 'relation'?"),
        (put(relation="above"), "claims.0.relation: Input should be 'higher', 'lower' or 'about'"),
        (put(tables=[9]), "claims.0.tables.0: "),
        (put(left={"methods": []}), "claims.0.left.methods: "),
        (put(metric="acc"), "claims.0: the metric of zeroshot is 'average', not 'acc'"),
        (
            put(measure="cost", metric="seconds", effect="ratio", beyond=0.2),
            "claims.0: beyond needs effect: difference",
        ),
        (
            put(measure="latency", measured_as="speedup", metric="s"),
            "claims.0: measured_as needs effect: ratio",
        ),
        (
            put(measure="latency", measured_as="speedup", metric="s", effect="ratio"),
            "claims.0: measured_as needs 'dense' as one side",
        ),
        (
            put(threshold="published", margin=None),
            "claims.0: threshold: published and relation: about need a margin",
        ),
        (put(margin=0), "claims.0.margin: Input should be greater than 0"),
        (put(anomalies=["A99"]), "claims.0.anomalies: unknown 'A99'"),
        (put(id="above-dense"), "claims.2.id: 'above-dense' occurs twice"),
        (
            lambda data: data | {"models": {"my-llama": "LLaMA-2-7b"}},
            "models.my-llama: unknown 'LLaMA-2-7b'; did",
        ),
        (lambda data: data | {"claims": []}, "claims: "),
        (lambda data: [], "Input should be "),
    ],
)
def test_malformed_claims_are_one_line_with_file_and_key(tmp_path: Path, change, message: str) -> None:
    folder = Path(shutil.copytree(PAPER, tmp_path / "paper"))
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump(change(yaml.safe_load(path.read_text()))))
    with pytest.raises(HfpruneError) as error:
        Paper.read(path)
    assert str(error.value).startswith(f"{path}: {message}") and "\n" not in str(error.value)
