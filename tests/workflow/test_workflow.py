"""The workflow from end to end on the smoke study: every rule, on three architectures."""

import base64
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from smoke import STUDY, change, contents, jobs, same_as_before, snakemake, write

from hfprune.report.publication import publication_names
from hfprune.results.effect_rows import read_effects
from hfprune.results.reader import Results

CELLS = "results/smoke/cells"
# The rule that measures all cells but the dense ones.
MEASURED = "measure_fidelity_perplexity_zeroshot"
UNTUNED = {"recoveries": ["none"], "recovery": None}
# What any changed result makes anew.
PUBLISHED = ["collect", "tables", "effects", "figures", "check", "page", "all"]

# The study has one size of calibration.
FIGURES = [name for name in publication_names("figures") if name != "dose"]


def test_every_result_table_and_figure_is_there(finished) -> None:
    folder, said = finished
    first = next(line for line in said.splitlines() if line.startswith("study:"))
    assert first == "study: smoke (as configured; another: --config study=NAME)"
    results, figures = folder / "results/smoke", folder / "figures/smoke"
    tidy = Results(results).tidy
    assert set(tidy["model"]) == {"llama", "qwen2", "qwen3"}
    assert set(tidy["method"]) == {"dense", *STUDY["methods"]}
    assert set(tidy["measure"]) == {*STUDY["measures"], "size", "recovery"}
    recovered = tidy[tidy["recovery"] == "lora"]
    assert set(recovered["method"]) == {"dense", *STUDY["recovery"]["methods"]}
    assert set(recovered["measure"]) == {"zeroshot", "fidelity", "perplexity", "recovery"}
    assert tidy["value"].notna().all()
    assert tidy.loc[tidy["metric"] == "parameter_ratio", "value"].between(0.14, 0.16).all()
    for name in publication_names("tables"):
        for suffix in ("csv", "md", "tex"):
            text = (results / f"tables/{name}.{suffix}").read_text()
            # One draw of one size has no spread over draws and no noise; claims are counted over all models; the
            # study asks for no added effects.
            whole = all(model in text for model in STUDY["models"])
            assert whole or name in ("added", "draws", "claims", "dose", "noise")
            assert "paper" in text or not name.startswith("table")
    verdicts = pd.read_csv(results / "claims.csv")
    assert set(verdicts.query("kind == 'other model'")["model"]) == {"llama", "qwen2", "qwen3"}
    compared = pd.read_csv(results / "tables/effects.csv")
    # No group of Qwen3's two goes at this ratio, so the method that says so is not applicable there.
    assert tidy.loc[tidy["metric"] == "not_applicable", ["model", "method"]].to_numpy().tolist() == [
        ["qwen3", "entropy_attention"]
    ]
    assert len(compared) == len(STUDY["models"]) * (len(STUDY["methods"]) - 1) - 1
    assert {*compared["differs"]} == {"units", "criterion, allocation"}
    for name in FIGURES:
        for suffix in ("pdf", "svg", "png"):
            # No model of this study is in the paper, no measure is new and no claim is about its ratio: three
            # figures are a sentence.
            least = 1000 if name in ("measures", "claims") else 3000
            assert (figures / f"{name}.{suffix}").stat().st_size > least
    assert all(path.read_text().isascii() for path in results.rglob("*.tex")), "LaTeX knows every character"
    assert r"$\Delta$ JS distance" in (results / "tables/effects.tex").read_text()


def test_result_holds_its_provenance_and_its_items(finished) -> None:
    path = finished[0] / CELLS / "qwen2/entropy/text/6/0.15/draw0/none/zeroshot/arc_easy.json"
    result = json.loads(path.read_text())
    made = result["provenance"]
    assert result["cell"]["method"] == "entropy"
    assert {"torch", "transformers", "lm_eval", "python"} <= set(made["packages"])
    assert {"model", "plan", "measure", "tasks/arc_easy"} == set(made["inputs"])
    assert all(len(value) == 64 for value in made["inputs"].values())
    assert made["settings"]["dtype"] == "float32"
    assert made["cost"]["seconds"] > 0 < made["cost"]["peak_memory_bytes"]
    assert len(pd.read_parquet(path.with_suffix(".parquet"))) == 10


@pytest.mark.thorough
def test_removed_results_are_made_again_with_what_depends_on_them_byte_for_byte(project: Path) -> None:
    before = contents(project, "results/smoke/scores/**/*")
    shown = contents(project, "results/smoke/tables/*") | contents(project, "figures/smoke/*")
    assert len(shown) == 3 * len([*publication_names("tables"), *FIGURES])
    cell = project / CELLS / "llama/random/text/0/0.15/draw0/none"
    (project / "results/smoke/claims.csv").unlink()
    assert "\ncost: nothing to fetch or to compute; tables, " in snakemake(project, "--dry-run")
    (cell / "perplexity.json").unlink()
    (cell / "zeroshot/arc_easy.parquet").unlink()
    kept = contents(cell, "zeroshot/crows*") | contents(cell, "fidelity*")
    assert len(kept) == 4
    output = snakemake(project, starts=True)
    assert jobs(output) == dict.fromkeys([MEASURED, *PUBLISHED], 1)
    assert re.search(
        r"(?m)^cost: nothing to fetch; about 0 minutes .* job \(measure .* of llama, random 0.15", output
    )
    assert contents(project, "results/smoke/scores/**/*") == before
    assert contents(project, "results/smoke/tables/*") | contents(project, "figures/smoke/*") == shown
    assert contents(cell, "zeroshot/crows*") | contents(cell, "fidelity*") == kept
    assert (cell / "zeroshot/arc_easy.parquet").exists() and (cell / "perplexity.json").exists()
    assert "Nothing to be done" in snakemake(project)


@pytest.mark.thorough
def test_partial_shows_what_there_is_and_leaves_the_whole_alone(project: Path) -> None:
    whole = contents(project, "results/smoke/tables/*") | contents(project, "results/smoke/*.parquet")
    (project / CELLS / "llama/random/text/0/0.15/draw0/none/perplexity.json").unlink()
    assert jobs(snakemake(project, "partial")) == {"partial": 1}
    partial = project / "results/smoke/partial"
    rows = pd.read_csv(partial / "tables/table7.csv").query("model == 'llama' and method == 'random'")
    assert rows["perplexity"].isna().all() and rows["js_distance"].notna().all()
    assert len(pd.read_csv(partial / "claims.csv")) == len(pd.read_csv(project / "results/smoke/claims.csv"))
    effects = read_effects(partial / "effects.csv").query("model == 'llama' and method == 'random'")
    outcomes = {*effects.query("question == 'reference'")["outcome"]}
    assert "perplexity_ratio" not in outcomes and "js_distance" in outcomes
    assert (partial / "report.html").exists()
    # One that has no data here is left out, not replaced by a sentence.
    drawn = {path.stem for path in (partial / "figures").iterdir()}
    assert len([*(partial / "figures").iterdir()]) == 3 * len(drawn)
    assert {*FIGURES} - drawn == {"claims", "measures"}
    assert contents(project, "results/smoke/tables/*") | contents(project, "results/smoke/*.parquet") == whole


def test_added_task_and_method_are_measured_alone(project: Path) -> None:
    before = contents(project, f"{CELLS}/**/*.json")
    measures = STUDY["measures"] | {"zeroshot": {"tasks": ["arc_easy", "crows_pairs_english", "piqa"]}}
    measures["zeroshot"]["batch_tokens"] = 256
    methods = STUDY["methods"] | {"magnitude": None}
    change(project / "config/studies/smoke.yaml", measures=measures, methods=methods)
    done = jobs(snakemake(project))
    models = len(STUDY["models"])
    # The dense model and every method, and once more what is recovered.
    cells = models * (1 + len(STUDY["methods"]) + 1 + len(STUDY["recovery"]["methods"]))
    # The method is scored with the other that reads weights only, whose scores stay as they are.
    of_method, dense = ("score_2", "plan"), "measure_distributions_perplexity_zeroshot"
    assert done == dict.fromkeys(("fetch", "method", *PUBLISHED), 1) | dict.fromkeys(of_method, models) | {
        dense: models,
        MEASURED: cells,
    }
    after = contents(project, f"{CELLS}/**/*.json")
    assert {path: after[path] for path in before} == before
    new = {path for path in after.keys() - before.keys() if "/magnitude/" not in path}
    assert len(new) == cells
    assert all(path.endswith("/piqa.json") for path in new)
    assert "Nothing to be done" in snakemake(project)


def test_two_changes_at_once_are_both_made_in_one_run(project: Path) -> None:
    """A new ratio needs no scores, which serve every ratio, and a measure has another setting."""
    fidelity = STUDY["measures"]["fidelity"] | {"sequences": 3}
    change(
        project / "config/studies/smoke.yaml",
        models={"llama": None, "qwen2": {"methods": ["random"]}},
        methods={name: STUDY["methods"][name] for name in ("entropy", "random")},
        **UNTUNED,
        ratios=[0.15, 0.25],
        measures={"fidelity": fidelity},
    )
    done = jobs(snakemake(project, "--dry-run", "effects"))
    assert not [rule for rule in done if rule.startswith("score")]
    assert (done["plan"], done["measure_fidelity"]) == (3, 6)


def test_resampled_calibrations_give_one_draw_its_intervals(project: Path) -> None:
    change(
        project / "config/studies/smoke.yaml",
        models=["llama"],
        methods={"entropy": None, "cross_entropy": None, "random": None},
        **UNTUNED,
        calibrations={"text": STUDY["calibrations"]["text"] | {"sequences": 8, "length": 16}},
        resamples=3,
        # Intervals take eight documents.
        measures={"zeroshot": STUDY["measures"]["zeroshot"]}
        | {name: STUDY["measures"][name] | {"sequences": 8} for name in ("fidelity", "perplexity")},
    )
    snakemake(project, "effects")
    results = project / "results/smoke"
    effects = read_effects(results / "effects.csv").query("question == 'reference'").set_index("outcome")
    assert {*effects["method"]} == {"cross_entropy", "random"}
    resampled = effects.loc[["js_distance", "perplexity_ratio"]]
    assert {*resampled["resamples"]} == {3} and resampled[["low", "holm"]].notna().all(axis=None)
    assert effects.loc["points", "low"].isna().all(), "accuracy is measured on the one draw alone"
    draws = pd.read_csv(results / "draws.csv")
    assert {*draws["outcome"]} == {"js_distance", "perplexity_ratio"} and draws["resamples_sd"].notna().all()


@pytest.mark.parametrize("pattern", ["budgets/*/*.json", "scores/*/random/*/*/*"])
def test_what_a_kill_left_unfinished_hides_nothing_that_is_missing(project: Path, pattern: str) -> None:
    """A forced job whose output is there, before an ancient input or in its place, and a result that is not."""
    for path in (project / "results/smoke").glob(pattern):
        name = base64.urlsafe_b64encode(str(path.relative_to(project)).encode()).decode()
        (project / ".snakemake/incomplete").mkdir(exist_ok=True)
        (project / ".snakemake/incomplete" / name).write_text('{"external_jobid": null}')
    (project / CELLS / "llama/random/text/0/0.15/draw0/none/perplexity.json").unlink()
    done = jobs(snakemake(project, "--dry-run"))
    assert done[MEASURED] == done["score_2" if "scores" in pattern else "budget"] // 3 == 1
    assert {done[rule] for rule in PUBLISHED} == {1}


def test_changed_recovery_runs_recoveries_and_their_measurements_only(project: Path) -> None:
    change(project / "config/studies/smoke.yaml", recovery=STUDY["recovery"] | {"max_steps": 4})
    done = jobs(snakemake(project, "--dry-run"))
    publish = dict.fromkeys(PUBLISHED, 1)
    assert done == publish | {"recover": 6, MEASURED: 6}
    two = {"methods": ["entropy", "random"]}
    change(project / "config/studies/smoke.yaml", recovery=STUDY["recovery"] | two)
    done = jobs(snakemake(project, "--dry-run"))
    assert done == publish | {"recover": 3, MEASURED: 3}


def test_raised_versions_rerun_one_method_and_measure_its_cells_anew(project: Path) -> None:
    """What a version is for: edits of the package are not seen by Snakemake."""
    rules = project / "workflow/rules/assets.smk"
    raised = (f"type(files().{of}).version = 99\n" for of in ('criteria["random"]', 'measures["fidelity"]'))
    rules.write_text("".join([*raised, rules.read_text()]))
    output = snakemake(project, "--dry-run")
    done, cells = jobs(output), len(STUDY["methods"]) + 1 + len(STUDY["recovery"]["methods"])
    assert done["score_2"] == done["plan"] == 3 and done[MEASURED] == cells * len(STUDY["models"])
    assert not {"score_0", "score_1", "recover"} & done.keys()
    assert "score llama, random draw 0, text" in output


def test_edited_local_file_is_read_again(project: Path) -> None:
    # A copy, since other tests read the finished project's own file at the same time.
    catalogue = project / "config/assets.yaml"
    assets = yaml.safe_load(catalogue.read_text())
    text = Path(shutil.copy(assets["corpora"]["text"]["source"]["path"], project))
    for name in ("text", "other", "heldout"):
        assets["corpora"][name]["source"]["path"] = str(text)
    write(catalogue, assets)
    assert jobs(snakemake(project, "--until", "fetch"))["fetch"] == 2, "both corpora are of that file"
    assert "Nothing to be done" in snakemake(project, "--dry-run", "--until", "fetch")
    text.write_text(text.read_text() + "\nOne more line.")
    assert jobs(snakemake(project, "--dry-run", "--until", "fetch"))["fetch"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratois": [0.2]}, "config/studies/smoke.yaml: unknown key 'ratois'; did you mean 'ratios'?"),
        ({"seeds": [0]}, "config/studies/smoke.yaml: the key 'seeds' is gone: write `draws`"),
        (
            UNTUNED | {"methods": {"random": {"sequences": 2}}, "measures": {}},
            "methods.random: the key 'sequences' is gone: how many sequences are read is a calibration's; ",
        ),
        (
            UNTUNED | {"methods": {"random": {"steps": 2}}, "measures": {}},
            "methods.random: the key 'steps' is gone: a study prunes at once; ",
        ),
        ({"ratios": [0.15, 0.95]}, "ratio 0.95 cannot be reached"),
    ],
)
def test_a_study_that_cannot_be_run_costs_nothing(project: Path, changes: dict, message: str) -> None:
    before = contents(project, "results/**/*")
    change(project / "config/studies/smoke.yaml", **({"primary": None} | changes))
    output = snakemake(project, check=False)
    assert message in output and "Traceback" not in output
    assert contents(project, "results/**/*") == before


def test_numbers_are_those_from_before_measures_had_a_contract(finished) -> None:
    same_as_before(finished[0] / "results/smoke/results.csv")
