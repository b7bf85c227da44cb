"""Resampled calibrations by hand: scores, plans and measurements beside those of the calibration itself."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from command_line import failure, run

from hfprune.plans.planning import load_plan, save_plan
from hfprune.scoring.score_files import load_resampled, load_scores

TEXT = ("--sequences", 3, "--length", 24)


@pytest.fixture(scope="module")
def made(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores and plans of three resamples."""
    out, model = tmp_path_factory.mktemp("resamples"), ("--model", work / "mine")
    scores, blocks = out / "scores.safetensors", out / "blocks.safetensors"
    text = ("--corpus", work / "corpora/text", "--sequences", 10, "--length", 24)
    run("calibrate", *model, *text, "--out", blocks)
    settings = ("--blocks", blocks, "--criterion", "entropy", "--resamples", 3)
    run("score", *model, *settings, "--out", scores)
    resampled = ("--resampled", out / "scores.resampled.safetensors")
    run("plan", *model, "--scores", scores, *resampled, "--ratio", 0.2, "--out", out / "plan.safetensors")
    return out


def test_plans_are_cut_from_the_resampled_scores(made: Path) -> None:
    plan, scores = load_plan(made / "plan.safetensors"), load_scores(made / "scores.safetensors")
    others = load_resampled(made / "plan.resampled.safetensors")
    assert len(others) == len(load_resampled(made / "scores.resampled.safetensors")) == 3
    for other, resampled in zip(others, load_resampled(made / "scores.resampled.safetensors"), strict=True):
        assert other.keys() == plan.keys() and resampled.keys() == scores.keys()
        for place, kept in other.items():
            highest = resampled[place].argsort(descending=True, stable=True)[: len(plan[place])]
            assert torch.equal(kept, highest.sort().values)
    assert any(not torch.equal(other[place], plan[place]) for other in others for place in plan)


@pytest.mark.parametrize(("measure", "column"), [("fidelity", "js_distance"), ("perplexity", "nll")])
def test_each_plan_is_measured_as_it_would_be_alone(
    measure: str, column: str, made: Path, work: Path, tmp_path: Path
) -> None:
    model = ("--model", work / "mine", "--corpus", work / "corpora/text", *TEXT)
    plan = ("--plan", made / "plan.safetensors")
    run(
        "measure",
        measure,
        *model,
        *plan,
        "--resampled",
        made / "plan.resampled.safetensors",
        "--out",
        tmp_path,
    )
    run("measure", measure, *model, *plan, "--out", tmp_path / "alone")
    together, alone = (
        json.loads((folder / f"{measure}.json").read_text()) for folder in (tmp_path, tmp_path / "alone")
    )
    assert together["values"] == alone["values"], "the resamples change nothing about the plan itself"
    assert "resampled" in together["provenance"]["inputs"]
    items = pd.read_parquet(tmp_path / f"{measure}.parquet").set_index("resample")
    assert {*items.index} == {0, 1, 2, 3}
    for number, kept in enumerate(load_resampled(made / "plan.resampled.safetensors"), 1):
        save_plan(tmp_path / "one.safetensors", kept, {})
        run("measure", measure, *model, "--plan", tmp_path / "one.safetensors", "--out", tmp_path / "one")
        sliced = pd.read_parquet(tmp_path / "one" / f"{measure}.parquet")
        assert items.loc[number, column].tolist() == pytest.approx(
            sliced[column].tolist(), rel=1e-4, abs=1e-6
        )


def test_scores_without_their_resamples_are_not_finished(made: Path, work: Path, capsys) -> None:
    place = made / "scores.resampled.safetensors"
    before = place.read_bytes()
    place.unlink()
    again = ("score", "--model", work / "mine", "--blocks", made / "blocks.safetensors", "--criterion", "entropy",
             "--resamples", 3, "--out", made / "scores.safetensors")  # fmt: skip
    run(*again)
    assert place.read_bytes() == before
    run(*again)
    assert "is already there" in capsys.readouterr().err


def test_mistakes_are_one_line(made: Path, work: Path, tmp_path: Path) -> None:
    model, resampled = ("--model", work / "mine"), ("--resampled", made / "plan.resampled.safetensors")
    text = ("--corpus", work / "corpora/text", *TEXT, "--out", tmp_path)
    assert "--resampled needs --plan" in failure("measure", "perplexity", *model, *resampled, *text)
    plan = ("--plan", made / "plan.safetensors")
    zeroshot = ("measure", "zeroshot", "--tasks", work / "tasks/piqa", *model, *plan, "--out", tmp_path)
    assert "zeroshot: not measured on resampled plans" in failure(*zeroshot, *resampled)
    wrong = ("measure", "perplexity", *model, *plan, "--resampled", made / "plan.json", *text)
    assert "plan.json: not resampled scores or plans; make them with" in failure(*wrong)
    score = ("score", *model, "--criterion", "random", "--resamples", 1, "--out", tmp_path / "s.safetensors")
    assert "--resamples: one resample has no spread" in failure(*score)
    assert not [*tmp_path.iterdir()]
