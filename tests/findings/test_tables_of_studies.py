"""What `findings/` makes of the studies' items, on outcomes whose effects are known."""

import headline
import numpy as np
import pandas as pd
import pytest
import recipe
from scipy.stats import spearmanr
from smoke import ROOT
from study_tables import pool, require_alike

from hfprune.analysis.outcomes import Draw, contrast
from hfprune.analysis.statistics import estimate
from hfprune.errors import HfpruneError
from hfprune.settings import load
from hfprune.study.study import Study


def _outcomes(losses: np.ndarray) -> dict[Draw | None, dict[str, pd.Series]]:
    """Return outcomes of draws × documents; of a single row, those of a model that no draw changes."""
    index = pd.Index(range(losses.shape[1]), name="item")
    seeds = [Draw(seed) for seed in range(len(losses))] if len(losses) > 1 else [None]
    return {seed: {"it": pd.Series(row, index)} for seed, row in zip(seeds, losses, strict=True)}


def test_effects_of_a_recipe_find_the_terms_of_an_additive_table() -> None:
    score = {"entropy": 3.0, "cross_entropy": 4, "entropy_squares": 1, "fisher": 2, "wanda": 5, "flap": 7}
    allocation, repair = {"uniform": 0.0, "zscored": -2, "global": 1}, {"none": 0.0, "solved": -4}
    found = {
        name: sum(
            weight * (score[at.score] + allocation[at.allocation] + repair[at.repair])
            + weight * 6 * (at.repair == "solved") * (at.allocation == "uniform")
            for at, weight in weights.items()
        )
        for name, weights in recipe.effects()
    }
    assert found["squares-absolute"] == pytest.approx(1.5 - 3.5)
    assert found["activations-gradients"] == pytest.approx(6 - 2.5)
    assert found["solved-none"] == pytest.approx(-4 + 6 / 3)
    assert found["global-zscored"] == pytest.approx(3)
    assert found["zscored-uniform*solved-none"] == pytest.approx(-6)
    others = [value for name, value in found.items() if "*" in name and "uniform*solved" not in name]
    assert others == pytest.approx([0.0] * len(others), abs=1e-12)


def test_loss_relative_to_the_papers_plan_and_its_interval() -> None:
    noise = np.random.default_rng(0)
    dense = noise.normal(3, 0.5, (1, 60))
    lost = noise.normal(1, 0.1, (3, 60))
    paper, third = dense + lost, dense + lost / 3 + noise.normal(0, 0.05, (3, 60))
    value, low, high = recipe.loss_ratio(*map(_outcomes, (paper, dense, third)))
    assert value == pytest.approx((third - dense).mean() / lost.mean())
    assert low < 1 / 3 < high < low + 0.1
    # Fieller's ends: there the interval of (third - dense) - ρ·(paper - dense) begins or ends at 0.
    for end in (low, high):
        it = estimate(
            contrast([(1, _outcomes(third)), (end - 1, _outcomes(dense)), (-end, _outcomes(paper))])
        )
        assert min(abs(it.low), abs(it.high)) == pytest.approx(0, abs=1e-4)
    nothing_lost = recipe.loss_ratio(*map(_outcomes, (dense + noise.normal(0, 0.1, (3, 60)), dense, third)))
    assert np.isnan(nothing_lost[1:]).all()


def test_questions_about_recovery() -> None:
    asked = {row[:3]: row[3] for row in headline.questions(["entropy", "wanda"], ["none", "lora"])}
    value = {
        ("entropy", "none"): 1.0,
        ("wanda", "none"): 3.0,
        ("entropy", "lora"): 10.0,
        ("wanda", "lora"): 15.0,
        ("dense", "lora"): 100.0,
        ("dense", "none"): 90.0,
    }
    found = {
        key: sum(weight * value[method, recovery] for weight, method, recovery in terms)
        for key, terms in asked.items()
    }
    assert found == {
        ("against_entropy", "wanda", "none"): 2,
        ("against_entropy", "wanda", "lora"): 5,
        ("change", "wanda", "lora"): 3,
        ("against_paper", "wanda", "lora"): 14,
        ("gain", "entropy", "lora"): 9,
        ("gain", "wanda", "lora"): 12,
        ("against_dense", "entropy", "none"): -89,
        ("against_dense", "wanda", "none"): -87,
        ("against_dense", "entropy", "lora"): -90,
        ("against_dense", "wanda", "lora"): -85,
    }


def test_share_of_a_gain_whichever_way_is_better() -> None:
    noise = np.random.default_rng(1)
    without = noise.normal(2, 0.3, (3, 60))
    gain = noise.normal(1, 0.1, (3, 60))
    solved, trained = without + gain / 4 + noise.normal(0, 0.05, (3, 60)), without + gain
    value, low, high = headline.linear_share(*map(_outcomes, (without, solved, trained)), higher=True)
    assert value == pytest.approx((solved - without).mean() / gain.mean())
    assert low < 1 / 4 < high < low + 0.1
    lowered = headline.linear_share(*map(_outcomes, (-without, -solved, -trained)), higher=False)
    assert lowered == pytest.approx((value, low, high))


def test_draws_of_two_studies_are_one_sample_on_their_common_items() -> None:
    """Six questions in one study, four of them in the other."""
    items = pd.RangeIndex(6, name="document")

    def study(*seeds: int, count: int) -> dict:
        rng = np.random.default_rng(seeds)
        outcome = {seed: pd.Series(rng.random(count), items[:count]) for seed in seeds}
        dense = {None: {"piqa": pd.Series(0.5, items[:count])}}
        return {
            ("entropy", "lora"): {Draw(seed): {"piqa": found} for seed, found in outcome.items()},
            ("dense", "none"): dense,
        }

    first, second = study(4, 5, count=6), study(0, count=4)
    cells = pool([first, second | {("taylor", "lora"): {}}])
    assert cells.keys() == first.keys()
    joined = contrast([(1.0, cells["entropy", "lora"]), (-1.0, cells["dense", "none"])]).tasks["piqa"]
    by_hand = [
        study["entropy", "lora"][Draw(seed)]["piqa"].to_numpy()[:4] - 0.5
        for seed, study in ((0, second), (4, first), (5, first))
    ]
    assert np.allclose(joined, by_hand, atol=0)
    with pytest.raises(HfpruneError, match="share a seed"):
        pool([first, first])
    with pytest.raises(HfpruneError, match="no common item of piqa"):
        pool([first, {cell: _elsewhere(outcomes) for cell, outcomes in second.items()}])
    studies = [
        load(Study, ROOT / f"config/studies/{name}.yaml") for name in ("headline", "recovery", "untuned")
    ]
    require_alike(*studies[:2])
    with pytest.raises(HfpruneError, match="the studies differ in recovery"):
        require_alike(studies[0], studies[2])
    other = studies[1].model_dump(exclude_unset=True)
    other["measures"]["fidelity"]["settings"] |= {"batch_tokens": None, "sequences": 8}
    require_alike(studies[1], Study.model_validate(other))
    other["measures"]["zeroshot"]["settings"]["add_bos"] = True
    with pytest.raises(HfpruneError, match=r"the studies differ in measures\.zeroshot"):
        require_alike(studies[0], Study.model_validate(other))


def _elsewhere(outcomes: dict) -> dict:
    return {
        draw: {task: found.set_axis(found.index + 100) for task, found in tasks.items()}
        for draw, tasks in outcomes.items()
    }


def test_ranks_of_outcomes_are_spearmans_and_fewer_documents_or_plans_make_them_wider() -> None:
    noise = np.random.default_rng(2)
    quality, each = np.arange(12) / 4, [(i,) for i in range(12)]

    def outcomes(documents: int) -> list[dict[str, np.ndarray]]:
        return [{task: noise.normal(at, 1, (2, documents)) for task in ("a", "b")} for at in quality]

    cheap, accuracy = outcomes(200), outcomes(200)
    value, low, high = headline.correlation(cheap, accuracy, each)
    means = [[np.mean([x.mean() for x in cell.values()]) for cell in side] for side in (cheap, accuracy)]
    assert value == pytest.approx(spearmanr(*means).statistic) and low <= value <= high
    assert headline.halves(accuracy) > 0.95
    few = headline.correlation(outcomes(4), outcomes(4), each)
    assert few[2] - few[1] > 2 * (high - low)
    # Without any relation, the interval holds 0.
    shuffled = headline.correlation(cheap, [accuracy[at] for at in noise.permutation(12)], each)
    assert shuffled[1] < 0 < shuffled[2]
    # Three cells of each of four plans, in pairs that are hard to tell apart.
    noisy = outcomes(8), outcomes(8)
    alone, together = (
        headline.correlation(*noisy, plans) for plans in (each, [(i // 3,) for i in range(12)])
    )
    assert alone[0] == together[0] and together[2] - together[1] > alone[2] - alone[1]
