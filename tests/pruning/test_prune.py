"""`hfprune prune`: a checkpoint, its card and a page from one call, which goes on after a kill."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from browser import ARGUMENTS, PATIENCE, find_chromium
from command_line import failure, killed, run
from conftest import build_tiny, reload
from filelock import FileLock
from huggingface_hub import ModelCard
from playwright.sync_api import sync_playwright
from smoke import ROOT, TEXT

import hfprune
from hfprune.calibration.blocks import load_blocks
from hfprune.devices import known
from hfprune.files import read_json, write_json
from hfprune.models import head
from hfprune.models.load import load_model
from hfprune.plans.planning import apply_plan, count_parameters, load_plan

TITLES = ["budget", "calibrate", "score", "plan", "export", "measure dense", "measure pruned", "sample"]


@pytest.fixture(scope="module")
def undisturbed(call: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """What one undisturbed call makes, and what it prints: the table, and its progress."""
    out = tmp_path_factory.mktemp("undisturbed") / "pruned"
    with redirect_stdout(StringIO()) as table, redirect_stderr(StringIO()) as progress:
        run(call, "--out", out)
    return out, table.getvalue(), progress.getvalue()


@pytest.fixture
def pruned(undisturbed: tuple[Path, str, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(undisturbed[0], tmp_path / "pruned"))


def export(out: Path) -> dict[str, bytes]:
    """Return every file of the export; times in the card are left out, and its size, which depends on them."""
    files = {path: path.read_bytes() for path in sorted((out / "model").rglob("*")) if path.is_file()}
    timed = re.compile(rb"^\| +(prefill|decoding).*$|(?<=\"README.md\": )\d+", re.MULTILINE)
    return {str(path.relative_to(out)): timed.sub(b"", data) for path, data in files.items()}


def numbers(out: Path) -> dict[str, float]:
    found = [read_json(path) for path in sorted((out / "work/cells").rglob("*.json"))]
    return {
        f"{result['cell']['method']} {result['measure']} {result['task']} {value['metric']}": value["value"]
        for result in found
        if result["measure"] != "latency"
        for value in result["values"]
    }


def results_of(out: Path, method: str) -> Path:
    (folder,) = (out / "work/cells").glob(f"*/{method}/*/*/*/*/*")
    return folder


def inputs_of(out: Path) -> set[str]:
    return {*read_json(out / "model/provenance.json")["inputs"]}


def weights(out: Path) -> dict[str, torch.Tensor]:
    return hfprune.load(out / "model").state_dict()


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> set[str]:
    """Return which weights of two models are the same."""
    assert ours.keys() == theirs.keys()
    return {name for name, weight in ours.items() if torch.equal(weight, theirs[name])}


def taken(printed: str) -> list[str]:
    """Return the titles of the steps that a call took, and did not find done."""
    return re.findall(r"\[\d+/\d+\] ([a-z ]+): \d+ s$", printed, re.MULTILINE)


def test_the_dense_model_reads_a_text_once_in_a_call(
    undisturbed: tuple[Path, str, str], call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is measured; a call that finds that done reads it beside the first step, with the same numbers."""
    out, read, last_states = undisturbed[0], [], head.last_states
    monkeypatch.setattr(head, "last_states", lambda *given: read.append(1) or last_states(*given))
    run(f"{call} --quick --linear --out {tmp_path}/out")
    assert not read
    for cell in (f"entropy/c4-sample/4/0.15/draw0/{recovery}" for recovery in ("none", "linear")):
        (folder,) = (tmp_path / "out/work/cells").glob(f"*/{cell}")
        shutil.copytree(folder, tmp_path / cell)
        shutil.rmtree(folder)
    run(f"{call} --quick --linear --out {tmp_path}/out")
    assert len(read) == 1, "once for both steps"
    for old in tmp_path.glob("entropy/c4-sample/4/0.15/draw0/*/*.parquet"):
        (new,) = (tmp_path / "out/work/cells").glob(f"*/{old.relative_to(tmp_path)}")
        pd.testing.assert_frame_equal(pd.read_parquet(new), pd.read_parquet(old), check_exact=True)
    assert (
        numbers(tmp_path / "out").items()
        >= {
            name: value for name, value in numbers(out).items() if "gold_bpb" not in name and "dense" in name
        }.items()
    )


def test_checkpoint_card_page_and_table(undisturbed: tuple[Path, str, str], project: Path) -> None:
    out, table, progress = undisturbed
    assert taken(progress) == TITLES
    assert "[1/8] budget …" in progress and "\nfetch …\n" in progress
    said = "c4-sample, as --recipe paper has it"
    assert progress.startswith(f"text to calibrate on: {said}\n")
    results = {path.name for path in results_of(out, "entropy").iterdir()} - {"gold_bpb"}
    names = ("perplexity", "fidelity", "output_entropy", "latency")
    assert results == {f"{name}.{end}" for name in names for end in ("json", "parquet")}

    dense = load_model(project / "models/mine", device=torch.device("cpu"))
    total = count_parameters(dense)
    (plan,) = (out / "work/plans").rglob("*.safetensors")
    apply_plan(dense, load_plan(plan))
    tokens = torch.arange(20).unsqueeze(0)
    model = reload(out / "model")
    assert torch.equal(model(tokens).logits, dense(tokens).logits)
    assert 1 - count_parameters(model) / total == pytest.approx(0.15, abs=0.005)

    loaded, page = ModelCard.load(out / "model/README.md"), (out / "report.html").read_text()
    card = loaded.text
    perplexities = [
        read_json(results_of(out, side) / "perplexity.json")["values"][0]["value"]
        for side in ("dense", "entropy")
    ]
    for what in (
        *(f"{value:,.2f}" for value in perplexities),
        *("JS distance", "bits per byte, common sense", "file size", "prefill of 128", "decoding"),
        f"{total:,}",
        # It has learnt nothing, so its perplexity is that of a blind guess.
        "Warning: the dense model itself is broken",
        "repeated 4-grams of greedy text",
        "The capital of France is",
        f"Calibrated on {said}.",
    ):
        assert what in table and what in card and what in page
    for what in ("Bits per byte (lower is better)", "Entropy says", "Repeated 4-grams (lower is better)"):
        assert what in card and what in page
    machine = {(one.dataset_name, one.metric_type): one.metric_value for one in loaded.data.eval_results}
    assert machine["c4-reading", "perplexity"] == pytest.approx(perplexities[1])
    for text in (table, card, page):
        assert "Conclusion" not in text
    assert re.search(r"perplexity on c4-reading .* [+−][\d.,]+ % \([+−][\d.,]+ % to [+−][\d.,]+ %\)", table)
    assert re.search(r"bits per byte, common sense.* [+−]\d\.\d{3} \([+−]\d\.\d{3} to [+−]\d\.\d{3}\)", card)
    assert re.search(
        r"(less than a|about \d+) minutes? to the model, then (less than a|about \d+) minutes? to the end",
        progress,
    )
    assert "continuing texts: 100%" in progress
    assert "what to expect" not in progress, "no such model was measured"
    assert progress.count("what will load the result: ") == 1
    assert "| length | `32` |" in card
    assert "| sampling | `pack` |" in card
    assert "http" not in page.replace("https://", "http")[page.index("<body>") :], "no network"


@pytest.mark.thorough
def test_the_page_in_a_browser(pruned: Path) -> None:
    """On a desk and a phone: nothing overflows, nothing else is asked for, no error, and axe finds nothing."""
    address = (pruned / "report.html").as_uri()
    said, asked, found = [], [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=ARGUMENTS, timeout=PATIENCE
        )
        for scheme, width in (("light", 1400), ("dark", 390)):
            # axe is a script, and the page's own policy allows none.
            for axe in (False, True):
                page = browser.new_page(
                    color_scheme=scheme, viewport={"width": width, "height": 850}, bypass_csp=axe
                )
                page.set_default_timeout(PATIENCE)
                page.on("console", lambda message: said.append(message.text))
                page.on("request", lambda asking: asked.append(asking.url))
                page.goto(address)
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
                if axe:
                    found += Axe().run(page).response["violations"]
        browser.close()
    assert [(violation["id"], violation["nodes"][0]["html"]) for violation in found] == []
    assert said == []
    assert {*asked} == {address}


def test_called_again_nothing_is_made_and_changes_are_made_alone(call, pruned: Path, capsys) -> None:
    """What a killed call left is removed, and nothing else."""
    before = export(pruned)
    (pruned / ".env.template").write_text("mine")
    (pruned / ".model.abcdefgh").mkdir()
    (pruned / "work/.adapter.abcdefgh/.values.abcdefgh").mkdir(parents=True)
    run(call, "--out", pruned)
    assert {path.name for path in pruned.glob(".*")} == {".env.template"}
    assert {path.name for path in pruned.glob("work/.*")} == {".lock"}
    printed = capsys.readouterr().err
    assert taken(printed) == [] and len(re.findall(": is there, took ", printed)) == len(TITLES)
    assert export(pruned) == before
    run(call, "--ratio", 0.2, "--out", pruned)
    kept = {"calibrate", "score", "measure dense"}
    assert taken(capsys.readouterr().err) == [title for title in TITLES if title not in kept]
    assert export(pruned) != before
    run(call, "--out", pruned)
    assert taken(capsys.readouterr().err) == ["export", "sample"], "back to the first settings"
    assert export(pruned) == before


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "claimed": lambda out: (out / "work/settings.json").exists(),
    "calibrated": lambda out: any((out / "work/calibration").rglob("*.safetensors")),
    "scored": lambda out: any((out / "work/scores").rglob("*.safetensors")),
    "exporting": lambda out: any(out.glob(".model.*")),
    "exported": lambda out: (out / "model").exists(),
    "measured": lambda out: any((out / "work/cells").glob("*/dense/none/0/0/draw0/none/perplexity.json")),
}


@pytest.mark.thorough
def test_killed_at_six_moments_it_goes_on_to_the_same_export(call, pruned: Path, tmp_path: Path) -> None:
    """Each call is killed a little later than the one before, and the last one ends the work."""
    out = tmp_path / "again"
    arguments = [sys.executable, "-m", "hfprune", *call.split(), "--out", str(out)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    for moment, reached in MOMENTS.items():
        process = subprocess.Popen(arguments, cwd=ROOT, env=environment)
        while not reached(out) and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, moment
        assert not (out / "model").exists() or (out / "model/provenance.json").exists(), "whole or not there"
    run(call, "--out", out)
    assert export(out) == export(pruned)
    assert numbers(out) == numbers(pruned)
    assert not [*out.rglob(".*.????????*")], "nothing unfinished is left"


def test_options_reach_the_commands(call, project: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "mine.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXT[:20]))
    units = """--units '["neurons", "key_value_groups"]' --ratio 0.25 --recover --no-compare"""
    own = f"--text {tmp_path}/mine.jsonl --seed 3 --criterion cross_entropy {units}"
    run(f"{call} {own} --out {tmp_path}/a")
    printed = capsys.readouterr().err
    assert "recover" in taken(printed)
    assert re.search(r"the pairs fill \d+ sequences, read [\d.]+ times", printed)
    assert inputs_of(tmp_path / "a") == {"model", "plan", "adapter"}
    card = (tmp_path / "a/model/README.md").read_text()
    assert "| criterion | `cross_entropy` |" in card
    assert "| seed | `3` |" in card
    assert "A LoRA adapter, trained after pruning, is merged" in card
    (corpus,) = (project / "resources/corpora").glob("mine-*")
    assert f"| corpus | `{corpus.name}` |" in card

    run(f"{call} --criterion magnitude --align 8 --no-compare --out {tmp_path}/b")
    assert "calibrate" not in taken(capsys.readouterr().err)
    (plan,) = (tmp_path / "b/work/plans").rglob("*.safetensors")
    assert {len(kept) % 8 for kept in load_plan(plan).values()} == {0}


def test_reconstructed_and_not_compared(call, project: Path, pruned: Path, tmp_path: Path, capsys) -> None:
    solved, out = f"{call} --linear --no-compare", tmp_path / "a"
    run(f"{solved} --sequences 1 --out {tmp_path}/b")
    few = (tmp_path / "b/report.html").read_text()
    assert re.search(r"<dt>sequences scored on</dt><dd><code>1</code>", few)
    assert re.search(r"<dt>sequences used to solve weights</dt><dd><code>2</code>", few), "the fewest that do"
    capsys.readouterr()
    run(solved, "--out", out)
    printed = capsys.readouterr()
    assert taken(printed.err) == ["budget", "calibrate", "score", "plan", "linear", "export"]
    assert "parameters" in printed.out and "perplexity" not in printed.out
    assert inputs_of(out) == {"model", "plan", "linear"}
    page, card = (out / "report.html").read_text(), (out / "model/README.md").read_text()
    assert re.search(r"<dt>sequences scored on</dt><dd><code>4</code>", page)
    assert "least-squares reconstruction" in card
    assert {key for key in weights(out) if key.endswith("down_proj.weight")} == {*weights(out)} - same(
        weights(out), weights(pruned)
    )
    (again,) = re.findall(r"^\$ hfprune (prune .*) --out pruned$", card, re.MULTILINE)
    assert "--linear" in again and "--model mine" in again, "no path of this machine"
    here = again.replace("--model mine", f"--model {project}/models/mine")
    places = call[call.index("--catalogue") :]
    run(f"{here} {places} --no-compare --out {tmp_path}/d")
    assert same(weights(out), weights(tmp_path / "d")) == {*weights(out)}


def test_a_short_text_is_read_whole(call: str, tmp_path: Path) -> None:
    """The 32 sequences that are scored on otherwise are a size, of which there is one sample."""
    (tmp_path / "short.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXT[:3]))
    short = f"{call.replace('--sequences 4 ', '')} --text {tmp_path}/short.jsonl --no-compare"
    run(f"{short} --out {tmp_path}/a")
    (blocks,) = (tmp_path / "a/work/calibration").rglob("*.safetensors")
    count = len(load_blocks(blocks))
    assert 1 < count < 32
    page = (tmp_path / "a/report.html").read_text()
    assert re.search(rf"<dt>sequences scored on</dt><dd><code>{count}</code>", page)
    run(f"{short} --sequences {count} --out {tmp_path}/b")
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b")) == {*weights(tmp_path / "a")}


def test_a_search_reads_the_same_sequences_as_other_criteria(call: str, tmp_path: Path) -> None:
    layers = "--criterion sleb --units layers --ratio 0.2 --no-compare"
    run(f"{call} {layers} --out {tmp_path}/out")
    (scores,) = (tmp_path / "out/work/scores").rglob("*.json")
    assert read_json(scores)["provenance"]["settings"]["blocks"] == 4
    (plan,) = (tmp_path / "out/work/plans").rglob("*.safetensors")
    assert len(load_plan(plan)["layers"]) == 2


def test_the_best_recipe_is_its_parts_each_of_which_a_flag_replaces(call, tmp_path: Path, capsys) -> None:
    paper = f"{call} --no-compare"
    best = paper.replace("--recipe paper ", "")
    own = "--no-linear --criterion magnitude"
    run(best, "--out", tmp_path / "best")
    parts = f"{paper} --text general-mix --criterion fisher"
    run(f"{parts} --allocation global --linear --out {tmp_path}/parts")
    run(f"{best} --plain --out {tmp_path}/best_plain")
    run(f"{parts} --plain --linear --out {tmp_path}/parts_plain")
    capsys.readouterr()
    run(f"{best} {own} --out {tmp_path}/own")
    assert taken(capsys.readouterr().err) == ["budget", "score", "plan", "export"]
    run(f"{paper} --criterion magnitude --out {tmp_path}/own_parts")
    for one, other in (("best", "parts"), ("best_plain", "parts_plain"), ("own", "own_parts")):
        ours = weights(tmp_path / one)
        assert same(ours, weights(tmp_path / other)) == {*ours}
    page = (tmp_path / "best/report.html").read_text()
    assert "fisher" in page and "best" in page


def test_each_step_is_measured_and_the_better_model_is_exported(
    call, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the suite's text and one's own; a step that is not worth taking is not in the export."""
    (tmp_path / "my own.jsonl").write_text("\n".join(json.dumps({"text": text * 8}) for text in TEXT[20:40]))
    ours = f"{call} --linear --quick --eval-text '{tmp_path}/my own.jsonl' --out {tmp_path}/out"
    run(ours)
    printed = capsys.readouterr()
    steps = [*("linear", "measure dense", "measure pruned", "measure reconstructed"), "export", "sample"]
    assert taken(printed.err) == ["budget", "calibrate", "score", "plan", *steps]
    assert re.search(r"dense +pruned +reconstructed +n +change, \w+ \(95 % interval\)", printed.out)
    for name in ("perplexity on c4-reading", "perplexity on my own", "JS distance .* my own"):
        assert re.search(rf"{name} .* \d+ +[+−][\d.]+( %)? \(", printed.out.replace("_", " ")), name
    assert inputs_of(tmp_path / "out") == {"model", "plan", "linear"}

    monkeypatch.setattr(
        "hfprune.comparison.steps.worth_taking", lambda *_, **__: ("pruned", ["It is worse."])
    )
    run(ours)
    printed = capsys.readouterr()
    assert taken(printed.err) == ["export", "sample"] and "\nIt is worse.\n" in printed.err
    assert "It is worse." in printed.out and "change, pruned (95 %" in printed.out
    assert inputs_of(tmp_path / "out") == {"model", "plan"}
    assert "It is worse." in (tmp_path / "out/model/README.md").read_text()


@pytest.mark.parametrize(("times", "dtype"), [(1.1, "float32"), (1.3, "bfloat16")])
def test_quick_and_in_the_faster_precision(
    times: float, dtype: str, call, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"float32": times, "bfloat16": 1.0}
    monkeypatch.setattr("hfprune.pruning.faster_dtype.mlp_seconds", lambda _: seconds)
    monkeypatch.setattr(known, "visible_devices", list)
    run(call.replace("--dtype float32", "--quick"), "--out", tmp_path / "a")
    assert taken(capsys.readouterr().err) == TITLES
    measured = {path.stem for path in (tmp_path / "a/work/cells").rglob("*.parquet")}
    assert measured == {"perplexity", "fidelity", "output_entropy"}
    settings = read_json(results_of(tmp_path / "a", "dense") / "perplexity.json")["provenance"]["settings"]
    assert settings["dtype"] == dtype
    made = read_json(tmp_path / "a/model/provenance.json")["settings"]
    assert made["dtype"] is None, "as it was saved"


def test_a_capability_that_does_not_fit_is_left_out(call, project: Path, tmp_path: Path, capsys) -> None:
    model = Path(shutil.copytree(project / "models/mine", tmp_path / "model"))
    config = read_json(model / "config.json") | {"max_position_embeddings": 10}
    (model / "config.json").write_text(json.dumps(config))
    run(f"{call} --model {model} --length 16 --out {tmp_path}/out")
    printed = capsys.readouterr()
    assert "reading is left out: boolq has no document within 10 tokens" in printed.err
    assert "bits per byte" not in printed.out
    assert (tmp_path / "out/model/config.json").exists()


def test_in_python(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"catalogue": project / "assets.yaml", "resources": project / "resources"}
    model = shutil.copytree(project / "models/mine", tmp_path / "my model")
    rows = hfprune.prune(model, 0.15, tmp_path / "out", sequences=4, length=32, **places)
    sizes = {row.label: (row.base, row.own) for row in rows}["parameters"]
    assert 1 - sizes[1] / sizes[0] == pytest.approx(0.15, abs=0.005)
    with pytest.raises(hfprune.HfpruneError, match=r"^prune: ratio: Input should be less than 1$"):
        hfprune.prune(project / "models/mine", 20, tmp_path / "other")


REFUSED = {
    "--model {}/nowhere": "^no model ",
    "--ratio 0.97": r"at most 0\.",
    """--units '["neurons", "key_value_groups"]' --ratio 0.02""": "choose another ratio or other --units",
    "--allocation joint": "allocation joint ranks",
    "--text c4-reading": "calibrate on another text",
    "--text {}/short.txt": r"^text 'short' cannot fill one block of 32 tokens .*--length",
    "--linear --text {}/block.txt": r"^--text: .*block\.txt fills 1 blocks, .* 2 or more: .* or --no-linear",
    "--text {}/empty.txt": "no text in .*empty.txt",
    "--eval-text c4-reading": "the comparison reads c4-reading anyway",
    "--no-compare --tasks boolq": "which --no-compare leaves out",
    "--tasks arc_esy": "no task 'arc_esy'",
    "--model {}/wordless": "cannot load the tokenizer",
    "--model {}/broken.gguf": "transformers cannot read",
}


def test_bad_input_is_one_line_and_leaves_nothing(call, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("Hello.")
    (tmp_path / "block.txt").write_text(TEXT[0])
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF, but not really")
    build_tiny("llama", vocab_size=400).save_pretrained(tmp_path / "wordless")
    for flags, said in REFUSED.items():
        line = failure(f"{call} {flags.replace('{}', str(tmp_path))} --out {tmp_path}/out")
        assert re.search(said, line.removeprefix("hfprune prune: error: ")), line
        assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_not_touched(call, pruned: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert "holds something else (pruned)" in failure(call, "--out", tmp_path)
    assert "holds something else" in failure(call, "--out", tmp_path / "thesis.txt")
    assert {path.name for path in tmp_path.iterdir()} == {"pruned", "thesis.txt"}


def test_the_models_own_folder_is_not_written_to(call, project: Path) -> None:
    before = {path.name for path in (project / "models/mine").iterdir()}
    for out in (
        project / "models/mine",
        project / "models/mine/pruned",
        project / "models/other/../mine/x/y",
    ):
        line = failure(call, "--out", out)
        assert line == (
            f"hfprune prune: error: --out: {out} is in the folder of the dense model; choose one beside it"
        )
    assert {path.name for path in (project / "models/mine").iterdir()} == before


def test_a_file_beside_the_export_ends_the_call_before_its_first_step(call, pruned: Path, capsys) -> None:
    (pruned / "model/own.gguf").write_text("mine")
    assert "own.gguf was added" in failure(f"{call} --criterion magnitude --out", pruned)
    assert taken(capsys.readouterr().err) == []
    assert (pruned / "model/own.gguf").read_text() == "mine"


def test_what_a_killed_plan_wrote_is_not_taken_for_what_the_record_says(
    call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The plan is written and its size is not: another call takes neither for what it was."""
    first = f"{call} --no-compare --out {tmp_path}/out"
    run(first)
    kept = export(tmp_path / "out")
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr("hfprune.stages.plan.write_result", killed)
        run(first, "--allocation", '{"rule": "uniform", "align": 4}')
    capsys.readouterr()
    run(first)
    assert taken(capsys.readouterr().err) == ["plan"]
    assert export(tmp_path / "out") == kept


@pytest.mark.parametrize("flags", ["--quick", "--no-compare --max-loss 20%"])
def test_a_card_never_denies_what_was_measured(
    flags: str, call: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written with the export, before or after measures, and once more when all is known."""
    first = f"{call.replace('--ratio 0.15', '')} {flags if 'max' in flags else f'--ratio 0.15 {flags}'}"
    card = tmp_path / "out/model/README.md"
    with monkeypatch.context() as patched, pytest.raises(SystemExit) as end:
        patched.setattr("hfprune.exports.checkpoint.write_card", killed)
        run(first, "--out", tmp_path / "out")
    assert end.value.code == 130
    said = "hfprune prune: stopped; the same command goes on from what is finished"
    assert capsys.readouterr().err.splitlines()[-1] == said
    assert "it had not ended when this card was written" in " ".join(card.read_text().split())
    assert "Nothing was measured" not in card.read_text()
    run(first, "--out", tmp_path / "out")
    assert taken(capsys.readouterr().err) == []
    assert "| perplexity on " in card.read_text() and "had not ended" not in card.read_text()


def test_nothing_was_measured_where_nothing_was(call: str, tmp_path: Path) -> None:
    run(f"{call} --criterion magnitude --no-compare --out {tmp_path}/out")
    assert "Nothing was measured for this card." in (tmp_path / "out/model/README.md").read_text()


def test_sizes_of_a_converted_file_say_what_they_are_of(call, project: Path, tmp_path: Path, capsys) -> None:
    """As a folder that was fetched from a GGUF file has it: in the output, on the card and on the page."""
    model = shutil.copytree(project / "models/mine", tmp_path / "converted")
    write_json(model / "asset.json", {"entry": {"format": "gguf"}, "files": {}})
    out, before = tmp_path / "out", f"--model {project}/models/mine"
    run(f"{call.replace(before, f'--model {model}')} --criterion magnitude --quick --out {out}")
    said = "Sizes in bytes are not those of the GGUF file from which the model comes: "
    texts = capsys.readouterr().out, (out / "model/README.md").read_text(), (out / "report.html").read_text()
    assert all(said in " ".join(text.split()) for text in texts)
    run(f"{call} --criterion magnitude --no-compare --out {tmp_path}/other")
    assert "GGUF" not in capsys.readouterr().out


def test_two_calls_do_not_work_in_one_folder(call, pruned: Path) -> None:
    before = export(pruned)
    with FileLock(pruned / "work/.lock"):
        assert "another `hfprune prune` is at work in it" in failure(call, "--out", pruned)
    assert export(pruned) == before
