"""Scores and plans by hand: of several criteria, of resampled calibrations, in steps, in little memory."""

import hashlib
import json
from contextlib import chdir
from pathlib import Path

import pandas as pd
import pytest
import torch
from command_line import EXPORT, SCORE, failure, run
from safetensors.torch import load_file
from smoke import ROOT

from hfprune.calibration.blocks import load_blocks
from hfprune.criteria import Positions
from hfprune.criteria.entropy import Entropy
from hfprune.files import read_json
from hfprune.plans.planning import load_plan, save_plan
from hfprune.provenance import recorded
from hfprune.scoring.score_files import load_resampled, load_scores

RESAMPLES = "score --model mine --blocks blocks.safetensors --criterion entropy --resamples 3 --out"
LAYERS = 3


def assert_near(ours: Path, theirs: Path) -> None:
    a, b = load_scores(ours), load_scores(theirs)
    assert a.keys() == b.keys()
    for place, scores in b.items():
        torch.testing.assert_close(a[place], scores, rtol=1e-5, atol=1e-5 * float(scores.mean()))


def test_criteria_named_together_score_as_alone(work: Path, tmp_path: Path) -> None:
    score = "score --model mine --blocks blocks.safetensors --sequences 3 --criterion"
    squares = {"aggregation": "sum_squares"}
    names = {"entropy": {}, "cross_entropy": squares, "distillation": {}, "wanda": {}}
    options = json.dumps({"cross_entropy": squares})
    run(score, *names, "--options", options, "--out", tmp_path / "{method}.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []
    file = hashlib.sha256((ROOT / "hfprune/criteria/wanda.py").read_bytes()).hexdigest()
    assert read_json(tmp_path / "wanda.json")["provenance"]["inputs"]["criterion"] == file
    for name, own in names.items():
        run(score, name, "--options", json.dumps(own), "--out", tmp_path / "alone.safetensors")
        assert_near(tmp_path / f"{name}.safetensors", tmp_path / "alone.safetensors")
        assert read_json(tmp_path / f"{name}.json")["provenance"]["settings"]["blocks"] == 3


def test_scoring_reads_as_many_tokens_at_a_time_as_the_gpu_holds(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    length = load_blocks(work / "blocks.safetensors").shape[1]
    held, gradient = length, Entropy.gradient

    def limited(criterion: Entropy, logits: torch.Tensor, positions: Positions) -> torch.Tensor:
        if len(logits) > held:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has …")
        return gradient(criterion, logits, positions)

    monkeypatch.setattr(Entropy, "gradient", limited)
    run(SCORE, tmp_path / "held.safetensors", "--batch-tokens", 8 * length)
    assert f"now {held} tokens" in capsys.readouterr().err
    made = read_json(tmp_path / "held.json")["provenance"]
    assert made["batch_tokens_that_fitted"] == held < made["settings"]["batch_tokens"]
    assert_near(tmp_path / "held.safetensors", work / "scores.safetensors")
    held = 1
    line = failure(SCORE, tmp_path / "none.safetensors")
    assert f"not even one sequence of {length} tokens fits into memory; take shorter ones" in line


@pytest.fixture(scope="module")
def resampled(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with blocks, and scores and plans of three resamples of them."""
    out, text = (
        tmp_path_factory.mktemp("resamples"),
        f"--corpus {made}/corpora/text --sequences 10 --length 24",
    )
    (out / "mine").symlink_to(made / "mine")
    with chdir(out):
        run(f"calibrate --model mine {text} --out blocks.safetensors")
        run(RESAMPLES, "scores.safetensors")
        plan = "plan --model mine --scores scores.safetensors --ratio 0.2 --out plan.safetensors"
        run(plan, "--resampled", "scores.resampled.safetensors")
    return out


def test_plans_are_cut_from_the_resampled_scores(resampled: Path) -> None:
    plan, scores = load_plan(resampled / "plan.safetensors"), load_scores(resampled / "scores.safetensors")
    others, redrawn = (load_resampled(resampled / f"{it}.resampled.safetensors") for it in ("plan", "scores"))
    assert len(others) == len(redrawn) == 3
    for other, found in zip(others, redrawn, strict=True):
        assert other.keys() == plan.keys() and found.keys() == scores.keys()
        for place, kept in other.items():
            highest = found[place].argsort(descending=True, stable=True)[: len(plan[place])]
            assert torch.equal(kept, highest.sort().values)
    assert any(not torch.equal(other[place], plan[place]) for other in others for place in plan)


@pytest.mark.parametrize(("measure", "column"), [("fidelity", "js_distance"), ("perplexity", "nll")])
def test_each_plan_is_measured_as_it_would_be_alone(
    measure: str, column: str, resampled: Path, work: Path, tmp_path: Path
) -> None:
    call = f"measure {measure} --model mine --corpus corpora/text --sequences 3 --length 24 --plan"
    plan, others = resampled / "plan.safetensors", resampled / "plan.resampled.safetensors"
    run(call, plan, "--resampled", others, "--out", tmp_path)
    run(call, plan, "--out", tmp_path / "alone")
    together, alone = (read_json(folder / f"{measure}.json") for folder in (tmp_path, tmp_path / "alone"))
    assert together["values"] == alone["values"], "the resamples change nothing about the plan itself"
    assert "resampled" in together["provenance"]["inputs"]
    items = pd.read_parquet(tmp_path / f"{measure}.parquet").set_index("resample")
    assert {*items.index} == {0, 1, 2, 3}
    for number, kept in enumerate(load_resampled(others), 1):
        save_plan(tmp_path / "one.safetensors", kept, {})
        run(call, tmp_path / "one.safetensors", "--out", tmp_path / "one")
        sliced = pd.read_parquet(tmp_path / "one" / f"{measure}.parquet")[column].tolist()
        assert items.loc[number, column].tolist() == pytest.approx(sliced, rel=1e-4, abs=1e-6)


def test_scores_without_their_resamples_are_not_finished(resampled: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(resampled)
    place = resampled / "scores.resampled.safetensors"
    before = place.read_bytes()
    place.unlink()
    run(RESAMPLES, "scores.safetensors")
    assert place.read_bytes() == before
    run(RESAMPLES, "scores.safetensors")
    assert "is already there" in capsys.readouterr().err


@pytest.fixture(scope="module")
def steps(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores and plans of three steps; the second removes a layer."""
    out, before = tmp_path_factory.mktemp("steps"), ()
    units = ("--units", '{"neurons": 0.3, "layers": 0.7}')
    for step in range(1, 4):
        scores, plan = (out / f"{what}{step}.safetensors" for what in ("scores", "plan"))
        with chdir(made):
            run(SCORE, scores, *units, *before)
            cut = (*units, "--part", step / 3) if step < 3 else units
            run("plan --model mine --ratio 0.3 --scores", scores, "--out", plan, *cut)
        before = ("--plan", plan)
    return out


def test_steps_go_on_from_the_plan_before_and_are_in_the_provenance(
    steps: Path, work: Path, tmp_path: Path
) -> None:
    before, plan = (load_plan(steps / f"plan{step}.safetensors") for step in (2, 3))
    scores = load_file(steps / "scores3.safetensors")
    assert len(plan["layers"]) == LAYERS - 1
    for place, kept in before.items():
        assert scores[place].isfinite().nonzero().flatten().tolist() == kept.tolist()
    early = failure(
        "plan --model mine --ratio 0.05 --scores",
        steps / "scores3.safetensors",
        "--out",
        tmp_path / "x.safetensors",
    )
    assert "mlp.0 would keep units that an earlier step removed" in early

    made, between = (recorded(steps / f"plan{step}.safetensors")["settings"] for step in (3, 2))
    assert (made["ratio"], made["scoring"]["steps"]) == (0.3, 3) and "part" not in made
    assert (between["part"], between["scoring"]["steps"]) == (pytest.approx(2 / 3), 2)
    assert "plan" in read_json(steps / "scores3.json")["provenance"]["inputs"]
    assert "steps" not in recorded(work / "plan.safetensors")["settings"]["scoring"]
    run(EXPORT, tmp_path / "out", "--plan", steps / "plan3.safetensors")
    assert "| steps | `3` |" in (tmp_path / "out/README.md").read_text()


def test_a_step_has_no_resamples(work: Path, tmp_path: Path, capsys) -> None:
    """Another draw would have had another plan before; the last step's resamples alone would say too little."""
    run(RESAMPLES, tmp_path / "scores.safetensors", "--plan", "plan.safetensors")
    assert "no resamples: another draw would have another previous plan" in capsys.readouterr().err
    assert load_resampled(tmp_path / "scores.resampled.safetensors") == []
