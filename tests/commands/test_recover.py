"""Recovery by hand, and whose adapter is whose."""

from pathlib import Path

import pytest
import torch
from command_line import EXPORT, failure, recover, run
from conftest import reload

from hfprune.cells import UNCALIBRATED, Cell
from hfprune.cells.recovery import Recovery
from hfprune.files import read_json
from hfprune.stages.target import Pruned

ADAPTER = "adapter_model.safetensors"


def test_recovered_model_is_exported_and_measured_as_it_is_loaded(work: Path, tmp_path: Path) -> None:
    run(EXPORT, tmp_path / "out", "--adapter", "adapter")
    plan = Pruned(model=work / "mine", plan=work / "plan.safetensors")
    recovered = plan.model_copy(update={"adapter": work / "adapter"})
    tokens, exported = torch.arange(20).unsqueeze(0), reload(tmp_path / "out")
    assert torch.equal(exported(tokens).logits, recovered.load().to("cpu")(tokens).logits)
    assert not torch.equal(exported(tokens).logits, plan.load().to("cpu")(tokens).logits)
    assert not {"lora_A", "lora_B"} & {name.split(".")[-2] for name in exported.state_dict()}
    assert recovered.change_inputs().keys() == {"plan", "adapter"}
    assert recovered.named_cell(None) == Cell(
        "by-hand", "mine", "pruned", UNCALIBRATED, 0, None, 0, Recovery.LORA
    )
    cell = Cell.parse("s/m/dense/none/0//1/none")
    assert cell == Cell("s", "m", "dense", UNCALIBRATED, 0, None, 1, Recovery.NONE)
    assert recovered.named_cell(cell) is cell

    text = "--corpus corpora/text --sequences 3 --length 24 --out"
    run("measure perplexity --model", tmp_path / "out", *text.split(), tmp_path / "exported")
    for name in ("perplexity", "fidelity"):
        run(f"measure {name} --model mine --plan plan.safetensors --adapter adapter {text}", tmp_path)
    merged, fidelity = (read_json(tmp_path / f"{name}.json") for name in ("perplexity", "fidelity"))
    assert read_json(tmp_path / "exported/perplexity.json")["values"] == merged["values"]
    assert fidelity["cell"]["recovery"] == "lora"
    assert fidelity["values"][0]["value"] > 0
    assert {"model", "plan", "adapter", "measure", "corpora/text"} == set(fidelity["provenance"]["inputs"])


def test_recovery_says_what_it_did_and_what_more_data_would_bring(work: Path) -> None:
    """Of 48 pairs 4 are held out, each of which fills a sequence."""
    names = {ADAPTER, "adapter_config.json", "recovery.json"}
    assert {path.name for path in (work / "adapter").iterdir()} == names
    assert not (work / "adapter.state").exists()
    result = read_json(work / "adapter/recovery.json")
    values = {value["metric"]: value["value"] for value in result["values"]}
    assert (result["measure"], result["task"], values["steps"]) == ("recovery", "pairs", 3)
    made = result["provenance"]
    losses, tokens, curve = made["losses"], made["held_out_tokens"], made["curve"]
    assert (losses[0], losses[-1], len(losses)) == (values["first_loss"], values["last_loss"], 3)
    assert {"model", "plan", "instructions"} == set(made["inputs"])
    assert [point["step"] for point in curve] == [0, 1, 2, 3] and len(tokens) == 4
    assert [point["tokens"] for point in curve] == [0, 2 * 320, 4 * 320, 6 * 320]
    for point in curve:
        loss = sum(n * loss for n, loss in zip(tokens, point["losses"], strict=True)) / sum(tokens)
        squares = sum((n * (own - loss)) ** 2 for n, own in zip(tokens, point["losses"], strict=True))
        assert point["loss"] == pytest.approx(loss)
        assert point["stderr"] == pytest.approx((squares * 4 / 3) ** 0.5 / sum(tokens))
    assert curve[-1]["loss"] < curve[0]["loss"]


def test_pairs_are_packed_once_for_all_recoveries_of_a_model(work: Path, tmp_path: Path) -> None:
    packed = tmp_path / "pairs.safetensors"
    run("pack --model mine --instructions instructions/pairs --length 320 --out", packed)
    run(recover().replace("--instructions instructions/pairs", f"--packed {packed}"), tmp_path / "adapter")
    assert (tmp_path / "adapter" / ADAPTER).read_bytes() == (work / "adapter" / ADAPTER).read_bytes()
    result = read_json(tmp_path / "adapter/recovery.json")
    assert {"model", "plan", "packed"} == set(result["provenance"]["inputs"]) and result["task"] == "pairs"


def test_recovery_again_gives_the_same_adapter_and_replaces_only_an_adapter(
    work: Path, tmp_path: Path
) -> None:
    run(recover(), tmp_path / "again")
    run(recover(), tmp_path / "again")
    for name in (ADAPTER, "adapter_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (work / "adapter" / name).read_bytes()
    (tmp_path / "thesis.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "again" / ADAPTER):
        assert "holds something else" in failure(recover(), folder)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_an_adapter_belongs_to_its_checkpoint(work: Path, tmp_path: Path) -> None:
    """Even where the plan that the checkpoint was exported by gives the very same weights."""
    checkpoint = f"--checkpoint {tmp_path}/pruned"
    run(EXPORT, tmp_path / "pruned")
    run(recover(checkpoint, max_steps=1), tmp_path / "adapter")
    export = f"export --model mine --adapter {tmp_path}/adapter --out {tmp_path}/out"
    assert "this recovery was made for another checkpoint" in failure(export)
    plan = f"{export} --plan plan.safetensors"
    assert "this recovery was made for the model without a plan" in failure(plan)
    run(f"{export} {checkpoint}")
    assert (tmp_path / "out/model.safetensors").exists()
