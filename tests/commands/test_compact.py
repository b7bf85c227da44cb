"""Commands take a compact export: as the model itself, as a checkpoint of the dense one, and to prune it again."""

from pathlib import Path

import pytest
import torch
from command_line import recover, run
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM

import hfprune
from hfprune.assets.tasks import task_files
from hfprune.evaluation.lm_tasks import offline_tasks
from hfprune.files import read_json
from hfprune.models.units import count_parameters, gated_mlps
from hfprune.plans.planning import save_plan

TEXT = "--corpus corpora/text --sequences 3 --length 24"


@pytest.fixture(scope="module")
def folders(made: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The compact and the padded export of a plan by which layers differ in neurons and in groups."""
    root = tmp_path_factory.mktemp("exports")
    with pytest.MonkeyPatch.context() as there:
        there.chdir(made)
        kept = {f"mlp.{layer}": torch.arange(layer, 40 - 9 * layer) for layer in range(3)}
        kept |= {f"attention.{layer}": torch.arange(count) for layer, count in enumerate((2, 1, 2))}
        save_plan(root / "plan.safetensors", kept, {})
        for form, flags in (("compact", ()), ("plain", ("--plain",))):
            run(f"export --model mine --plan {root}/plan.safetensors --out {root}/{form}", *flags)
    return root / "compact", root / "plain"


def widths(folder: Path) -> list[int]:
    return [mlp.count for mlp in gated_mlps(hfprune.load(folder))]


def values(file: Path) -> dict[str, float]:
    return {value["metric"]: value["value"] for value in read_json(file)["values"]}


def test_measured_as_a_model_and_as_a_checkpoint(work: Path, folders, tmp_path: Path) -> None:
    """The plan in memory, and both exports of it, are one model."""
    found = {}
    for folder in folders:
        out = tmp_path / folder.name
        run(f"measure perplexity --model {folder} {TEXT} --out {out}")
        run(f"measure fidelity --model mine --checkpoint {folder} {TEXT} --out {out}")
        run(f"measure zeroshot --model {folder} --tasks tasks/arc_easy --out {out}")
        times = "--prompt-tokens 8 --batch 2 --new-tokens 2 --repeats 2"
        run(f"measure latency --model mine --checkpoint {folder} {times} --out {out}")
        found[folder.name] = {
            name: values(out / f"{name}.json")
            for name in ("perplexity", "fidelity", "zeroshot/arc_easy", "latency")
        }
    compact, plain = found["compact"], found["plain"]
    for name in ("perplexity", "fidelity", "zeroshot/arc_easy"):
        assert compact[name] == pytest.approx(plain[name], rel=1e-4, abs=1e-6)
    for metric in ("parameters", "flops", "memory_bytes"):
        assert compact["latency"][metric] < plain["latency"][metric]
    assert compact["latency"]["parameters"] == count_parameters(hfprune.load(folders[0]))


def test_compared_with_the_dense_model(work: Path, folders, tmp_path: Path, monkeypatch) -> None:
    tasks = f"--tasks {work}/tasks/arc_easy {work}/tasks/piqa"
    monkeypatch.chdir(tmp_path)
    tables = []
    for folder in folders:
        run(f"compare {work}/mine {folder} {tasks} --out {folder.name}.json")
        tables.append(read_json(tmp_path / f"{folder.name}.json")["effects"])
    assert tables[0] == tables[1]


def test_lm_eval_takes_the_loaded_model(work: Path, folders) -> None:
    """As `docs/exports.md` says; and with a cache, it generates what the padded one does."""
    accuracies, texts = [], []
    for folder in folders:
        model = hfprune.load(folder)
        lm = HFLM(pretrained=model, tokenizer=str(folder), backend="causal", batch_size=4)
        with offline_tasks(task_files(Path("tasks/arc_easy"))) as manager:
            found = simple_evaluate(lm, tasks=["arc_easy"], task_manager=manager)
        accuracies.append(found["results"]["arc_easy"]["acc,none"])
        prompt = torch.arange(5).unsqueeze(0)
        texts.append(model.generate(prompt, max_new_tokens=5, do_sample=False, pad_token_id=0).tolist())
    assert accuracies[0] == accuracies[1] and texts[0] == texts[1]


def test_recovered_as_a_checkpoint_and_exported_again(work: Path, folders, tmp_path: Path) -> None:
    """The merged adapter changes the function, and no size."""
    compact, _ = folders
    run(recover(f"--checkpoint {compact}"), tmp_path / "adapter")
    export = f"export --model mine --checkpoint {compact} --adapter {tmp_path}/adapter --out {tmp_path}/out"
    run(export)
    assert widths(tmp_path / "out") == widths(compact)
    tokens = torch.arange(20).unsqueeze(0)
    before, after = (hfprune.load(folder)(tokens).logits for folder in (compact, tmp_path / "out"))
    assert not torch.allclose(before, after, atol=1e-4)
    run(recover().replace("--model mine --plan plan.safetensors", f"--model {compact}"), tmp_path / "alone")
    assert (tmp_path / "alone/adapter_model.safetensors").exists()


@pytest.mark.parametrize("how", ["", "--recipe paper", "--criterion magnitude --align 4"])
def test_pruned_again(work: Path, folders, tmp_path: Path, how: str) -> None:
    """Every layer loses the same share, or what one ranking takes; the total is that of the ratio."""
    compact, _ = folders
    few = "--sequences 8 --length 32 --dtype float32 --no-compare --text corpora/text"
    run(f"prune --model {compact} --ratio 0.1 {few} --resources {tmp_path} {how} --out {tmp_path}/out")
    dense, pruned = hfprune.load(compact), hfprune.load(tmp_path / "out/model")
    mlps = gated_mlps(dense)
    removed = count_parameters(dense) - count_parameters(pruned)
    slack = mlps[0].parameters * (len(mlps) / 2 if "align" not in how else 2)
    assert abs(removed - 0.1 * count_parameters(dense)) <= slack
    before, after = widths(compact), widths(tmp_path / "out/model")
    if "paper" in how:
        share = sum(after) / sum(before)
        assert all(abs(now - share * was) <= 1 for was, now in zip(before, after, strict=True))
    elif "align" in how:
        assert not any(width % 4 for width in after)


def test_what_needs_one_number_for_all_layers_is_refused(work: Path, folders, tmp_path: Path, capsys) -> None:
    compact, _ = folders
    run(f"budget --model {compact} --ratios 0.1")
    assert "neurons" in capsys.readouterr().out
    for units in ("layers", "key_value_groups"):
        with pytest.raises(SystemExit) as end:
            run(f"budget --model {compact} --ratios 0.1 --units {units}")
        assert "its layers differ" in str(end.value) and "\n" not in str(end.value)
