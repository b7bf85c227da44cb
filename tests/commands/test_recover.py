"""Recovery by hand, and whose adapter is whose."""

import json
from pathlib import Path

import pytest
import torch
from command_line import failure, recover, run
from conftest import reload
from smoke import save_model

from hfprune.results import Cell
from hfprune.stages.target import Pruned


def test_recovered_model_is_exported_as_it_is_loaded(work: Path, adapter: Path, tmp_path: Path) -> None:
    run("export", "--model", work / "mine", "--plan", work / "plan.safetensors", "--adapter", adapter,
        "--out", tmp_path / "out")  # fmt: skip
    plan = Pruned(model=work / "mine", plan=work / "plan.safetensors")
    recovered = plan.model_copy(update={"adapter": adapter})
    tokens, exported = torch.arange(20).unsqueeze(0), reload(tmp_path / "out")
    assert torch.equal(exported(tokens).logits, recovered.load().to("cpu")(tokens).logits)
    assert not torch.equal(exported(tokens).logits, plan.load().to("cpu")(tokens).logits)
    assert not {"lora_A", "lora_B"} & {name.split(".")[-2] for name in exported.state_dict()}
    assert recovered.change_inputs().keys() == {"plan", "adapter"}
    assert recovered.named_cell(None) == Cell("by-hand", "mine", "pruned", None, 0, "lora")
    assert recovered.named_cell("s/m/dense//1/none") == Cell("s", "m", "dense", None, 1, "none")


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


def test_recovery_says_what_more_data_would_bring(adapter: Path) -> None:
    """Of 48 pairs 4 are held out, each of which fills a sequence."""
    made = json.loads((adapter / "recovery.json").read_text())["provenance"]
    tokens = made["held_out_tokens"]
    assert [point["step"] for point in made["curve"]] == [0, 1, 2, 3] and len(tokens) == 4
    assert [point["tokens"] for point in made["curve"]] == [0, 2 * 320, 4 * 320, 6 * 320]
    for point in made["curve"]:
        loss = sum(n * loss for n, loss in zip(tokens, point["losses"], strict=True)) / sum(tokens)
        squares = sum((n * (own - loss)) ** 2 for n, own in zip(tokens, point["losses"], strict=True))
        assert point["loss"] == pytest.approx(loss)
        assert point["stderr"] == pytest.approx((squares * 4 / 3) ** 0.5 / sum(tokens))
    assert made["curve"][-1]["loss"] < made["curve"][0]["loss"]


def test_pairs_are_packed_once_for_all_recoveries_of_a_model(
    work: Path, adapter: Path, tmp_path: Path
) -> None:
    pairs = ("--instructions", work / "instructions/pairs")
    packed = tmp_path / "pairs.safetensors"
    run("pack", "--model", work / "mine", *pairs, "--length", 320, "--out", packed)
    instead = (*(x for x in recover(work) if x not in pairs), "--packed", packed)
    run(*instead, "--out", tmp_path / "adapter")
    name = "adapter_model.safetensors"
    assert (tmp_path / "adapter" / name).read_bytes() == (adapter / name).read_bytes()
    result = json.loads((tmp_path / "adapter/recovery.json").read_text())
    assert {"model", "plan", "packed"} == set(result["provenance"]["inputs"]) and result["task"] == "pairs"
    out = ("--out", tmp_path / "other")
    assert "give either --instructions or --packed" in failure(*instead, *pairs, *out)
    longer = (*instead[: instead.index("--options")], "--options", '{"length": 640}', "--packed", packed)
    assert "packed with another length; run `hfprune pack` again" in failure(*longer, *out)
    assert "packed with another seed" in failure(*instead, "--seed", 1, *out)
    fewer = (*instead[: instead.index("--options")], "--options", '{"length": 320, "held_out": 2}')
    assert "packed with another held_out" in failure(*fewer, "--packed", packed, *out)
    save_model("llama", tmp_path / "llama")
    other = ("recover", "--model", tmp_path / "llama", *instead[instead.index("--options") :])
    assert "packed with another model" in failure(*other, *out)
    plan = (*instead[:-1], work / "plan.safetensors")
    assert "not packed pairs; make them with `hfprune pack`" in failure(*plan, *out)
    assert not (tmp_path / "other").exists()


def test_recovery_again_gives_the_same_adapter_and_replaces_only_an_adapter(
    work: Path, adapter: Path, tmp_path: Path
) -> None:
    run(*recover(work), "--out", tmp_path / "again")
    run(*recover(work), "--out", tmp_path / "again")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (adapter / name).read_bytes()
    (tmp_path / "thesis.txt").write_text("mine")
    assert "holds something else" in failure(*recover(work), "--out", tmp_path)
    inside = tmp_path / "again" / "adapter_model.safetensors"
    assert "holds something else" in failure(*recover(work), "--out", inside)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_an_adapter_belongs_to_its_plan(work: Path, adapter: Path, tmp_path: Path) -> None:
    run("score", "--model", work / "mine", "--criterion", "random", "--out", tmp_path / "s.safetensors")
    run("plan", "--model", work / "mine", "--scores", tmp_path / "s.safetensors", "--ratio", 0.15, "--out",
        tmp_path / "other.safetensors")  # fmt: skip
    export = ("export", "--model", work / "mine", "--adapter", adapter, "--out", tmp_path / "out")
    assert "this recovery was made for another plan" in failure(
        *export, "--plan", tmp_path / "other.safetensors"
    )
    assert "this recovery was made for another plan" in failure(*export)
    assert not (tmp_path / "out").exists()


def test_an_adapter_belongs_to_its_checkpoint(work: Path, tmp_path: Path) -> None:
    """Even where the plan that the checkpoint was exported by gives the very same weights."""
    model, plan = ("--model", work / "mine"), ("--plan", work / "plan.safetensors")
    run("export", *model, *plan, "--out", tmp_path / "pruned")
    options = json.dumps({"rank": 4, "batch": 2, "length": 320, "max_steps": 1})
    pairs = ("--instructions", work / "instructions/pairs", "--options", options)
    run("recover", *model, "--checkpoint", tmp_path / "pruned", *pairs, "--out", tmp_path / "adapter")
    export = ("export", *model, "--adapter", tmp_path / "adapter", "--out", tmp_path / "out")
    assert "this recovery was made for another checkpoint" in failure(*export)
    assert "this recovery was made for the model without a plan" in failure(*export, *plan)
    run(*export, "--checkpoint", tmp_path / "pruned")
    assert (tmp_path / "out/model.safetensors").exists()


def test_mistakes_in_a_recovery_end_in_one_line(work: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "adapter")
    assert "--options: unknown key 'rnak'; did you mean 'rank'" in failure(*recover(work, rnak=2), *out)
    assert "fill no sequence of 900000 tokens" in failure(
        *recover(work, packing="plain", length=900_000), *out
    )
    dense = failure("export", "--model", work / "mine", "--out", tmp_path / "e")
    assert "give --plan or --checkpoint, --adapter, or both" in dense
    assert not (tmp_path / "adapter").exists()
