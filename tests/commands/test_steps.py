"""Pruning in steps by hand: score what is left, cut a part, and so on."""

import json
from pathlib import Path

import pytest
from command_line import failure, run, score
from safetensors.torch import load_file

from hfprune.plans.planning import load_plan
from hfprune.provenance import recorded
from hfprune.scoring.score_files import load_resampled

LAYERS = 3


@pytest.fixture(scope="module")
def steps(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores and plans of three steps; the second removes a layer."""
    out, plan = tmp_path_factory.mktemp("steps"), ()
    units = ("--units", '{"neurons": 0.3, "layers": 0.7}')
    for step in range(1, 4):
        scores = out / f"scores{step}.safetensors"
        run(*score(work), *units, *plan, "--out", scores)
        plan = ("--plan", out / f"plan{step}.safetensors")
        part = ("--part", step / 3) if step < 3 else ()
        run(
            "plan",
            "--model",
            work / "mine",
            "--scores",
            scores,
            "--ratio",
            0.3,
            *units,
            *part,
            "--out",
            plan[1],
        )
    return out


def test_layers_that_are_gone_keep_their_numbers(steps: Path) -> None:
    before, plan = (load_plan(steps / f"plan{step}.safetensors") for step in (2, 3))
    scores = load_file(steps / "scores3.safetensors")
    assert len(plan["layers"]) == LAYERS - 1 == len(before["layers"])
    (gone,) = {*range(LAYERS)} - {*before["layers"].tolist()}
    assert (
        scores["layers"].isneginf().nonzero().tolist() == [[gone]] and scores[f"mlp.{gone}"].isneginf().all()
    )
    for layer in before["layers"].tolist():
        of_layer = scores[f"mlp.{layer}"].isfinite().nonzero().flatten()
        assert of_layer.tolist() == before[f"mlp.{layer}"].tolist()


def test_provenance_has_the_steps(steps: Path, work: Path, tmp_path: Path) -> None:
    made, between = (recorded(steps / f"plan{step}.safetensors")["settings"] for step in (3, 2))
    assert (made["ratio"], made["scoring"]["steps"]) == (0.3, 3) and "part" not in made
    assert (between["part"], between["scoring"]["steps"]) == (pytest.approx(2 / 3), 2)
    assert "plan" in json.loads((steps / "scores3.json").read_text())["provenance"]["inputs"]
    assert "steps" not in recorded(work / "plan.safetensors")["settings"]["scoring"]
    run("export", "--model", work / "mine", "--plan", steps / "plan3.safetensors", "--out", tmp_path / "out")
    assert "| steps | `3` |" in (tmp_path / "out/README.md").read_text()


def test_a_step_has_no_resamples(work: Path, tmp_path: Path, capsys) -> None:
    """Another draw would have had another plan before; the last step's resamples alone would say too little."""
    out = ("--resamples", 2, "--out", tmp_path / "scores.safetensors")
    run(*score(work), "--plan", work / "plan.safetensors", *out)
    assert "no resamples, since another draw would have another plan before" in capsys.readouterr().err
    assert load_resampled(tmp_path / "scores.resampled.safetensors") == []


def test_mistakes_are_one_line(steps: Path, work: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "x.safetensors")
    assert "scores.json: not a plan" in failure(*score(work), "--plan", work / "scores.json", *out)
    plan = ("plan", "--model", work / "mine", "--scores", steps / "scores3.safetensors")
    assert "mlp.0 would keep units that a step before has removed" in failure(*plan, "--ratio", 0.05, *out)
    assert "--part: must be less than or equal to 1, not" in failure(
        *plan, "--ratio", 0.3, "--part", 1.5, *out
    )
    assert not [*tmp_path.iterdir()]
