"""A second calibration of the smoke study, in one line: its jobs are new, and all else stays."""

from pathlib import Path

import pandas as pd
import pytest
from smoke import STUDY, change, contents, jobs, snakemake

CELLS = "results/smoke/cells"
OTHER = {"text_2": {"corpus": "other", "sequences": 6, "length": 32}}
MODELS, METHODS = len(STUDY["models"]), len(STUDY["methods"])
# What any changed result makes anew.
PUBLISHED = ["collect", "tables", "effects", "figures", "check", "page", "all"]


def test_second_calibration_adds_its_own_jobs_alone(project: Path) -> None:
    change(project / "config/studies/smoke.yaml", calibrations=STUDY["calibrations"] | OTHER)
    said = snakemake(project, "--dry-run")
    # Each method is scored and cut once per model; entropy alone is recovered, and measured for time and cost.
    of_model = ("calibrate", "score_0", "score_1", "score_2", "recover", "measure_latency", "measure_cost")
    assert jobs(said) == dict.fromkeys(["fetch", *PUBLISHED], 1) | dict.fromkeys(of_model, MODELS) | {
        "plan": METHODS * MODELS,
        "measure_fidelity_perplexity_zeroshot": (METHODS + 1) * MODELS,
    }
    assert "calibrate qwen2 on text_2\n" in said and "calibrate qwen2 on text\n" not in said
    assert "plan llama, random 0.15 draw 0, text_2\n" in said


def test_tables_have_a_column_of_the_calibrations_and_methods_are_compared_within_each(project: Path) -> None:
    before = contents(project, f"{CELLS}/llama/**/*.json")
    change(
        project / "config/studies/smoke.yaml",
        models=["llama"],
        methods={name: STUDY["methods"][name] for name in ("entropy", "random")},
        recoveries=["none"],
        recovery=None,
        calibrations=STUDY["calibrations"] | OTHER,
        effects="calibrations",
        measures={"fidelity": STUDY["measures"]["fidelity"]},
    )
    snakemake(project, "tables")
    after = contents(project, f"{CELLS}/llama/**/*.json")
    assert {path: after[path] for path in before} == before
    results = project / "results/smoke"
    for name in ("table7", "effects"):
        written = (results / f"tables/{name}.md").read_text().partition("**llama**")[2]
        heading, _, *rows = [line.split("|") for line in written.splitlines() if line.startswith("|")]
        place = [cell.strip() for cell in heading].index("Calibration")
        assert {"text", "text 2"} <= {row[place].strip() for row in rows}, name
    effects = pd.read_csv(results / "effects.csv").query("outcome == 'js_distance'")
    compared = effects.query("question == 'reference'")
    assert sorted(compared[["method", "calibration", "against"]].itertuples(index=False, name=None)) == [
        ("random", "text", "entropy"),
        ("random", "text_2", "entropy"),
    ]
    texts = effects.query("question == 'calibration'").set_index("method")
    assert {*texts["calibration"]} == {"text_2"} and {*texts["against_calibration"]} == {"text"}
    levels = pd.read_csv(results / "results.csv").query("metric == 'js_distance' and draw == 0")
    value = levels.set_index(["method", "calibration"])["value"]
    shift = value["entropy", "text_2"] - value["entropy", "text"]
    assert shift != 0 and texts.loc["entropy", "value"] == pytest.approx(shift)
    assert value["random", "text_2"] == value["random", "text"], "which reads neither"
