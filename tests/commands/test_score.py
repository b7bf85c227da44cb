"""Scores by hand: several criteria at once, and as many tokens at a time as memory holds."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from command_line import failure, run
from smoke import ROOT

from hfprune.criteria import Positions
from hfprune.criteria.entropy import Entropy
from hfprune.models.blocks import load_blocks
from hfprune.scoring.score_files import load_scores


def test_criteria_named_together_score_as_alone(work: Path, tmp_path: Path) -> None:
    model = ("score", "--model", work / "mine", "--blocks", work / "blocks.safetensors", "--sequences", 3)
    names = ["entropy", "cross_entropy", "distillation", "wanda"]
    options = json.dumps({"cross_entropy": {"aggregation": "sum_squares"}})
    run(*model, "--criterion", *names, "--options", options, "--out", tmp_path / "{method}.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []
    for name in names:
        own = ("--options", '{"aggregation": "sum_squares"}') if name == "cross_entropy" else ()
        run(*model, "--criterion", name, *own, "--out", tmp_path / "alone.safetensors")
        together, alone = (
            load_scores(tmp_path / f"{name}.safetensors"),
            load_scores(tmp_path / "alone.safetensors"),
        )
        assert together.keys() == alone.keys()
        for a, b in zip(together.values(), alone.values(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.mean()))
        result = json.loads((tmp_path / f"{name}.json").read_text())
        assert result["provenance"]["settings"]["blocks"] == 3
    assert "{method}" in failure(
        *model, "--criterion", "entropy", "wanda", "--out", tmp_path / "x.safetensors"
    )


def test_scoring_reads_as_many_tokens_at_a_time_as_the_gpu_holds(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    few = ("--model", work / "mine", "--blocks", work / "blocks.safetensors", "--criterion", "entropy")
    run("score", *few, "--out", tmp_path / "whole.safetensors")
    length = load_blocks(work / "blocks.safetensors").shape[1]
    held, gradient = length, Entropy.gradient

    def limited(criterion: Entropy, logits: torch.Tensor, positions: Positions) -> torch.Tensor:
        if len(logits) > held:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has …")
        return gradient(criterion, logits, positions)

    monkeypatch.setattr(Entropy, "gradient", limited)
    run("score", *few, "--batch-tokens", 8 * length, "--out", tmp_path / "held.safetensors")
    assert f"now {held} tokens" in capsys.readouterr().err
    made = json.loads((tmp_path / "held.json").read_text())["provenance"]
    assert made["batch_tokens_that_fitted"] == held < made["settings"]["batch_tokens"]
    scores = [load_scores(tmp_path / f"{name}.safetensors") for name in ("whole", "held")]
    for a, b in zip(*(found.values() for found in scores), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.mean()))
    held = 1
    line = failure("score", *few, "--out", tmp_path / "none.safetensors")
    assert f"not even one sequence of {length} tokens fits into memory; take shorter ones" in line


def test_scores_know_the_file_of_their_criterion(work: Path) -> None:
    made = json.loads((work / "scores.json").read_text())["provenance"]
    file = ROOT / "hfprune/criteria/entropy.py"
    assert made["inputs"]["criterion"] == hashlib.sha256(file.read_bytes()).hexdigest()
