"""What somebody adds: every baseline in the repository, and the docs' examples as they stand there."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import yaml
from command_line import run
from packages import install
from smoke import ROOT, STUDY, jobs, make_project, snakemake, write

from hfprune.results.effect_rows import read_effects
from hfprune.results.reader import Results

BASELINES = sorted(file.stem for file in (ROOT / "workflow/rules/baselines").glob("*.smk"))
MODELS = ["llama", "qwen2", "qwen3"]
RATIO = STUDY["ratios"][0]
PUBLISHED = ("collect", "tables", "effects", "figures", "check", "page", "all")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose assets, blocks and budgets are there; in this process, which saves dozens of starts."""
    folder = tmp_path_factory.mktemp("project")
    make_project(folder)
    resources, results = folder / "resources", folder / "results/smoke"
    assets = [*(f"models/{model}" for model in MODELS), "corpora/text", "corpora/heldout", "tasks/arc_easy"]
    run("fetch", *assets, "--catalogue", folder / "config/assets.yaml", "--resources", resources)
    calibration = STUDY["calibrations"]["text"]
    for model in MODELS:
        dense = ("--model", resources / "models" / model)
        run("calibrate", *dense, "--corpus", resources / "corpora/text", "--sequences",
            calibration["sequences"], "--length", calibration["length"], "--out",
            results / f"calibration/{model}/text/draw0.safetensors")  # fmt: skip
        run("budget", *dense, "--ratios", RATIO, "--out", results / f"budgets/{model}/{RATIO}.json")
    # Nobody names this one.
    (folder / "workflow/rules/baselines/broken.smk").write_text("rule broken\n    no: such {thing\n")
    return folder


def set_study(project: Path, added: dict | None = None, **changes) -> None:
    measures = {
        "zeroshot": {"tasks": ["arc_easy"], "batch_tokens": 256},
        "fidelity": STUDY["measures"]["fidelity"],
    } | (added or {})
    plain = {"measures": measures, "recoveries": ["none"], "recovery": None}
    write(project / "config/studies/smoke.yaml", STUDY | plain | changes)


def documented(name: str, section: str = "methods") -> tuple[dict[str, str], dict]:
    """Return the files that a docs page gives, by path, and what it first puts into a section of a study."""
    text = (ROOT / "docs" / name).read_text()
    files = dict(re.findall(r"`([\w/.-]+)`[^`]*:\n\n```(?:python|toml)\n(.*?)```", text, re.DOTALL))
    added, *_ = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    return files, yaml.safe_load(added)[section]


def test_every_baseline_keeps_the_contract(project: Path, tmp_path: Path) -> None:
    # At these ratios, the percentage of neurons rounded down would keep one too many.
    ratios = {"llama": [0.2], "qwen2": [0.18], "qwen3": [0.16]}
    methods = {baseline: {"baseline": baseline} for baseline in BASELINES}
    set_study(project, models={model: {"ratios": own} for model, own in ratios.items()}, methods=methods)
    assert "Congratulations" in snakemake(project, "--lint")
    wanted = [
        f"results/smoke/plans/{m}/{b}/text/0/{ratios[m][0]}/draw0.json" for m in MODELS for b in BASELINES
    ]
    snakemake(project, *wanted, "--until", *BASELINES)
    for model in MODELS:
        (ratio,) = ratios[model]
        budget = json.loads((project / f"results/smoke/budgets/{model}/{ratio}.json").read_text())
        pruned = project / f"results/smoke/checkpoints/{model}/optipfair/text/0/{ratio}/draw0"
        kept = json.loads((pruned / "config.json").read_text())["intermediate_size"]
        assert kept == budget["kept"]["neurons"][str(ratio)]["neurons"]
        for baseline in BASELINES:
            cell = f"{model}/{baseline}/text/0/{ratio}/draw0"
            checkpoint = project / "results/smoke/checkpoints" / cell
            plan = project / f"results/smoke/plans/{cell}.safetensors"
            flag = ("--checkpoint", checkpoint) if checkpoint.exists() else ("--plan", plan)
            run("adopt", "--model", project / "resources/models" / model, *flag, "--ratio", ratio, "--out",
                tmp_path / "size.json")  # fmt: skip
    # A new ratio prunes at that ratio alone.
    set_study(project, models={"llama": {"ratios": [0.1, 0.2]}}, methods=methods)
    done = jobs(snakemake(project, "--dry-run"))
    assert {baseline: done[baseline] for baseline in BASELINES} == dict.fromkeys(BASELINES, 1)


def test_the_docs_examples_reach_the_tables_and_a_failing_baseline_costs_them_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    criteria, methods = documented("add-a-criterion.md")
    baseline, baseline_methods = documented("add-a-baseline.md")
    measure, measures = documented("add-a-measure.md", "measures")
    measures["guesses"] |= {"corpus": "heldout", "sequences": 4, "length": 32}
    measures |= {"guesses_again": {"measure": "guesses", **measures["guesses"], "length": 16}}
    shutil.copytree(ROOT / "hfprune", tmp_path / "hfprune", ignore=shutil.ignore_patterns("__pycache__"))
    package = tomllib.loads(criteria.pop("pyproject.toml"))["project"]
    install(tmp_path, package["name"], package["entry-points"]["hfprune.criteria"])
    for path, text in (criteria | measure).items():
        (tmp_path / path).write_text(text)
    (project / "tools").mkdir()
    for path, text in baseline.items():
        (project / path).write_text(text)
        # Its twin forgets a layer.
        wrong = text.replace("first_neurons", "wrong").replace("range(", "range(-1 + ")
        (project / path.replace("first_neurons", "wrong")).write_text(wrong)
    methods |= baseline_methods | {"gate_norm": None}
    methods["shortgpt"] = {"criterion": "block_influence", "units": "layers"}
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")

    set_study(project, models=["llama"], methods=methods | {"wrong": {"baseline": "wrong"}})
    output = snakemake(project, "--keep-going", "figures", check=False)
    assert "plans/llama/wrong/text/0/0.15/draw0.safetensors: the plan lacks mlp.2, but" in output
    set_study(project, models=["llama"], methods=methods)
    done = jobs(snakemake(project, "figures"))
    assert not [name for name in done if name.startswith(("score", "measure_", "adopt"))], done

    # A measure, under two names, is taken of what is there and shows everywhere.
    set_study(project, models=["llama"], methods=methods, added=measures)
    done = jobs(snakemake(project))
    taken = {name: count for name, count in done.items() if "_guesses_guesses_again" in name}
    assert sum(taken.values()) == 1 + len(methods)
    assert done == taken | dict.fromkeys(PUBLISHED, 1)

    results = project / "results/smoke"
    assert {"guesses", "guesses_again"} <= {*pd.read_csv(results / "results.csv")["measure"]}
    shown = [results / f"tables/{name}" for name in ("measures.md", "measures.tex", "effects.md")]
    for path in (*shown, *(project / f"figures/smoke/{name}.svg" for name in ("measures", "effects"))):
        words = re.sub("<[^>]*>", " ", path.read_text())  # a heading may be broken into lines
        assert "tokens guessed" in " ".join(words.lower().split()), path
    effects = read_effects(results / "effects.csv").query("question == 'reference'").set_index("outcome")
    assert effects.loc[["guessed", "guesses_again.guessed"], "value"].notna().all()
    assert effects.loc["guesses_again.guessed", "low"].isna().all(), "one draw, and no resamples for it"
    for table, expected in (
        ("tables/table6", {"Dense", "Peak", "Gate norm", "First neurons", "Block influence, layers"}),
        ("tables/table7", {"Peak", "Gate norm", "First neurons", "Block influence, layers"}),
        # Weight criteria read no sequences.
        ("tables/table5", {"Peak"}),
        # The first criterion is what the others are compared with.
        ("tables/effects", {"Peak", "First neurons", "Block influence, layers"}),
    ):
        text = (results / f"{table}.md").read_text()
        assert all(f"| {name} " in text for name in expected), text
    assert "Gate norm" not in (results / "tables/table5.md").read_text()
    tidy = Results(results).tidy
    removed = tidy[tidy["metric"] == "parameter_ratio"].set_index("method")["value"]
    assert removed["first_neurons"] == pytest.approx(removed["peak"])


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        ("optipfiar", "no baseline 'optipfiar' in workflow/rules/baselines; did you mean 'optipfair'?"),
        ("renamed", "renamed.smk: must have a rule 'renamed' with one output, either"),
    ],
)
def test_a_baseline_that_cannot_work_ends_before_the_first_job(
    project: Path, baseline: str, message: str
) -> None:
    rules = project / "workflow/rules/baselines"
    shutil.copy(rules / "optipfair.smk", rules / "renamed.smk")
    set_study(project, methods={baseline: {"baseline": baseline}})
    output = snakemake(project, check=False)
    assert message in output and "Traceback" not in output and "Job stats" not in output
