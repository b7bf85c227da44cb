"""Mixtures of two plans: layer by layer; or by a coin, every choice of as many as often as every other."""

from collections import Counter
from itertools import combinations
from math import comb
from pathlib import Path

import pytest
import torch
from smoke import ROOT, save_model

from hfprune.assets.catalogue import Catalogue
from hfprune.errors import HfpruneError
from hfprune.models.load import load_skeleton
from hfprune.plans.mixing import by_coin, by_layer
from hfprune.plans.planning import load_plan, make_plan
from hfprune.scoring.score_files import load_resampled, save_resampled, save_scores
from hfprune.settings import load, validate
from hfprune.stages.jobs import list_jobs
from hfprune.stages.plan import MakePlan
from hfprune.study.files import Files
from hfprune.study.labels import labels
from hfprune.study.references import check_references
from hfprune.study.study import Study

CATALOGUE = load(Catalogue, ROOT / "config/assets.yaml")
SMOLLM2 = "smollm2-135m-instruct-q4"
CALIBRATION = {"corpus": "c4-sample", "sequences": 16, "length": 32}


def units(*numbers: int) -> torch.Tensor:
    return torch.tensor(sorted(numbers))


def test_every_choice_among_the_disputed_is_as_likely_as_every_other() -> None:
    ours = {"mlp.0": units(0, 1, 2, 5, 9), "mlp.1": units(3, 4, 6)}
    theirs = {"mlp.0": units(1, 2, 3, 7, 8), "mlp.1": units(3, 4, 6)}
    possible = {(*sorted({1, 2, *drawn}),) for drawn in combinations((0, 3, 5, 7, 8, 9), 3)}
    assert len(possible) == comb(6, 3)
    found = [by_coin(ours, theirs, seed) for seed in range(4000)]
    assert all(plan["mlp.1"].tolist() == [3, 4, 6] for plan in found), "nothing is disputed"
    counts = Counter((*plan["mlp.0"].tolist(),) for plan in found)
    assert counts.keys() == possible
    # Chi-square with 19 degrees of freedom is above 43.8 once in a thousand times.
    expected = len(found) / len(possible)
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 43.8
    again = by_coin(theirs, ours, 7)
    assert all(torch.equal(again[name], kept) for name, kept in found[7].items()), "neither side is favoured"


def test_layers_do_not_share_a_coin() -> None:
    ours, theirs = ({f"mlp.{layer}": units(*kept) for layer in range(8)} for kept in ((0, 1, 2), (3, 4, 5)))
    assert len({(*kept.tolist(),) for kept in by_coin(ours, theirs, 0).values()}) > 3


@pytest.mark.parametrize("theirs", [{"mlp.0": units(1)}, {"mlp.1": units(1, 2)}, {}])
def test_plans_of_other_widths_are_refused(theirs) -> None:
    with pytest.raises(HfpruneError, match=r"mlp\.\d: one plan keeps .* give both the same units"):
        by_coin({"mlp.0": units(1, 2)}, theirs, 0)


def test_layers_keep_what_the_other_plan_keeps_there() -> None:
    ours, theirs = ({f"mlp.{layer}": units(*kept) for layer in range(3)} for kept in ((0, 1), (2, 3)))
    found = by_layer(ours, theirs, [1, 2])
    assert {name: kept.tolist() for name, kept in found.items()} == {
        "mlp.0": [0, 1],
        "mlp.1": [2, 3],
        "mlp.2": [2, 3],
    }
    with pytest.raises(HfpruneError, match="no plan for layer 3; the last one is 2"):
        by_layer(ours, theirs, [0, 3])
    with pytest.raises(HfpruneError, match=r"mlp\.1: one plan keeps 2 units and the other 1"):
        by_layer(ours, theirs | {"mlp.1": units(2)}, [0])


METHODS = {
    "entropy": None,
    "cross_entropy": None,
    "coin": {"criterion": "entropy", "mixed_with": "cross_entropy"},
}


def study(methods: dict, **changes: object) -> Study:
    given = {
        "models": [SMOLLM2],
        "methods": methods,
        "ratios": [0.2],
        "draws": [0, 5],
        "calibrations": {"c4": CALIBRATION},
        "resamples": 2,
        "measures": {},
    }
    made = validate(Study, given | changes, "s")
    check_references(made, CATALOGUE, "s")
    return made


def plan_jobs(it: Study, method: str, results: Path = Path("results/s")) -> list[MakePlan]:
    jobs = list_jobs(Files("s", it, CATALOGUE, {}, results=results))
    return [job for job in jobs if job.stage == "plan" and job.named_cells()[0].method == method]


def test_a_job_cuts_both_scores_and_has_a_coin_of_its_own(tmp_path: Path) -> None:
    it = study(METHODS)
    assert labels(it)["coin"].label == "Entropy, coin against Cross-entropy"
    first, second = plan_jobs(it, "coin", tmp_path)
    assert [path.parts[-4] for path in (first.scores, first.other)] == ["coin", "cross_entropy"]
    assert {first.scores, first.other} <= {*first.inputs()}
    assert (first.seed, second.seed, second.other.stem) == (0, 5, "draw5")


def test_the_stage_decides_the_disputed_of_each_plan_by_coin(tmp_path: Path) -> None:
    save_model("llama", tmp_path / "mine")
    model, generator = load_skeleton(tmp_path / "mine"), torch.Generator().manual_seed(0)
    job = plan_jobs(study(METHODS), "coin", tmp_path)[0]
    job = job.model_copy(update={"model": tmp_path / "mine", "after": []})
    drawn: dict[Path, list[dict[str, torch.Tensor]]] = {}
    names = [f"mlp.{layer}" for layer in range(3)]
    for path in (job.scores, job.other):
        drawn[path] = [{name: torch.rand(48, generator=generator).double() for name in names} for _ in "123"]
        save_scores(path, drawn[path][0], {})
        save_resampled(path.with_suffix(".resampled.safetensors"), drawn[path][1:], {})
    assert job.run() and not job.run()
    found = [load_plan(job.out), *load_resampled(job.out.with_suffix(".resampled.safetensors"))]
    for plan, ours, theirs in zip(found, drawn[job.scores], drawn[job.other], strict=True):
        sides = [make_plan(model, one, 0.2) for one in (ours, theirs)]
        for name, kept in plan.items():
            one, other = ({*side[name].tolist()} for side in sides)
            chosen = {*kept.tolist()}
            assert one & other <= chosen <= one | other and len(chosen) == len(one)
            assert chosen - one and chosen - other, "a coin takes of both"


def test_the_stage_mixes_layers_of_each_plan(tmp_path: Path) -> None:
    save_model("llama", tmp_path / "mine")
    mixed = {"criterion": "entropy", "mixed_with": {"method": "cross_entropy", "layers": [0, 2]}}
    it = study(METHODS | {"mixed": mixed})
    assert labels(it)["mixed"].label == "Entropy, layers 0, 2 by Cross-entropy"
    job = plan_jobs(it, "mixed", tmp_path)[0]
    job = job.model_copy(update={"model": tmp_path / "mine", "after": []})
    model, generator = load_skeleton(tmp_path / "mine"), torch.Generator().manual_seed(0)
    sides = []
    for path in (job.scores, job.other):
        scores = {f"mlp.{layer}": torch.rand(48, generator=generator).double() for layer in range(3)}
        save_scores(path, scores, {})
        save_resampled(path.with_suffix(".resampled.safetensors"), [scores], {})
        sides.append(make_plan(model, scores, 0.2))
    assert job.run() and not job.run()
    ours, theirs = sides
    expected = {"mlp.0": theirs["mlp.0"], "mlp.1": ours["mlp.1"], "mlp.2": theirs["mlp.2"]}
    for plan in (load_plan(job.out), *load_resampled(job.out.with_suffix(".resampled.safetensors"))):
        assert all(torch.equal(plan[name], kept) for name, kept in expected.items())


def test_sizes_dispute_with_the_same_size() -> None:
    it = study(METHODS, draws=[0], calibrations={"c4": CALIBRATION | {"sizes": [4, 16]}}, resamples=0)
    jobs = plan_jobs(it, "coin")
    assert [job.other.parts[-4:-1] for job in jobs] == [
        ("cross_entropy", "c4", size) for size in ("4", "4", "4", "4", "16")
    ]
    for job in jobs:
        assert job.other.parts[-3:] == job.scores.parts[-3:], "of the same draw too"


def test_each_text_disputes_with_itself() -> None:
    jobs = plan_jobs(study(METHODS, calibrations={"c4": CALIBRATION, "other": CALIBRATION}), "coin")
    assert [job.other.parts[-3] for job in jobs] == ["c4", "c4", "other", "other"]
    assert [job.scores.parts[-3] for job in jobs] == [job.other.parts[-3] for job in jobs]


@pytest.mark.parametrize(
    ("coin", "message"),
    [
        ({"mixed_with": "cross_entrop"}, "mixed_with: unknown 'cross_entrop'; did you mean"),
        (
            {"mixed_with": "cross_entropy", "units": "layers"},
            "'cross_entropy' must have the same units and allocation",
        ),
        ({"mixed_with": "cross_entropy", "allocation": "global"}, "give neither steps nor an allocation"),
        ({"mixed_with": "cross_entropy", "steps": 2}, "give neither steps nor an allocation"),
        (
            {"mixed_with": {"method": "cross_entropy", "layers": [0]}, "units": "layers"},
            "give units within layers",
        ),
    ],
)
def test_what_cannot_dispute_is_said(coin: dict, message: str) -> None:
    with pytest.raises(HfpruneError, match=message):
        study(METHODS | {"coin": {"criterion": "entropy"} | coin})
    with pytest.raises(HfpruneError, match=f"{SMOLLM2} takes 'coin', but not 'cross_entropy'"):
        study(METHODS, models={SMOLLM2: {"without": ["cross_entropy"]}})
