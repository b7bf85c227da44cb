"""How much may be cut: `hfprune prune --ratio auto`, by a loss, a number of parameters or a size on disk."""

import re
from math import expm1
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import failure, killed, run
from conftest import reload
from huggingface_hub import ModelCard
from scipy.stats import t

from hfprune.cells import Cell, Value, write_result
from hfprune.cells.recovery import Recovery
from hfprune.errors import HfpruneError
from hfprune.measures.gold_bpb import SHORT
from hfprune.models.load import load_model
from hfprune.models.units import count_parameters, gated_mlps
from hfprune.pruning.config import Pruning
from hfprune.pruning.one_cell import RATIOS
from hfprune.pruning.sweep import Tried, choice, cuts, shown
from hfprune.results.effect import Effect

CHOICES = [
    ((0.05, 0.19, 0.35), 0.2),
    ((0.05, 0.25, 0.35), 0.1),  # the loss itself, 0.15, is below the limit
    ((0.05, 0.2, 0.35), 0.1),
    ((0.25, 0.19, 0.35), None),  # not beyond one that is not below
    ((0.21, 0.3, 0.4), None),
]


@pytest.mark.parametrize(("highs", "ratio"), CHOICES)
def test_the_largest_cut_with_its_high_end_below(highs: tuple[float, ...], ratio: float | None) -> None:
    tried = [
        Tried(n / 10, 9, {"perplexity": Effect(high - 0.1, high - 0.2, high, neutral=0.2)}, {}, {})
        for n, high in enumerate(highs, 1)
    ]
    best = choice(tried)
    assert (best and best.ratio) == ratio


def swept(folder: Path, changes: dict[float, dict[str, np.ndarray]]) -> dict[str, SimpleNamespace]:
    """Return jobs of a sweep with results written by hand: what each ratio adds to the dense outcomes."""
    n = 16
    dense = {"perplexity": 3 + np.sin(np.arange(n)), "code": 0.5 + 0.2 * np.cos(np.arange(n))}
    files, jobs = [], {}
    for ratio, change in ({0.0: {name: np.zeros(n) for name in dense}} | changes).items():
        method = "dense" if ratio == 0 else "fisher"
        cell = Cell("prune", "m", method, "mix", 32, ratio, 0, Recovery.NONE)
        for name, column, measure in (
            ("perplexity", "nll", "asked_perplexity"),
            ("code", "bpb", "asked_gold_bpb"),
        ):
            items = pd.DataFrame({"item": range(n), "document": range(n), column: dense[name] + change[name]})
            files.append(folder / f"{ratio}/{measure}.json")
            write_result(files[-1], cell, measure, name, [Value(column, 1.0)], {}, items)
        if ratio:
            plan = folder / f"{ratio}/plan.json"
            write_result(plan, cell, "size", "", [Value("parameters", 1000 * (1 - ratio))], {})
            jobs[f"plan {ratio}"] = SimpleNamespace(stage="plan", outputs=lambda plan=plan: [plan, plan])
    return jobs | {"measure": SimpleNamespace(stage="measure", outputs=lambda: files)}


def test_what_is_to_be_kept_is_judged_by_its_interval_at_every_cut(tmp_path: Path, capsys) -> None:
    """Perplexity allows 30 %, code 10 %. The reference is a paired t-test, by the dense mean."""
    wave = np.cos(np.arange(16.0))
    changes = {
        ratio: {"perplexity": np.full(16, ratio / 3) + 0.01 * wave, "code": rise + 0.05 * wave}
        for ratio, rise in ((0.1, 0.04), (0.2, 0.09), (0.3, 0.05))
    }
    tried = cuts(swept(tmp_path, changes), 0.2, {})
    assert [(cut.ratio, cut.parameters) for cut in tried] == [(0.1, 900), (0.2, 800), (0.3, 700)]
    dense = (0.5 + 0.2 * np.cos(np.arange(16))).mean()
    for cut in tried:
        code, change = cut.losses["code"], changes[cut.ratio]["code"]
        ends = t.interval(0.95, 15, change.mean(), change.std(ddof=1) / 4)
        assert code.value == pytest.approx(change.mean() / dense)
        assert [code.low, code.high] == pytest.approx([end / dense for end in ends], abs=2e-3)
        assert cut.losses["perplexity"].value == pytest.approx(expm1(changes[cut.ratio]["perplexity"].mean()))
        assert cut.documents == {"perplexity": 16, "code": 16}
    assert tried[1].losses["code"].value < 0.2 < tried[1].losses["code"].high, "not by the value alone"
    assert tried[2].losses["code"].high < 0.2, "within, but beyond one that is not"
    best, table = shown(tried, tmp_path)
    assert best.ratio == 0.1 and {path.parent.name for path in best.files} == {"0.0", "0.1"}
    assert table.headers[2:4] == ["perplexity (95 % interval)", "code (95 % interval)"]
    assert [row[-1] for row in table.rows] == ["exported", "", ""]
    assert "as a share of the dense model's (16 of code)" in capsys.readouterr().out
    alone = [cut._replace(losses={"perplexity": cut.losses["perplexity"]}) for cut in tried]
    assert choice(alone) == alone[2]
    tried = cuts(swept(tmp_path, changes), 0.05, {})
    with pytest.raises(
        HfpruneError, match=r"nothing is exported: the smallest, 10 % .*, loses code \+8"
    ) as error:
        shown(tried, tmp_path)
    assert "perplexity +" not in str(error.value), "which is within"


def test_kept_capabilities_are_measured_at_every_ratio_in_one_job(call: str, tmp_path: Path, capsys) -> None:
    assert all(name in (Pruning.model_fields["keep"].description or "") for name in SHORT)
    call = f"{call.replace('--ratio 0.15', '--max-loss 90%')} --keep code,reading --out {tmp_path}/out"
    run(f"{call} --no-compare")
    printed = capsys.readouterr()
    assert taken(printed.err).count("measure") == 1
    assert "code (95 % interval)" in printed.out and "reading (95 % interval)" in printed.out
    measured = {
        path.parent.parent for path in (tmp_path / "out/work/cells").rglob("asked_gold_bpb/code.parquet")
    }
    assert len(measured) == 1 + len(RATIOS), "the dense model, and each"
    assert re.search("bits per byte, code .*\n.*bits per byte, reading", printed.out)
    assert "code (95 % interval)" in (tmp_path / "out/report.html").read_text()
    assert "keep" not in (tmp_path / "out/model/README.md").read_text().partition("$ hfprune")[2]
    run(call)
    printed = capsys.readouterr()
    names = re.findall(r"^bits per byte, ([a-z ]+?)  .* (\d+)  ", printed.out, re.MULTILINE)
    assert len(names) == 7 and dict(names)["code"] == "9", "each once"


def taken(printed: str) -> list[str]:
    return re.findall(r"\[\d+/\d+\] ([a-z0-9. ]+): \d+ s$", printed, re.MULTILINE)


def test_a_sweep_exports_what_it_chose_and_goes_on_after_a_kill(
    call: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, out = call.replace("--ratio 0.15", "--linear --no-compare"), tmp_path / "out"
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr("hfprune.stages.linear.write_result", killed)
        run(f"{call} --max-loss 20% --out {out}")
    plans = [f"plan {ratio:g}" for ratio in RATIOS]
    assert taken(capsys.readouterr().err) == ["budget", "calibrate", "score", *plans]
    assert "so nothing is exported" in failure(f"{call} --max-loss 0.000001% --out {out}")
    assert taken(capsys.readouterr().err) == ["linear", "measure"]
    assert {path.name for path in out.iterdir()} == {"sweep.svg", "work"}
    run(f"{call} --ratio auto --max-loss 20% --out {out}")
    printed = capsys.readouterr()
    assert taken(printed.err) == ["export"]

    row = r"^ *([\d.]+) % +([\d,]+) +([+-][\d.]+) % \((.*) % to (.*) %\) *(\w*)$"
    ratios, sizes, losses, lows, highs, marks = zip(
        *re.findall(row, printed.out.replace("−", "-"), re.MULTILINE), strict=True
    )
    assert [float(ratio) / 100 for ratio in ratios] == [*RATIOS]
    # The model has learnt nothing, so that the largest cut loses as little as any.
    assert marks == (*[""] * 7, "exported")
    assert f"{count_parameters(reload(out / 'model')):,}" == sizes[-1]
    files = {path.parts[-4]: path for path in (out / "work/cells").rglob("asked_perplexity.parquet")}
    change = pd.read_parquet(files["0.3"])["nll"] - pd.read_parquet(files["0"])["nll"]
    low, high = t.interval(0.95, len(change) - 1, change.mean(), change.sem())
    assert float(losses[-1]) == pytest.approx(100 * expm1(change.mean()), abs=0.06)
    # Skewness may lengthen an end.
    assert float(lows[-1]) <= 100 * expm1(low) + 0.06 and float(highs[-1]) >= 100 * expm1(high) - 0.06
    page, card = (out / "report.html").read_text(), (out / "model/README.md").read_text()
    # What chose the cut is what is judged, in all three.
    chosen = rf"perplexity on wikipedia-sample\b.*\b{len(change)}\b.*{re.escape(losses[-1])} %"
    for text in (printed.out, card, page.replace("\n", " ")):
        assert re.search(chosen, text.replace("−", "-"))
        assert "dense model itself is broken" in text, "it has learnt nothing"
    assert "data:image/svg+xml;base64," in page and sizes[3] in page
    assert "--ratio 0.3 " in card and "max-loss" not in card
    run(f"{call} --ratio 0.3 --out {tmp_path}/plain")
    ours, theirs = (reload(folder / "model").state_dict() for folder in (out, tmp_path / "plain"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() | theirs.keys())
    run(f"{call} --ratio 0.3 --out {out}")
    assert {path.name for path in out.iterdir()} == {"model", "report.html", "work"}
    assert "data:image/svg+xml" not in (out / "report.html").read_text(), "a figure of the sweep"


def test_what_an_earlier_call_measured_is_not_foretold(
    call: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = f"{call.replace('--ratio 0.15', '--no-linear --quick')} --out {tmp_path}/out"
    # The model has learnt nothing, so that its losses choose no cut within.
    monkeypatch.setattr("hfprune.pruning.sweep.choice", lambda tried: tried[3 if limit == "20%" else 5])
    for limit in ("20%", "30%"):
        run(f"{call} --max-loss {limit}")
        assert "if the machine stays as fast" in capsys.readouterr().err
        run(f"{call} --max-loss {limit}")
        said = capsys.readouterr().err
        assert not taken(said) and "if the machine stays as fast" not in said
    card = ModelCard.load(tmp_path / "out/model/README.md").data
    assert ("wikipedia-sample", "perplexity") in {(x.dataset_name, x.metric_type) for x in card.eval_results}


UNIFORM, GLOBAL = "--criterion magnitude", "--criterion magnitude --allocation global"
JOINT = """--criterion random --units '["neurons", "key_value_groups"]' --allocation joint"""
# Of a ranking of neurons and groups, the total is exact to one neuron.
CUTS = [(UNIFORM, 3, "float32"), (UNIFORM, 3, "bfloat16"), (GLOBAL, 3, "float32"), (JOINT, 1, "float32")]


@pytest.mark.parametrize(("how", "neurons", "dtype"), CUTS)
def test_with_one_neuron_more_in_each_layer_it_would_be_too_large(
    how: str, neurons: int, dtype: str, call: str, project: Path, tmp_path: Path
) -> None:
    dense = load_model(project / "models/mine", device=torch.device("cpu"))
    total, step, wide = count_parameters(dense), neurons * gated_mlps(dense)[0].parameters, 4
    call = call.replace("--ratio 0.15", f"{how} --no-compare")
    if dtype != "float32":
        call, wide = call.replace("float32", dtype), 2
    limit, size = round(0.8123 * total), round(0.85 * total * wide)
    run(f"{call} --params {limit / 1000}k --out {tmp_path}/a")
    pruned = load_model(tmp_path / "a/model")
    assert limit - step < count_parameters(pruned) <= limit
    assert (len({mlp.count for mlp in gated_mlps(pruned)}) > 1) == ("--allocation" in how)
    run(f"{call} --ratio auto --size {size / 1000}kB --out {tmp_path}/b")
    (file,) = (tmp_path / "b/model").glob("*.safetensors")
    assert size - step * wide - 200 * len(dense.state_dict()) < file.stat().st_size <= size


REFUSED = {
    "--max-loss 20": "^--max-loss: 20 means 2,000 %, more than the 100 % allowed; 20 % is 20% or 0.2$",
    "--max-loss 150%": "^--max-loss: 150% means 150 %, more than the 100 % allowed",
    "--max-loss -5%": "^--max-loss: must be above 0, as 20% or 0.2, not '-5%'$",
    "--max-loss 0": "^--max-loss: must be above 0",
    "--max-loss much": "^--max-loss: must be a share such as 20% or 0.2, not 'much'$",
    "--params -3": "^--params: must be a number above 0, such as 110M .* not '-3'$",
    "--params -3M": "^--params: must be a number above 0",
    "--size 0MB": "^--size: must be a number above 0",
    "--params 110X": r"^--params: must be a number above 0, such as 110M \(K, M, B or T\) or 1.*, not '110X'$",
    "--params 110MB": "^--params: must be a number above 0, such as 110M",
    "--size 1KX": r"^--size: must be a number above 0, such as 450MB \(kB, MB, GB, .* not '1KX'$",
    "--size 1KB": r"^--size, at 4 bytes a parameter: 1\.00kB is too little: without all neurons that can go, the "
    r"model has about \d\d,\d{3} parameters, \d+kB$",
    "--params 5": r"^--params: 5 parameters are too little: .* the model has about \d\d,\d{3} parameters, ",
    "--size 90MB": r"^--size, at 4 bytes a parameter: the model has [\d,]+ parameters",
    "--params 1B": r"^--params: the model has [\d,]+ parameters, so nothing has to be removed",
    "--size 100kB --allocation global --plain": "^--size: --plain pads layers of unequal widths.*; give --params",
    "--ratio auto": "^--ratio auto: the limit is missing: add --max-loss 20%, --speedup 1.2, --params 110M or "
    "--size 450MB$",
    "": "^how much to remove is missing: give --ratio 0.2 or another number, or a limit, as --max-loss 20%",
    "--ratio 0.1 --max-loss 20%": "^--ratio 0.1 leaves --max-loss nothing to choose: "
    "give --ratio auto with --max-loss, or --ratio 0.1 alone$",
    "--ratio nan": "^--ratio: must be a share such as 20% or 0.2, not 'nan'$",
    "--max-loss 5% --text wikipedia-sample": "calibrate on another text",
    "--max-loss 5% --keep cod": r"^--keep: unknown capability 'cod'; did you mean 'code'\?$",
}


def test_bad_limits_are_one_line_and_leave_nothing(call: str, tmp_path: Path) -> None:
    for flags, said in REFUSED.items():
        line = failure(f"{call.replace('--ratio 0.15', flags)} --no-compare --out {tmp_path}/out")
        assert re.search(said, line.removeprefix("hfprune prune: error: ")), line
        assert not (tmp_path / "out").exists()
