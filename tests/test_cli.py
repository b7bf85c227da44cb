"""Every stage by hand, on a user's own model folder, without Snakemake."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import reload
from smoke import PAIRS, TASKS, TEXT, local, save_model, write

from hfprune.calibration import load_blocks
from hfprune.cli import main
from hfprune.criteria.entropy import Entropy
from hfprune.evaluation import zeroshot
from hfprune.models import load_model
from hfprune.plans import apply_plan, load_plan
from hfprune.scoring import Positions, load_scores

COMMANDS = (
    *("fetch", "budget", "calibrate", "score", "plan", "adopt", "recover", "evaluate", "fidelity"),
    *("perplexity", "latency", "distributions", "ablate", "export", "collect", "tables", "claims"),
    *("compare", "figures", "audit", "methods", "schema"),
)


def run(*arguments: object) -> None:
    """Call the command line in this process."""
    command, *rest = map(str, arguments)
    saved, sys.argv = sys.argv, ["hfprune", command, *rest]
    try:
        main()
    finally:
        sys.argv = saved


def failure(*arguments: object) -> str:
    """Return the one line with which a command ends."""
    with pytest.raises(SystemExit) as end:
        run(*arguments)
    assert isinstance(end.value.code, str), "exit code 1 and a message"
    assert "\n" not in end.value.code
    return end.value.code


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fetched assets: a tiny Qwen3 of the user's, a corpus and a task."""
    folder = tmp_path_factory.mktemp("work")
    save_model("qwen3", folder / "mine")
    (folder / "text.txt").write_text("\n".join(TEXT))
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, PAIRS)))
    for task in ("piqa", "arc_easy"):
        (folder / f"{task}.jsonl").write_text("\n".join(map(json.dumps, TASKS[task])))
    write(
        folder / "assets.yaml",
        {
            "corpora": {"text": {"source": local(folder / "text.txt"), "format": "lines"}},
            "instructions": {"pairs": {"source": local(folder / "pairs.jsonl"), "format": "jsonl"}},
            "tasks": {
                task: {"source": local(folder / f"{task}.jsonl"), "format": "jsonl", "rows": len(TASKS[task])}
                for task in ("piqa", "arc_easy")
            },
        },
    )
    catalogue = ("--catalogue", folder / "assets.yaml", "--resources", folder)
    run("fetch", "corpora/text", "tasks/piqa", "tasks/arc_easy", "instructions/pairs", *catalogue)
    text = ("--corpus", folder / "corpora/text", "--sequences", 4, "--length", 24)
    model = ("--model", folder / "mine")
    run("calibrate", *model, *text, "--out", folder / "blocks.safetensors")
    run("score", *model, "--blocks", folder / "blocks.safetensors", "--criterion", "entropy",
        "--out", folder / "scores.safetensors")  # fmt: skip
    run("plan", *model, "--scores", folder / "scores.safetensors", "--ratio", 0.15, "--out",
        folder / "plan.safetensors")  # fmt: skip
    return folder


def test_help_lists_every_command_without_heavy_imports() -> None:
    code = "import sys; from hfprune.cli import _parser; print(_parser().format_help()); print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    text, modules = output.rsplit("\n", 2)[0], output.rsplit("\n", 2)[1].split()
    assert all(command in text for command in COMMANDS)
    assert not {"torch", "transformers", "pandas", "lm_eval"} & set(modules)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(command, "--help")
    assert f"example:\n  hfprune {command}" in capsys.readouterr().out


def test_criteria_named_together_score_as_alone(work: Path, tmp_path: Path) -> None:
    model = ("score", "--model", work / "mine", "--blocks", work / "blocks.safetensors", "--sequences", 3)
    names = ["entropy", "cross_entropy", "distillation", "wanda"]
    options = json.dumps({"cross_entropy": {"aggregation": "sum_squares"}})
    run(*model, "--criterion", *names, "--options", options, "--out", tmp_path / "{criterion}.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []
    for name in names:
        own = ("--options", '{"aggregation": "sum_squares"}') if name == "cross_entropy" else ()
        run(*model, "--criterion", name, *own, "--out", tmp_path / "alone.safetensors")
        together, alone = (
            load_scores(tmp_path / f"{name}.safetensors"),
            load_scores(tmp_path / "alone.safetensors"),
        )
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.mean()))
        result = json.loads((tmp_path / f"{name}.json").read_text())
        assert result["provenance"]["settings"]["blocks"] == 3
    assert "{criterion}" in failure(
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
    assert made["settings"]["batch_tokens"] == held
    scores = [load_scores(tmp_path / f"{name}.safetensors") for name in ("whole", "held")]
    for a, b in zip(*scores, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.mean()))
    held = 1
    line = failure("score", *few, "--out", tmp_path / "none.safetensors")
    assert f"not even one sequence of {length} tokens fits into memory; take shorter ones" in line


@pytest.fixture(scope="module")
def adapter(work: Path) -> Path:
    """An adapter for the plan."""
    run(*recover(work), "--out", work / "adapter")
    return work / "adapter"


def recover(work: Path, **options: object) -> tuple[object, ...]:
    few = {"rank": 4, "batch": 2, "length": 64, "max_steps": 3} | options
    plan = ("--plan", work / "plan.safetensors", "--instructions", work / "instructions/pairs")
    return "recover", "--model", work / "mine", *plan, "--options", json.dumps(few)


def test_recovered_model_is_exported_and_measured_alike(work: Path, adapter: Path, tmp_path: Path) -> None:
    changed = ("--plan", work / "plan.safetensors", "--adapter", adapter)
    text = ("--corpus", work / "corpora/text", "--sequences", 3, "--length", 24)
    run("export", "--model", work / "mine", *changed, "--out", tmp_path / "out")
    run("perplexity", "--model", tmp_path / "out", *text, "--out", tmp_path / "exported.json")
    run("perplexity", "--model", work / "mine", *changed, *text, "--out", tmp_path / "merged.json")
    run("fidelity", "--model", work / "mine", *changed, *text, "--out", tmp_path / "fidelity.json")
    exported, merged, fidelity = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("exported", "merged", "fidelity")
    )
    assert exported["values"] == merged["values"]
    assert fidelity["cell"]["recovery"] == "lora"
    assert fidelity["values"][0]["value"] > 0
    assert {"model", "plan", "adapter", "corpus"} == set(fidelity["provenance"]["inputs"])
    assert not {"lora_A", "lora_B"} & {name.split(".")[-2] for name in reload(tmp_path / "out").state_dict()}


def test_recovery_says_what_it_did_and_leaves_no_checkpoints(work: Path, adapter: Path) -> None:
    names = {"adapter_model.safetensors", "adapter_config.json", "recovery.json"}
    assert {path.name for path in adapter.iterdir()} == names
    assert not (work / "adapter.state").exists()
    result = json.loads((adapter / "recovery.json").read_text())
    values = {value["metric"]: value["value"] for value in result["values"]}
    assert (result["measure"], result["task"], values["steps"]) == ("recovery", "pairs", 3)
    losses = result["provenance"]["losses"]
    assert (losses[0], losses[-1], len(losses)) == (values["first_loss"], values["last_loss"], 3)
    assert {"model", "plan", "instructions"} == set(result["provenance"]["inputs"])


def test_recovery_again_gives_the_same_adapter_and_replaces_only_an_adapter(
    work: Path, adapter: Path, tmp_path: Path
) -> None:
    run(*recover(work), "--out", tmp_path / "again")
    run(*recover(work), "--out", tmp_path / "again")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (adapter / name).read_bytes()
    (tmp_path / "thesis.txt").write_text("mine")
    assert "exists and is no earlier adapter" in failure(*recover(work), "--out", tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_an_adapter_belongs_to_its_plan(work: Path, adapter: Path, tmp_path: Path) -> None:
    run("score", "--model", work / "mine", "--criterion", "random", "--out", tmp_path / "s.safetensors")
    run("plan", "--model", work / "mine", "--scores", tmp_path / "s.safetensors", "--ratio", 0.15, "--out",
        tmp_path / "other.safetensors")  # fmt: skip
    export = ("export", "--model", work / "mine", "--adapter", adapter, "--out", tmp_path / "out")
    assert "trained on another plan" in failure(*export, "--plan", tmp_path / "other.safetensors")
    assert "trained on another plan" in failure(*export)
    assert not (tmp_path / "out").exists()


def test_an_adapter_belongs_to_its_checkpoint(work: Path, tmp_path: Path) -> None:
    """Even where the plan that the checkpoint was exported by gives the very same weights."""
    model, plan = ("--model", work / "mine"), ("--plan", work / "plan.safetensors")
    run("export", *model, *plan, "--out", tmp_path / "pruned")
    options = json.dumps({"rank": 4, "batch": 2, "length": 64, "max_steps": 1})
    pairs = ("--instructions", work / "instructions/pairs", "--options", options)
    run("recover", *model, "--checkpoint", tmp_path / "pruned", *pairs, "--out", tmp_path / "adapter")
    export = ("export", *model, "--adapter", tmp_path / "adapter", "--out", tmp_path / "out")
    assert "trained on another checkpoint" in failure(*export)
    assert "trained on the model without a plan" in failure(*export, *plan)
    run(*export, "--checkpoint", tmp_path / "pruned")
    assert (tmp_path / "out/model.safetensors").exists()


def test_mistakes_in_a_recovery_end_in_one_line(work: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "adapter")
    assert "--options: unknown key 'rnak'; did you mean 'rank'" in failure(*recover(work, rnak=2), *out)
    assert "fill no sequence of 900000 tokens" in failure(*recover(work, length=900_000), *out)
    text = ("--corpus", work / "corpora/text", "--sequences", 3, "--length", 24)
    dense = failure("fidelity", "--model", work / "mine", *text, "--out", tmp_path / "f.json")
    assert "give --plan or --checkpoint, --adapter, or both" in dense
    assert not (tmp_path / "adapter").exists()


def test_plan_is_of_the_size_asked_for(work: Path) -> None:
    values = {v["metric"]: v["value"] for v in json.loads((work / "plan.json").read_text())["values"]}
    assert values["parameter_ratio"] == pytest.approx(0.15, abs=0.005)


def test_scores_know_the_file_of_their_criterion(work: Path) -> None:
    made = json.loads((work / "scores.json").read_text())["provenance"]
    file = Path(__file__).parents[1] / "hfprune/criteria/entropy.py"
    assert made["inputs"]["criterion"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_export_gives_the_logits_of_dense_and_plan(work: Path, tmp_path: Path) -> None:
    run("export", "--model", work / "mine", "--plan", work / "plan.safetensors", "--out", tmp_path / "out")
    model = load_model(work / "mine", device=torch.device("cpu"))
    apply_plan(model, load_plan(work / "plan.safetensors"))
    tokens = torch.arange(20).unsqueeze(0)
    assert torch.equal(reload(tmp_path / "out")(tokens).logits, model(tokens).logits)
    run("perplexity", "--model", tmp_path / "out", "--corpus", work / "corpora/text", "--sequences", 3,
        "--length", 24, "--out", tmp_path / "p.json")  # fmt: skip
    run("perplexity", "--model", work / "mine", "--plan", work / "plan.safetensors", "--corpus",
        work / "corpora/text", "--sequences", 3, "--length", 24, "--out", tmp_path / "q.json")  # fmt: skip
    p, q = (json.loads((tmp_path / name).read_text())["values"] for name in ("p.json", "q.json"))
    assert p == q


def test_export_takes_the_place_of_an_earlier_export_only(work: Path, tmp_path: Path) -> None:
    arguments = ("export", "--model", work / "mine", "--plan", work / "plan.safetensors", "--out")
    (tmp_path / "thesis.txt").write_text("mine")
    assert "no earlier export" in failure(*arguments, tmp_path)
    assert "no earlier export" in failure(*arguments, work / "mine")
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    run(*arguments, tmp_path / "out")
    run(*arguments, tmp_path / "out")
    assert reload(tmp_path / "out").config.intermediate_size < 48


def test_plans_of_the_same_scores_are_the_same_bytes(work: Path, tmp_path: Path) -> None:
    run("plan", "--model", work / "mine", "--scores", work / "scores.safetensors", "--ratio", 0.15, "--out",
        tmp_path / "again.safetensors")  # fmt: skip
    assert (tmp_path / "again.safetensors").read_bytes() == (work / "plan.safetensors").read_bytes()
    cell = json.loads((tmp_path / "again.json").read_text())["cell"]
    assert (cell["method"], cell["ratio"]) == ("pruned", 0.15)


def test_evaluate_keeps_what_is_finished_and_current(work: Path, tmp_path: Path, capsys) -> None:
    arguments = ("evaluate", "--model", work / "mine", "--tasks", work / "tasks/piqa", "--out", tmp_path)
    run(*arguments)
    first = (tmp_path / "piqa.json").read_bytes()
    capsys.readouterr()
    run(*arguments)
    assert "piqa is already there" in capsys.readouterr().err
    assert (tmp_path / "piqa.json").read_bytes() == first
    run(*arguments, "--limit", 5)
    assert json.loads((tmp_path / "piqa.json").read_text())["values"][0]["n"] == 5
    (tmp_path / "piqa.parquet").unlink()
    run(*arguments, "--limit", 5)
    assert (tmp_path / "piqa.parquet").exists(), "the JSON alone is no finished result"
    (tmp_path / "piqa.json").write_text('{"half')
    run(*arguments, "--limit", 5)
    assert json.loads((tmp_path / "piqa.json").read_text())["values"][0]["n"] == 5


def test_evaluate_that_dies_goes_on_with_the_next_task(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    tasks = ("--tasks", work / "tasks/piqa", work / "tasks/arc_easy")
    arguments = ("evaluate", "--model", work / "mine", *tasks, "--out", tmp_path / "out")
    plain = zeroshot.evaluate_task

    def die(model, manager, name, limit):
        if name == "arc_easy":
            raise KeyboardInterrupt
        return plain(model, manager, name, limit)

    monkeypatch.setattr(zeroshot, "evaluate_task", die)
    with pytest.raises(SystemExit):
        run(*arguments)
    assert not (tmp_path / "out").exists(), "an unfinished cell has no results"
    monkeypatch.setattr(zeroshot, "evaluate_task", plain)
    capsys.readouterr()
    run(*arguments)
    assert "piqa is already there" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{task}.{suffix}" for task in ("piqa", "arc_easy") for suffix in ("json", "parquet")
    }
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_run_with_other_settings_left_replaces_nothing(work: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", "--model", work / "mine", "--tasks", work / "tasks/piqa", "--out")
    run(*arguments, tmp_path / "out")
    before = (tmp_path / "out/piqa.json").read_bytes()
    run(*arguments, tmp_path / "other", "--limit", 5)
    (tmp_path / "other").rename(tmp_path / "out.state")
    run(*arguments, tmp_path / "out")
    assert (tmp_path / "out/piqa.json").read_bytes() == before


def test_fidelity_of_a_pruned_model(work: Path, tmp_path: Path) -> None:
    run("fidelity", "--model", work / "mine", "--plan", work / "plan.safetensors", "--corpus",
        work / "corpora/text", "--sequences", 3, "--length", 24, "--top-k", 5, "--out",
        tmp_path / "f.json")  # fmt: skip
    result = json.loads((tmp_path / "f.json").read_text())
    values = {value["metric"]: value["value"] for value in result["values"]}
    assert 0 < values["js_distance"] < 0.8326
    assert 0 < values["top5_jaccard"] < 1
    assert result["task"] == "text"


def test_latency_of_a_pruned_model(work: Path, tmp_path: Path) -> None:
    run("latency", "--model", work / "mine", "--plan", work / "plan.safetensors", "--prompt-tokens", 16,
        "--batch", 2, "--new-tokens", 3, "--repeats", 2, "--out", tmp_path / "l.json")  # fmt: skip
    result = json.loads((tmp_path / "l.json").read_text())
    values = {value["metric"]: value["value"] for value in result["values"]}
    assert (result["measure"], result["task"]) == ("latency", "")
    assert values["prefill_speedup"] > 0 < values["decode_speedup"]
    assert result["provenance"]["settings"]["new_tokens"] == 3
    assert len(pd.read_parquet(tmp_path / "l.parquet")) == 2


def test_ablate_writes_one_row_for_each_neuron(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "ablation.json"
    run("ablate", "--model", work / "mine", "--corpus", work / "corpora/text", "--sequences", 2,
        "--length", 16, "--neurons-per-layer", 2, "--out", out)  # fmt: skip
    items = pd.read_parquet(out.with_suffix(".parquet"))
    assert [*items] == ["layer", "neuron", "damage"]
    assert items["layer"].tolist() == [0, 0, 1, 1, 2, 2]
    (value,) = json.loads(out.read_text())["values"]
    assert value["value"] == pytest.approx(items["damage"].mean())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ablation.json", "ablation.parquet"]


@pytest.mark.parametrize(
    ("command", "flag", "value", "message"),
    [
        ("perplexity", "--length", "0", "must be a whole number above 0, not '0'"),
        ("evaluate", "--limit", "-3", "must be a whole number above 0"),
        ("score", "--options", "{bad", "not JSON"),
        ("score", "--options", "[1]", "must be a JSON object"),
        ("score", "--out", "x.json", "must be a file ending in .safetensors"),
        ("fidelity", "--out", "x", "must be a file ending in .json"),
        ("plan", "--cell", "foo", "give study/model/method/ratio/seed/recovery"),
    ],
)
def test_impossible_flags_are_refused_at_once(command, flag, value, message, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        run(command, flag, value)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


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
    assert f"hfprune fetch models/{tmp_path.name}" in failure(
        "plan", "--model", tmp_path, *scores, "--ratio", 0.1, *out
    )
    text = ("--corpus", work / "corpora/text", "--sequences", 4, "--length", 9999)
    assert "choose a shorter length" in failure("calibrate", *model, *text, *out)
    assert "not a plan" in failure("export", *model, "--plan", work / "text.txt", "--out", tmp_path / "e")
    assert f"hfprune fetch corpora/{tmp_path.name}" in failure(
        "perplexity",
        *model,
        "--corpus",
        tmp_path,
        "--sequences",
        1,
        "--length",
        9,
        "--out",
        tmp_path / "p.json",
    )
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
    tasks = ("--tasks", tmp_path / "arc_easy")
    assert "hfprune fetch tasks/arc_easy" in failure("evaluate", *model, *tasks, "--out", tmp_path / "r")
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_attention_and_one_ranking_over_all_layers(work: Path, tmp_path: Path, capsys) -> None:
    """Both parts by one sweep; as many parameters as pruning neurons alone; the export says what pads it."""
    model, scores = ("--model", work / "mine"), tmp_path / "scores.safetensors"
    both = ("--parts", "mlp+attention")
    run("budget", *model, "--ratios", 0.25, "--parts", "mlp", both[1], "--out", tmp_path / "budget.json")
    assert "of 48 neurons and 1 of 2 key-value groups a layer" in capsys.readouterr().out
    kept = json.loads((tmp_path / "budget.json").read_text())
    assert kept["neurons_removed"]["0.25"] == 1 - kept["kept"]["mlp"]["0.25"][0] / 48
    run(
        "score",
        *model,
        "--blocks",
        work / "blocks.safetensors",
        "--criterion",
        "entropy",
        *both,
        "--out",
        scores,
    )
    plan = ("plan", *model, "--scores", scores, "--ratio", 0.25, *both, "--allocation", "global")
    run(*plan, "--standardize", "--floor", 0.2, "--out", tmp_path / "plan.safetensors")
    values = {v["metric"]: v["value"] for v in json.loads((tmp_path / "plan.json").read_text())["values"]}
    assert values["parameter_ratio"] == pytest.approx(0.25, abs=0.005)
    run("export", *model, "--plan", tmp_path / "plan.safetensors", "--out", tmp_path / "out")
    assert "zeros that pad narrower layers to the widest" in capsys.readouterr().out
    sizes = json.loads((tmp_path / "out/provenance.json").read_text())
    assert sizes["parameters"] == values["parameters"] < sizes["parameters_on_disk"]
    assert sizes["inputs"].keys() == {"model", "plan"}
    assert reload(tmp_path / "out").config.num_key_value_heads == 1

    out = ("--out", tmp_path / "x.safetensors")
    assert "keeps 129 neurons, but" in failure(*plan, "--floor", 0.9, *out)
    assert "floor of 0.9 keeps" in failure("budget", *model, "--ratios", 0.25, "--floor", 0.9)
    assert "belong to the rule 'global'" in failure(*plan, "--allocation", "uniform", "--floor", 0.3, *out)
    needed = ("plan", *model, "--scores", work / "scores.safetensors", "--ratio", 0.25, *both)
    assert "not scores of mlp+attention" in failure(*needed, *out)
    assert "scores MLP neurons only" in failure("score", *model, "--criterion", "magnitude", *both, *out)
