"""Mistakes of users, each told in one line."""

import resource
from pathlib import Path

import pytest
import torch
from command_line import failure, recover, run, score

from hfprune.errors import HfpruneError
from hfprune.exports import checkpoint as exporting
from hfprune.recovery import lora
from hfprune.stages.budget import neurons_removed


def test_mistakes_are_one_line(work: Path, tmp_path: Path) -> None:
    model, out = ("--model", work / "mine"), ("--out", tmp_path / "x.safetensors")
    assert "did you mean 'tasks/piqa'" in failure("fetch", "tasks/pika", "--catalogue", work / "assets.yaml")
    assert "needs --blocks" in failure("score", *model, "--criterion", "entropy", *out)
    assert "did you mean 'entropy'" in failure("score", *model, "--criterion", "entrop", *out)
    assert "not calibration blocks" in failure(
        "score", *model, "--blocks", work / "text.txt", "--criterion", "entropy", *out
    )
    scores = ("--scores", work / "scores.safetensors")
    assert "at most 0." in failure("plan", *model, *scores, "--ratio", 0.99, *out)
    assert "at most 0." in failure("budget", *model, "--ratios", 0.1, 0.99)
    # What layers can reach, neurons alone may not.
    run("budget", *model, "--ratios", 0.478, "--units", "layers", "--out", tmp_path / "budget.json")
    with pytest.raises(HfpruneError, match="neurons alone cannot reach the ratio"):
        neurons_removed(tmp_path / "budget.json", "0.478")
    (tmp_path / "budget.json").unlink()
    assert f"--model: no model '{tmp_path}': not a folder with config.json, a .gguf file or" in failure(
        "plan", "--model", tmp_path, *scores, "--ratio", 0.1, *out
    )
    text = ("--corpus", work / "corpora/text", "--sequences", 4, "--length", 9999)
    assert "choose a shorter length" in failure("calibrate", *model, *text, *out)
    assert "not a plan" in failure("export", *model, "--plan", work / "text.txt", "--out", tmp_path / "e")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/config.json").write_text('{"model_type": "unheard_of"}')
    assert "config.json is not of a language model" in failure(
        "budget", "--model", tmp_path / "odd", "--ratios", 0.2
    )
    (tmp_path / "odd/config.json").write_text("{")
    assert "config.json is not of a language model" in failure(
        "budget", "--model", tmp_path / "odd", "--ratios", 0.2
    )
    (tmp_path / "odd/config.json").unlink()
    (tmp_path / "odd").rmdir()
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_what_the_machine_refuses_is_one_line(work: Path, tmp_path: Path, monkeypatch) -> None:
    taken = failure("budget", "--model", work / "mine", "--ratios", 0.2, "--out", tmp_path)
    assert taken == f"hfprune budget: error: {tmp_path}: Is a directory"

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))  # as on a disk that is full
    try:
        short = failure("plan", "--model", work / "mine", "--scores", work / "scores.safetensors", "--ratio",
                        0.2, "--out", tmp_path / "x.safetensors")  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert short.startswith(f"hfprune plan: error: {tmp_path / 'x.safetensors'}: ")
    assert "File too large" in short
    assert not list(tmp_path.iterdir()), "nothing is left behind"

    def full(*arguments: object, **settings: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has …")

    monkeypatch.setattr(lora, "train_adapter", full)
    assert failure(*recover(work), "--out", tmp_path / "adapter") == (
        "hfprune recover: error: CUDA out of memory; read fewer tokens at a time (--batch-tokens)"
    )
    monkeypatch.setattr(exporting, "export", full)
    export = (
        "export",
        "--model",
        work / "mine",
        "--plan",
        work / "plan.safetensors",
        "--out",
        tmp_path / "e",
    )
    assert failure(*export) == "hfprune export: error: CUDA out of memory"


def test_an_interrupt_ends_quietly(work: Path, tmp_path: Path, monkeypatch) -> None:
    def stop(*arguments: object, **settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exporting, "export", stop)
    with pytest.raises(SystemExit) as end:
        run("export", "--model", work / "mine", "--plan", work / "plan.safetensors", "--out", tmp_path / "e")
    assert end.value.code == 130


@pytest.mark.parametrize("stage", ["score", "linear", "measure"])
def test_a_record_is_never_beside_files_that_it_is_not_about(
    stage: str, work: Path, tmp_path: Path, monkeypatch
) -> None:
    """A kill between the two must not let older settings take the newer files for their own."""
    text = ("--corpus", work / "corpora/text", "--length", 16, "--out", tmp_path)
    blocks, plan = ("--blocks", work / "blocks.safetensors"), ("--plan", work / "plan.safetensors")
    solve = ("linear", "--model", work / "mine", *blocks, *plan, "--out", tmp_path / "it")
    call, other, record, writes = {
        "score": (
            (*score(work), "--out", tmp_path / "it.safetensors"),
            ("--sequences", 2),
            "it.json",
            "scoring.score_files.save_scores",
        ),
        "linear": (solve, ("--ridges", 0.5), "it/recovery.json", "recovery.solved.save_solved"),
        "measure": (
            ("measure", "perplexity", "--model", work / "mine", *text, "--sequences", 3),
            ("--sequences", 2),
            "perplexity.json",
            "",
        ),
    }[stage]
    run(*call)
    assert (tmp_path / record).exists()

    def killed(*_arguments: object, **_settings: object) -> None:
        raise KeyboardInterrupt

    move = Path.replace
    if writes:
        monkeypatch.setattr(f"hfprune.{writes}", killed)
    else:  # while it moves what was measured to its place
        monkeypatch.setattr(
            Path, "replace", lambda a, b: killed() if Path(b).parent == tmp_path else move(a, b)
        )
    with pytest.raises(SystemExit):
        run(*call, *other)
    assert not (tmp_path / record).exists()
