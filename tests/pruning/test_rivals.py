"""Rivals beside a pruned model: their rows, and what is refused."""

import re
from pathlib import Path

import pytest
import torch
from command_line import failure, run
from smoke import save_model

from hfprune.cells import read_result
from hfprune.errors import HfpruneError
from hfprune.models.load import load_model
from hfprune.models.quantised import bytes_of_weights, quantise
from hfprune.models.units import count_parameters
from hfprune.pruning.config import Pruning
from hfprune.pruning.rivals import smaller_of
from hfprune.settings import validate


def rows(page: str) -> dict[str, list[str]]:
    """Return the cells of the page's table of rivals by the first of each line."""
    table = re.search(r'<section id="rivals".*?</section>', page, re.DOTALL)
    assert table
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table[0].split("<tr>")[1:]]
    return {name: rest for name, *rest in cells}


def test_each_rival_is_a_row_of_the_report(call: str, project: Path, tmp_path: Path, capsys) -> None:
    small = tmp_path / "small"
    save_model("qwen3", small, hidden_size=16, num_hidden_layers=2)
    out = tmp_path / "out"
    run(f"{call} --dtype bfloat16 --beside quantised,smaller={small} --out {out}")
    printed, found = capsys.readouterr().out, rows((out / "report.html").read_text())
    names = ["dense", "pruned", "dense, 8 bits", "dense, 4 bits", "pruned, 8 bits", "small"]
    assert [*found] == ["model", *names] and all(name in printed for name in names)
    loaded = {name: load_model(folder, "bfloat16", torch.device("cpu")) for name, folder in
              (("dense", project / "models/mine"), ("pruned", out / "model"), ("small", small))}  # fmt: skip
    megabytes = {name: 2 * count_parameters(model) / 1e6 for name, model in loaded.items()}
    for name in ("pruned", "dense"):
        megabytes[f"{name}, 8 bits"] = bytes_of_weights(quantise(loaded[name], 8)) / 1e6
    fresh = load_model(project / "models/mine", "bfloat16", torch.device("cpu"))
    megabytes["dense, 4 bits"] = bytes_of_weights(quantise(fresh, 4)) / 1e6
    assert {name: cells[0] for name, cells in found.items() if name in names} == {
        name: f"{size:,.1f}" for name, size in megabytes.items()
    }
    results = {name: read_result(out / "work/rivals" / name / "perplexity.json") for name in
               ("dense-8-bits", "small")}  # fmt: skip
    column = next(n for n, head in enumerate(found["model"]) if head.startswith("perplexity"))
    for name, result in results.items():
        value = next(value.value for value in result.values if value.metric == "perplexity")
        shown = found[name.replace("-8", ", 8").replace("-", " ")][column]
        assert float(shown.split()[0].replace(",", "")) == pytest.approx(value, rel=0.01)
        assert "to" in shown, "with an interval"
    decoding = next(n for n, head in enumerate(found["model"]) if head.startswith("decoding"))
    assert all(cells[decoding] for name, cells in found.items() if name != "model")


def test_what_is_no_rival_is_refused_before_any_work(call: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "--beside: unknown rival 'quantized'; did you mean 'quantised'" in failure(
        f"{call} --beside quantized --out {out}"
    )
    said = failure(f"{call} --beside smaller --out {out}")
    assert "--beside smaller: the catalogue has no smaller model of the series of" in said
    other = tmp_path / "other"
    save_model("llama", other)
    assert "its architecture is LlamaForCausalLM" in failure(f"{call} --beside smaller={other} --out {out}")
    assert "--beside are for the comparison" in failure(f"{call} --no-compare --beside smaller --out {out}")
    assert not (out / "model").exists()


def test_the_next_smaller_model_of_a_series() -> None:
    known = ["qwen2.5-0.5b", "qwen2.5-1.5b", "qwen2.5-7b", "qwen2.5-coder-1.5b", "qwen3-1.7b", "smollm2-135m"]

    def smaller(model: str) -> str:
        given = {"model": model, "ratio": 0.2, "out": "x", "beside": ["smaller"]}
        return smaller_of(validate(Pruning, given, "prune"), known)

    for model, expected in {
        "Qwen/Qwen2.5-1.5B": "qwen2.5-0.5b",
        "models/qwen2.5-1.5b/": "qwen2.5-0.5b",
        "Qwen/Qwen2.5-1.5B@main": "qwen2.5-0.5b",
        "HuggingFaceTB/SmolLM2-1.7B": "smollm2-135m",
    }.items():
        assert smaller(model) == expected
    with pytest.raises(
        HfpruneError, match=r"no smaller model of the series of Qwen/Qwen2\.5-7B with its vocab"
    ):
        smaller("Qwen/Qwen2.5-7B")  # 152,064 words in place of 151,936
