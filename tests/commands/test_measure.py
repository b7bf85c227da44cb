"""`hfprune measure`: every measure by hand, what is kept, and mistakes."""

import json
import re
import weakref
from pathlib import Path

import pandas as pd
import pytest
import torch
from command_line import failure, recover, run, score

from hfprune.commands.measure import One
from hfprune.evaluation import tasks as lm_eval_tasks
from hfprune.measurement import RESERVED, Measure
from hfprune.models import head, load
from hfprune.plans.planning import load_plan, save_plan
from hfprune.scoring.score_files import save_resampled
from hfprune.stages.measure import CellFiles, ScoredBy
from hfprune.study.entries import StudyMeasure


def cells(work: Path, measures: dict, *entries: dict) -> tuple[object, ...]:
    """Return a call of `hfprune measure` with the settings of a job."""
    settings = {"model": str(work / "mine"), "measures": measures, "cells": entries}
    return "measure", "--settings", json.dumps(settings, default=str)


def test_recovered_model_is_exported_and_measured_alike(work: Path, adapter: Path, tmp_path: Path) -> None:
    changed = ("--plan", work / "plan.safetensors", "--adapter", adapter)
    text = ("--corpus", work / "corpora/text", "--sequences", 3, "--length", 24)
    run("export", "--model", work / "mine", *changed, "--out", tmp_path / "out")
    run("measure", "perplexity", "--model", tmp_path / "out", *text, "--out", tmp_path / "exported")
    run("measure", "perplexity", "--model", work / "mine", *changed, *text, "--out", tmp_path / "merged")
    run("measure", "fidelity", "--model", work / "mine", *changed, *text, "--out", tmp_path / "fidelity")
    exported, merged, fidelity = (
        json.loads((tmp_path / folder / f"{name}.json").read_text())
        for folder, name in (("exported", "perplexity"), ("merged", "perplexity"), ("fidelity", "fidelity"))
    )
    assert exported["values"] == merged["values"]
    assert fidelity["cell"]["recovery"] == "lora"
    assert fidelity["values"][0]["value"] > 0
    assert {"model", "plan", "adapter", "measure", "corpora/text"} == set(fidelity["provenance"]["inputs"])


def test_evaluate_keeps_what_is_finished_and_current(work: Path, tmp_path: Path, capfd, caplog) -> None:
    arguments = (
        "measure",
        "zeroshot",
        "--model",
        work / "mine",
        "--tasks",
        work / "tasks/piqa",
        "--out",
        tmp_path,
    )
    run(*arguments)
    first = (tmp_path / "zeroshot/piqa.json").read_bytes()
    said = capfd.readouterr()
    assert re.search(r"^piqa +acc +0\.\d+ +0\.\d+ +8$", said.out, re.MULTILINE)
    assert "fatal" not in said.err
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    run(*arguments)
    assert "piqa is already there" in capfd.readouterr().err
    assert (tmp_path / "zeroshot/piqa.json").read_bytes() == first
    run(*arguments, "--documents", 5)
    assert json.loads((tmp_path / "zeroshot/piqa.json").read_text())["values"][0]["n"] == 5
    (tmp_path / "zeroshot/piqa.parquet").unlink()
    run(*arguments, "--documents", 5)
    assert (tmp_path / "zeroshot/piqa.parquet").exists(), "the JSON alone is no finished result"
    (tmp_path / "zeroshot/piqa.json").write_text('{"half')
    run(*arguments, "--documents", 5)
    assert json.loads((tmp_path / "zeroshot/piqa.json").read_text())["values"][0]["n"] == 5


def test_evaluate_that_dies_goes_on_with_the_next_task(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    tasks = ("--tasks", work / "tasks/piqa", work / "tasks/arc_easy")
    arguments = ("measure", "zeroshot", "--model", work / "mine", *tasks, "--out", tmp_path / "out")
    plain = lm_eval_tasks.evaluate_task

    def die(model, manager, name, documents):
        if name == "arc_easy":
            raise KeyboardInterrupt
        return plain(model, manager, name, documents)

    monkeypatch.setattr(lm_eval_tasks, "evaluate_task", die)
    with pytest.raises(SystemExit):
        run(*arguments)
    assert not (tmp_path / "out/zeroshot").exists(), "an unfinished cell has no results"
    monkeypatch.setattr(lm_eval_tasks, "evaluate_task", plain)
    capsys.readouterr()
    run(*arguments)
    assert "piqa is already there" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out/zeroshot").iterdir()} == {
        f"{task}.{suffix}" for task in ("piqa", "arc_easy") for suffix in ("json", "parquet")
    }
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["zeroshot"]


def test_what_a_killed_run_with_other_settings_left_replaces_nothing(work: Path, tmp_path: Path) -> None:
    arguments = ("measure", "zeroshot", "--model", work / "mine", "--tasks", work / "tasks/piqa", "--out")
    run(*arguments, tmp_path / "out")
    before = (tmp_path / "out/zeroshot/piqa.json").read_bytes()
    run(*arguments, tmp_path / "other", "--documents", 5)
    (tmp_path / "out/.zeroshot.state").mkdir()
    (tmp_path / "other/zeroshot").rename(tmp_path / "out/.zeroshot.state/zeroshot")
    run(*arguments, tmp_path / "out")
    assert (tmp_path / "out/zeroshot/piqa.json").read_bytes() == before


def test_cell_equals_its_measures_one_by_one(work: Path, tmp_path: Path, capfd) -> None:
    """Also on resampled plans; and only what is missing or has another setting is measured again."""
    text = {"corpus": str(work / "corpora/text"), "sequences": 3, "length": 24}
    measures = {
        "perplexity": text,
        "zeroshot": {"tasks": [str(work / "tasks/piqa")]},
        "other": text | {"measure": "fidelity", "sequences": 2},
        "fidelity": text,
    }
    plan = load_plan(work / "plan.safetensors")
    others = [{place: torch.arange(len(kept)) for place, kept in plan.items()}, plan, plan]
    save_resampled(tmp_path / "resampled.safetensors", others, {})
    files = {"plan": work / "plan.safetensors", "resampled": tmp_path / "resampled.safetensors"}
    model = ("--model", work / "mine", "--plan", files["plan"])
    resampled = ("--resampled", files["resampled"])

    def take(**measures: dict) -> str:
        capfd.readouterr()
        run(*cells(work, measures, files | {"out": tmp_path / "cell"}))
        return capfd.readouterr().err

    take(**measures)
    flags = [word for name, value in text.items() for word in (f"--{name}", value)]
    for name in ("perplexity", "fidelity"):
        run("measure", name, *model, *resampled, *flags, "--out", tmp_path / "alone")
    run("measure", "zeroshot", *model, "--tasks", work / "tasks/piqa", "--out", tmp_path / "alone")
    for stem in ("perplexity", "fidelity", "zeroshot/piqa"):
        together, alone = (
            json.loads((tmp_path / folder / f"{stem}.json").read_text()) for folder in ("cell", "alone")
        )
        assert together["values"] == alone["values"]
        same = ("settings",) if stem == "zeroshot/piqa" else ("settings", "inputs")
        assert all(together["provenance"][key] == alone["provenance"][key] for key in same)
        items = (pd.read_parquet(tmp_path / folder / f"{stem}.parquet") for folder in ("cell", "alone"))
        pd.testing.assert_frame_equal(*items)
    assert json.loads((tmp_path / "cell/other.json").read_text())["values"][0]["n"] == 2
    names = ("perplexity", "fidelity", "other")
    written = {f"{name}.{suffix}" for name in names for suffix in ("json", "parquet")}
    assert {path.name for path in (tmp_path / "cell").iterdir()} == written | {"zeroshot"}

    (tmp_path / "cell/fidelity.parquet").unlink()
    before = (tmp_path / "cell/other.json").read_bytes()
    said = take(**measures | {"perplexity": text | {"sequences": 2}})
    assert [line for line in said.splitlines() if "already there" in line] == [
        "zeroshot: piqa is already there",
        "other: text is already there",
    ]
    assert (tmp_path / "cell/other.json").read_bytes() == before
    assert json.loads((tmp_path / "cell/perplexity.json").read_text())["values"][0]["n"] == 2
    assert (tmp_path / "cell/fidelity.parquet").exists()


def test_cells_of_one_process_equal_each_alone(
    work: Path, adapter: Path, tmp_path: Path, capfd, monkeypatch
) -> None:
    """The dense model reads once, one model is in memory at a time, and a failure costs no other results."""
    text = {"corpus": str(work / "corpora/text"), "sequences": 3, "length": 24}
    measures = {"fidelity": text, "perplexity": text}
    other = {place: kept[1:] for place, kept in load_plan(work / "plan.safetensors").items()}
    save_plan(tmp_path / "other.safetensors", other, {})
    plans = {"one": work / "plan.safetensors", "two": tmp_path / "other.safetensors"}
    found = {name: {"plan": plan, "cell": f"study/mine/{name}/0.2/0/none"} for name, plan in plans.items()}
    together = [entry | {"out": tmp_path / "together" / name} for name, entry in found.items()]
    # Its adapter was trained on the other plan.
    failing = found["two"] | {"adapter": adapter, "out": tmp_path / "failing"}
    read, made = [], head.last_states
    monkeypatch.setattr(head, "last_states", lambda *given: read.append(1) or made(*given))
    loaded, load_model = [], load.load_model

    def watched(*given: object, **more: object) -> object:
        assert not any(model() for model in loaded), "an earlier model is still in memory"
        model = load_model(*given, **more)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr(load, "load_model", watched)

    assert "this recovery was made for another plan" in failure(
        *cells(work, measures, together[0], failing, together[1])
    )
    assert len(read) == 1 and not list(tmp_path.glob("together/*/*.json"))
    capfd.readouterr()
    run(*cells(work, measures, *together))
    assert capfd.readouterr().err.count("its result is already there") == 0
    for name, entry in found.items():
        run(*cells(work, measures, entry | {"out": tmp_path / "alone" / name}))
        for measure_name in measures:
            results = [
                json.loads((tmp_path / folder / name / f"{measure_name}.json").read_text())
                for folder in ("together", "alone")
            ]
            assert results[0]["values"] == results[1]["values"]
            assert results[0]["cell"] == results[1]["cell"] and results[0]["cell"]["method"] == name
            assert not (tmp_path / "together" / name / f".{measure_name}.state").exists()


def test_cells_refuse_what_a_measure_alone_takes(work: Path, tmp_path: Path) -> None:
    def refused(**measures: dict) -> str:
        return failure(*cells(work, measures, {"out": tmp_path}))

    assert "cost: a measure of scoring, and no other, takes --criterion" in refused(cost={"sequences": 2})
    text = {"corpus": "text", "sequences": 2, "length": 8}
    assert "cost is taken alone" in refused(cost={"sequences": 2}, perplexity=text)
    assert "this would be the dense model" in refused(fidelity=text)
    entry = {"plan": work / "plan.safetensors", "out": tmp_path}
    assert "--cells: unknown key 'plam'; did you mean 'plan'?" in failure(
        *cells(work, {"perplexity": text}, {"plam": 1, "out": tmp_path})
    )
    assert "zeroshot: not measured on resampled plans: remove --resampled" in failure(
        *cells(work, {"zeroshot": {"tasks": ["piqa"]}}, entry | {"resampled": work / "plan.safetensors"})
    )
    assert "--cells: unknown key 'dtype'" in failure(
        *cells(work, {"perplexity": text}, entry | {"dtype": "float32"})
    )
    assert "two cells have the same `out`" in failure(*cells(work, {"perplexity": text}, entry, entry))
    assert "did you mean 'fidelity'" in refused(fidelty={})


def test_mistakes_are_one_line(work: Path, tmp_path: Path) -> None:
    model = ("--model", work / "mine")
    text = ("--corpus", work / "corpora/text", "--sequences", 3, "--length", 24)
    dense = failure("measure", "fidelity", *model, *text, "--out", tmp_path)
    assert "give --plan or --checkpoint, --adapter, or both" in dense
    assert f"no text '{tmp_path}': not a folder with corpus.arrow, a .txt" in failure(
        "measure",
        "perplexity",
        *model,
        "--corpus",
        tmp_path,
        "--sequences",
        1,
        "--length",
        9,
        "--out",
        tmp_path / "p",
    )
    tasks = ("--tasks", tmp_path / "arc_easy")
    missing = failure("measure", "zeroshot", *model, *tasks, "--out", tmp_path / "r")
    assert "and not a name in config/assets.yaml; did you mean 'arc_easy'?" in missing
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_nothing_is_measured_where_a_method_is_not_applicable(work: Path, tmp_path: Path, capsys) -> None:
    """At 2 % no key-value group of two can go: the plan says so, and so do the measurement and the recovery."""
    model, both = ("--model", work / "mine"), ("--units", '["neurons", "key_value_groups"]')
    scores, plan = tmp_path / "scores.safetensors", tmp_path / "plan.safetensors"
    run(*score(work), *both, "--out", scores)
    run("plan", *model, "--scores", scores, "--ratio", 0.02, *both, "--out", plan)
    reason = "keeps 2 of 2 key-value groups in every layer at 2 %"
    assert f"not applicable: the method {reason}" in capsys.readouterr().out
    size = json.loads(plan.with_suffix(".json").read_text())
    assert {"metric": "not_applicable", "value": 1.0, "stderr": None, "n": None} in size["values"]
    text = ("--corpus", work / "corpora/text", "--sequences", 3, "--length", 24)
    run("measure", "perplexity", *model, "--plan", plan, *text, "--out", tmp_path / "out")
    found = json.loads((tmp_path / "out/perplexity.json").read_text())
    assert (found["values"], found["not_applicable"]) == ([], reason)
    assert pd.read_parquet(tmp_path / "out/perplexity.parquet").empty
    run(*recover(work)[:3], "--plan", plan, *recover(work)[5:], "--out", tmp_path / "adapter")
    recovered = json.loads((tmp_path / "adapter/recovery.json").read_text())
    assert (recovered["values"], recovered["not_applicable"]) == ([], reason)


def test_the_cost_of_scoring_is_measured_alone_and_repeated(work: Path, tmp_path: Path) -> None:
    run("measure", "cost", "--model", work / "mine", "--blocks", work / "blocks.safetensors", "--criterion",
        "distillation", "--options", '{"warm_start": 0.1}', "--sequences", 2, "--repeats", 3, "--out",
        tmp_path)  # fmt: skip
    found = json.loads((tmp_path / "cost.json").read_text())
    seconds, memory = found["values"]
    assert seconds["n"] == 3 and seconds["value"] > 0 < seconds["stderr"]
    # Resident memory only rises, so its rounds are no repeats: one number, and no claim is judged on it.
    assert (memory["stderr"], memory["n"]) == (None, None) and memory["value"] > 0
    assert found["cell"]["method"] == "distillation" and found["cell"]["ratio"] is None
    assert found["provenance"]["settings"]["scoring"]["options"]["warm_start"] == 0.1
    line = failure("measure", "cost", "--model", work / "mine", "--criterion", "entropy", "--out", tmp_path)
    assert "criterion 'entropy' needs --blocks" in line


def test_a_plan_is_refused_where_the_dense_model_is_measured(work: Path, tmp_path: Path) -> None:
    plan = ("--model", work / "mine", "--plan", work / "plan.safetensors", "--out", tmp_path / "out")
    text = ("--corpus", work / "corpora/text", "--sequences", 1, "--length", 16)
    blocks = ("--criterion", "entropy", "--blocks", work / "blocks.safetensors")
    for name, more in (("distributions", text), ("cost", blocks)):
        line = failure("measure", name, *plan, *more)
        assert f"{name} measures the dense model: remove --plan, --checkpoint, --linear and --adapter" in line
    assert not (tmp_path / "out").exists()


def test_a_measure_that_is_not_there_names_the_nearest(work: Path, tmp_path: Path) -> None:
    line = failure("measure", "fidelty", "--model", work / "mine", "--out", tmp_path)
    assert line == "hfprune measure: error: unknown measure 'fidelty'; did you mean 'fidelity'?"


def test_a_setting_cannot_have_the_name_of_a_flag_or_of_a_key_of_a_study() -> None:
    flags = One.model_fields.keys() | CellFiles.model_fields.keys() | ScoredBy.model_fields.keys()
    assert flags | StudyMeasure.model_fields.keys() == RESERVED
    with pytest.raises(TypeError, match="Clash: a setting cannot be called 'seed'; rename it"):
        type("Clash", (Measure,), {"__module__": __name__, "__annotations__": {"seed": int}})
