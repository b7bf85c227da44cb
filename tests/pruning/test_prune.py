"""`hfprune prune`: a checkpoint, its card and a page from one call, which goes on after a kill."""

import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import committed
import pandas as pd
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from browser import ARGUMENTS, PATIENCE, find_chromium
from command_line import failure, run
from conftest import build_tiny, reload
from huggingface_hub import ModelCard
from playwright.sync_api import sync_playwright
from smoke import ROOT, TEXT, build_tokenizer

import hfprune
from hfprune.files import read_json
from hfprune.models.load import load_model
from hfprune.plans.planning import apply_plan, count_parameters, load_plan
from hfprune.pruning.folder import claimed
from hfprune.pruning.recipe import RECIPES

TITLES = ["budget", "calibrate", "score", "plan", "export", "measure dense", "measure pruned", "sample"]


@pytest.fixture(scope="module")
def pruned(call: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one undisturbed call makes."""
    out = tmp_path_factory.mktemp("undisturbed") / "pruned"
    run(*call, "--out", out)
    return out


def export(out: Path) -> dict[str, bytes]:
    """Return every file of the export; times in the card are left out, and its size, which depends on them."""
    files = {path: path.read_bytes() for path in sorted((out / "model").rglob("*")) if path.is_file()}
    timed = re.compile(rb"^\| +(prefill|decoding).*$|(?<=\"README.md\": )\d+", re.MULTILINE)
    return {str(path.relative_to(out)): timed.sub(b"", data) for path, data in files.items()}


def numbers(out: Path) -> dict[str, float]:
    """Return the values of all results but times."""
    found = [read_json(path) for path in sorted((out / "work/cells").rglob("*.json"))]
    return {
        f"{result['cell']['method']} {result['measure']} {result['task']} {value['metric']}": value["value"]
        for result in found
        if result["measure"] != "latency"
        for value in result["values"]
    }


def results_of(out: Path, method: str) -> Path:
    """Return the folder of the results of the dense or the pruned model."""
    (folder,) = (out / "work/cells").glob(f"*/{method}/*/*/*")
    return folder


def plan_of(out: Path) -> Path:
    (file,) = (out / "work/plans").rglob("*.safetensors")
    return file


def taken(printed: str) -> list[str]:
    """Return the titles of the steps that a call took, and did not find done."""
    return re.findall(r"\[\d+/\d+\] ([a-z ]+): \d+ s$", printed, re.MULTILINE)


def test_checkpoint_card_page_and_table(call, project: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "pruned"
    run(*call, "--out", out)
    printed = capsys.readouterr()
    assert taken(printed.err) == TITLES
    assert "[1/8] budget …" in printed.err and printed.err.startswith("fetch …")
    results = {path.name for path in results_of(out, "entropy").iterdir()} - {"gold_bpb"}
    assert results == {
        f"{name}.{end}" for name in ("perplexity", "fidelity", "latency") for end in ("json", "parquet")
    }

    dense = load_model(project / "models/mine", device=torch.device("cpu"))
    total = count_parameters(dense)
    apply_plan(dense, load_plan(plan_of(out)))
    tokens = torch.arange(20).unsqueeze(0)
    model = reload(out / "model")
    assert torch.equal(model(tokens).logits, dense(tokens).logits)
    assert 1 - count_parameters(model) / total == pytest.approx(0.15, abs=0.005)

    card, page = ModelCard.load(out / "model/README.md").text, (out / "report.html").read_text()
    for side in ("dense", "entropy"):
        (value,) = read_json(results_of(out, side) / "perplexity.json")["values"]
        for text in (printed.out, card, page):
            assert f"{value['value']:,.2f}" in text
    for what in (
        "JS distance",
        "bits per byte, common sense",
        "file size",
        "prefill of 128",
        "decoding",
        f"{total:,}",
    ):
        for text in (printed.out, card, page):
            assert what in text
    size = sum(path.stat().st_size for path in (out / "model").glob("*.safetensors")) / 1e6
    assert f"{size:,.1f}" in card
    assert re.search(
        r"perplexity on c4-sample-heldout .* [+-][\d.,]+% \[[+-][\d.,]+%, [+-][\d.,]+%\]", printed.out
    )
    assert re.search(r"bits per byte, common sense.* [+-]\d\.\d{3} \[[+-]\d\.\d{3}, [+-]\d\.\d{3}\]", card)
    # It has learnt nothing, so its perplexity is that of a blind guess.
    for text in (printed.out, page, card):
        assert "Warning: the dense model itself is broken" in text
        assert "Perplexity changes by" in text and "can be used" not in text
        assert "The capital of France is" in text
    assert re.search(r"about 0\.\d minutes to the model, then about 0\.\d for the comparison", printed.err)
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


def test_called_again_nothing_is_made_and_changes_are_made_alone(
    call, pruned: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "pruned"
    shutil.copytree(pruned, out)
    before = export(out)
    capsys.readouterr()
    run(*call, "--out", out)
    printed = capsys.readouterr().err
    assert taken(printed) == [] and len(re.findall(": is there, took ", printed)) == len(TITLES)
    assert export(out) == before
    run(*call, "--ratio", 0.2, "--out", out)
    same = {"calibrate", "score", "measure dense"}
    assert taken(capsys.readouterr().err) == [title for title in TITLES if title not in same]
    assert export(out) != before
    run(*call, "--out", out)
    assert taken(capsys.readouterr().err) == ["export", "sample"], "back to the first settings"
    assert export(out) == before


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "claimed": lambda out: (out / "work/settings.json").exists(),
    "calibrated": lambda out: any((out / "work/calibration").rglob("*.safetensors")),
    "scored": lambda out: any((out / "work/scores").rglob("*.safetensors")),
    "exporting": lambda out: any(out.glob(".model.*")),
    "exported": lambda out: (out / "model").exists(),
    "measured": lambda out: any((out / "work/cells").glob("*/dense/0/seed0/none/perplexity.json")),
}


@pytest.mark.thorough
def test_killed_at_six_moments_it_goes_on_to_the_same_export(call, pruned: Path, tmp_path: Path) -> None:
    """Each call is killed a little later than the one before, and the last one ends the work."""
    out = tmp_path / "pruned"
    arguments = [sys.executable, "-m", "hfprune", *map(str, call), "--out", str(out)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    for moment, reached in MOMENTS.items():
        with (tmp_path / "said").open("w+") as said:
            process = subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=said, stderr=said)
            while not reached(out) and process.poll() is None:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.wait()
            said.seek(0)
            assert process.returncode == -signal.SIGKILL, (moment, said.read()[-2000:])
        assert not (out / "model").exists() or (out / "model/provenance.json").exists(), "whole or not there"
    run(*call, "--out", out)
    assert export(out) == export(pruned)
    assert numbers(out) == numbers(pruned)
    assert not [*out.rglob(".*.????????*")], "nothing unfinished is left"


def test_options_reach_the_commands(call, project: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "mine.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXT[:20]))
    own = ("--text", tmp_path / "mine.jsonl", "--seed", 3, "--dtype", "float32")
    attention = (
        "--criterion",
        "cross_entropy",
        "--units",
        '["neurons", "key_value_groups"]',
        "--ratio",
        0.25,
    )
    run(*call, *own, *attention, "--recover", "--out", tmp_path / "a")
    assert "recover" in taken(capsys.readouterr().err)
    made = read_json(tmp_path / "a/model/provenance.json")
    assert made["inputs"].keys() == {"model", "plan", "adapter"}
    card = (tmp_path / "a/model/README.md").read_text()
    assert "| criterion | `cross_entropy` |" in card
    assert "| seed | `3` |" in card
    assert "A LoRA adapter, trained after pruning, is merged" in card
    (corpus,) = (project / "resources/corpora").glob("mine-*")
    assert f"| corpus | `{corpus.name}` |" in card

    weights = ("--criterion", "magnitude", "--align", 8)
    run(*call, *weights, "--out", tmp_path / "b")
    assert "calibrate" not in taken(capsys.readouterr().err)
    plan = load_plan(plan_of(tmp_path / "b"))
    assert {len(kept) % 8 for kept in plan.values()} == {0}


def test_reconstructed_and_not_compared(call, project: Path, pruned: Path, tmp_path: Path, capsys) -> None:
    run(*call, "--linear", "--sequences", 1, "--no-compare", "--out", tmp_path / "b")
    few = (tmp_path / "b/report.html").read_text()
    assert re.search(r"<dt>sequences scored on</dt><dd><code>1</code>", few)
    assert re.search(r"<dt>sequences used to solve weights</dt><dd><code>2</code>", few), "the fewest that do"
    capsys.readouterr()
    (tmp_path / "short.txt").write_text(TEXT[0])
    short = failure(*call, "--linear", "--text", tmp_path / "short.txt", "--out", tmp_path / "c")
    assert re.search(
        r"--text: .*short\.txt fills 1 blocks, .* again from 2 or more: .* or --no-linear", short
    )
    assert "score" not in taken(capsys.readouterr().err)
    run(*call, "--linear", "--no-compare", "--out", tmp_path / "a")
    printed = capsys.readouterr()
    assert taken(printed.err) == ["budget", "calibrate", "score", "plan", "linear", "export"]
    assert "parameters" in printed.out
    assert "perplexity" not in printed.out
    made = read_json(tmp_path / "a/model/provenance.json")
    assert made["inputs"].keys() == {"model", "plan", "linear"}
    card = (tmp_path / "a/model/README.md").read_text()
    assert "least-squares reconstruction" in card
    (again,) = re.findall(r"^\$ hfprune (prune .*) --out pruned$", card, re.MULTILINE)
    assert "--linear" in again and "--model mine" in again, "no path of this machine"
    here = shlex.split(again.replace("--model mine", f"--model {project / 'models/mine'}"))
    run(*here, *call[call.index("--catalogue") :], "--no-compare", "--out", tmp_path / "d")
    first, second = (reload(tmp_path / name / "model").state_dict() for name in "ad")
    assert all(torch.equal(weight, second[key]) for key, weight in first.items())
    page = (tmp_path / "a/report.html").read_text()
    assert re.search(r"<dt>sequences scored on</dt><dd><code>4</code>", page)
    ours, plain = (reload(out / "model").state_dict() for out in (tmp_path / "a", pruned))
    changed = {key for key, weight in ours.items() if not torch.equal(weight, plain[key])}
    assert changed == {key for key in ours if key.endswith("down_proj.weight")}


def test_the_best_recipe_is_its_parts_each_of_which_a_flag_replaces(call, tmp_path: Path, capsys) -> None:
    at = call.index("--recipe")
    best, quick = (*call[:at], *call[at + 2 :]), ("--no-compare", "--out")
    run(*best, *quick, tmp_path / "best")
    parts = ("--criterion", "wanda", "--linear")
    run(*call, *parts, *quick, tmp_path / "parts")
    ours, parts = (reload(tmp_path / out / "model").state_dict() for out in ("best", "parts"))
    assert ours.keys() == parts.keys()
    assert all(torch.equal(weight, parts[key]) for key, weight in ours.items())
    page = (tmp_path / "best/report.html").read_text()
    assert "wanda" in page and "best" in page and "(study recipe-confirm)" in page
    assert "(study recipe-confirm)" not in (tmp_path / "parts/report.html").read_text(), (
        "they are not the recipe"
    )
    capsys.readouterr()
    run(*best, "--no-linear", "--criterion", "magnitude", "--allocation", "uniform", *quick, tmp_path / "own")
    assert taken(capsys.readouterr().err) == ["budget", "score", "plan", "export"]
    run(*call, "--criterion", "magnitude", *quick, tmp_path / "plain")
    ours, plain = (reload(tmp_path / out / "model").state_dict() for out in ("own", "plain"))
    assert all(torch.equal(weight, plain[key]) for key, weight in ours.items())


def test_what_the_best_recipe_gained_is_what_was_measured() -> None:
    losses = pd.read_csv(committed.results_of("recipe-confirm") / "losses.csv")
    losses = losses.query("ratio == 0.2 and measure == 'perplexity' and method == 'wanda'")
    losses = losses.query("recovery == 'linear' and against == 'none'")
    found = losses.set_index("model")["loss_ratio"].round(2)
    said = re.findall(r"0\.\d\d", RECIPES["best"].gained)
    assert said == [
        f"{found[model]:.2f}" for model in ("smollm2-135m-instruct-q4", "qwen2.5-coder-0.5b-instruct-q4")
    ]


def test_quick_and_in_the_faster_precision(call, tmp_path: Path, capsys) -> None:
    arguments = [each for each in call if each not in ("--dtype", "float32")]
    run(*arguments, "--quick", "--out", tmp_path / "a")
    printed = capsys.readouterr()
    assert taken(printed.err) == TITLES
    assert {path.stem for path in (tmp_path / "a/work/cells").rglob("*.parquet")} == {
        "perplexity",
        "fidelity",
    }
    made = read_json(tmp_path / "a/model/provenance.json")["settings"]
    settings = read_json(results_of(tmp_path / "a", "dense") / "perplexity.json")["provenance"]["settings"]
    amx = "amx_bf16" in Path("/proc/cpuinfo").read_text()
    assert settings["dtype"] == ("bfloat16" if amx else "float32")
    assert made["dtype"] is None, "as it was saved"


def test_a_capability_that_does_not_fit_is_left_out(call, project: Path, tmp_path: Path, capsys) -> None:
    model = tmp_path / "model"
    shutil.copytree(project / "models/mine", model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 10}))
    run(*call, "--model", model, "--length", 16, "--out", tmp_path / "out")
    printed = capsys.readouterr()
    assert "reading is left out: boolq has no document within 10 tokens" in printed.err
    assert "bits per byte" not in printed.out
    assert (tmp_path / "out/model/config.json").exists()


def test_in_python(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"catalogue": project / "assets.yaml", "resources": project / "resources"}
    model = shutil.copytree(project / "models/mine", tmp_path / "my model")
    rows = hfprune.prune(model, 0.15, tmp_path / "out", sequences=4, length=32, **places)
    sizes = {row.name: (row.before, row.after) for row in rows}["parameters"]
    assert 1 - sizes[1] / sizes[0] == pytest.approx(0.15, abs=0.005)
    with pytest.raises(hfprune.HfpruneError, match=r"^prune: ratio: Input should be less than 1$"):
        hfprune.prune(project / "models/mine", 20, tmp_path / "other")


def test_bad_input_is_one_line_and_leaves_nothing(call, project: Path, tmp_path: Path) -> None:
    def refused(*arguments: object) -> str:
        line = failure(*call, *arguments, "--out", tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return line.removeprefix("hfprune prune: error: ")

    model = tmp_path / "model"
    assert refused("--model", tmp_path / "nowhere").startswith("no model ")
    assert "at most 0." in refused("--ratio", 0.97)
    attention = ("--units", '["neurons", "key_value_groups"]')
    assert "choose another ratio or other --units" in refused(*attention, "--ratio", 0.02)
    assert "allocation joint ranks" in refused("--allocation", "joint")
    assert "did you mean 'entropy'" in refused("--criterion", "entrop")
    assert "calibrate on another text" in refused("--text", "c4-sample-heldout")
    (tmp_path / "short.txt").write_text("Hello.")
    assert re.match(
        r"text 'short' cannot fill one block of 32 tokens .*--length",
        refused("--text", tmp_path / "short.txt"),
    )
    (tmp_path / "empty.txt").write_text("")
    assert "hold no text" in refused("--text", tmp_path / "empty.txt")
    (tmp_path / "odd.jsonl").write_text('{"body": "x"}')
    assert "no string field 'text'" in refused("--text", tmp_path / "odd.jsonl")
    torch.manual_seed(0)
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=16, n_layer=1, n_head=2)).save_pretrained(model)
    build_tokenizer().save_pretrained(model)
    assert "GPT2LMHeadModel" in refused("--model", model)
    shutil.rmtree(model)
    build_tiny("llama", vocab_size=400).save_pretrained(model)
    assert "cannot load the tokenizer" in refused("--model", model)
    (tmp_path / "broken.gguf").write_bytes(b"GGUF, but not really")
    assert "transformers cannot read" in refused("--model", tmp_path / "broken.gguf")


def test_a_folder_that_holds_something_else_is_not_touched(call, pruned: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert "holds something else (thesis.txt)" in failure(*call, "--out", tmp_path)
    assert "holds something else" in failure(*call, "--out", tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    out = tmp_path / "pruned"
    shutil.copytree(pruned, out)
    (out / "model/README.md").write_text("my own words")
    assert "is no earlier export (README.md was changed)" in failure(*call, "--ratio", 0.2, "--out", out)
    assert (out / "model/README.md").read_text() == "my own words"


def test_only_its_own_unfinished_files_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".env.template").write_text("mine")
    with pytest.raises(hfprune.HfpruneError, match="holds something else"), claimed(tmp_path, {}):
        pass
    out = tmp_path / "out"
    with claimed(out, {}) as work:
        (work / "scores.safetensors").touch()
    (out / ".env.template").write_text("mine")
    (out / ".model.abcdefgh").mkdir()
    (out / "work/.adapter.abcdefgh/.values.abcdefgh").mkdir(parents=True)
    with claimed(out, {}) as work:
        assert {path.name for path in out.iterdir()} == {".env.template", "work"}
        assert {path.name for path in work.iterdir()} == {".lock", "scores.safetensors", "settings.json"}


def test_a_full_disk_is_one_line_and_the_next_call_goes_on(
    call, pruned: Path, tmp_path: Path, capsys
) -> None:
    """A limit on the size of files makes the same calls fail that a full disk does."""
    out = tmp_path / "pruned"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # SIGXFSZ is ignored by Python, so a write fails with an error.
    largest = max(path.stat().st_size for path in (pruned / "model").glob("*.safetensors"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, hard))
    try:
        assert "writing failed" in failure(*call, "--out", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (out / "model").exists()
    capsys.readouterr()
    run(*call, "--out", out)
    assert taken(capsys.readouterr().err) == TITLES[TITLES.index("export") :]
    assert export(out) == export(pruned)


def test_what_a_killed_plan_wrote_is_not_taken_for_what_the_record_says(
    call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The plan is written and its size is not: another call takes neither for what it was."""
    first = (*call, "--no-compare", "--out", tmp_path / "out")
    run(*first)
    kept = export(tmp_path / "out")

    def killed(*_arguments: object, **_settings: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr("hfprune.stages.plan.write_result", killed)
        run(*first, "--allocation", '{"rule": "uniform", "align": 4}')
    capsys.readouterr()
    run(*first)
    assert taken(capsys.readouterr().err) == ["plan"]
    assert export(tmp_path / "out") == kept


def test_two_calls_do_not_work_in_one_folder(call, pruned: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    out = tmp_path / "pruned"
    shutil.copytree(pruned, out)
    with FileLock(out / "work/.lock"):
        assert "another `hfprune prune` is at work in it" in failure(*call, "--out", out)
    assert export(out) == export(pruned)
