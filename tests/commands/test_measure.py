"""`hfprune measure`: every measure by hand, what is kept, and what a kill leaves."""

import json
import re
import weakref
from pathlib import Path

import pandas as pd
import pytest
import torch
from command_line import SCORE, failure, killed, recover, run

from hfprune.commands.measure import ModelFlags
from hfprune.evaluation import lm_tasks as lm_eval_tasks
from hfprune.files import read_json
from hfprune.measurement import RESERVED, Measure
from hfprune.models import head, load
from hfprune.plans.planning import load_plan, save_plan
from hfprune.scoring.score_files import save_resampled
from hfprune.stages.measure import CellFiles, ScoredBy
from hfprune.study.study import StudyMeasure

TEXT = {"corpus": "corpora/text", "sequences": 3, "length": 24}
FLAGS = "--model mine --corpus corpora/text --sequences 3 --length 24"
PIQA = "measure zeroshot --model mine --tasks tasks/piqa --out"


def cells(measures: dict, *entries: dict) -> tuple[str, str]:
    settings = {"model": "mine", "measures": measures, "cells": entries}
    return "measure --settings", json.dumps(settings, default=str)


def count(folder: Path, name: str) -> int:
    return read_json(folder / f"{name}.json")["values"][0]["n"]


def test_evaluate_keeps_what_is_finished_and_current(work: Path, tmp_path: Path, capfd, caplog) -> None:
    result, items = tmp_path / "zeroshot/piqa.json", tmp_path / "zeroshot/piqa.parquet"
    run(PIQA, tmp_path)
    first = result.read_bytes()
    said = capfd.readouterr()
    assert re.search(r"^piqa +acc +0\.\d+ +0\.\d+ +8$", said.out, re.MULTILINE)
    assert "fatal" not in said.err
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    run(PIQA, tmp_path)
    assert "piqa is already there" in capfd.readouterr().err
    assert result.read_bytes() == first
    # Other settings; items that are gone, since the JSON alone is no finished result; half a JSON.
    for spoil in (lambda: None, items.unlink, lambda: result.write_text('{"half')):
        spoil()
        run(PIQA, tmp_path, "--documents", 5)
        assert count(tmp_path, "zeroshot/piqa") == 5 and items.exists()


@pytest.mark.parametrize("measure", ["zeroshot", "tasks"])
def test_evaluate_that_dies_goes_on_with_the_next_task(
    measure: str, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    call = f"measure {measure} --model mine --tasks tasks/piqa tasks/arc_easy --out {tmp_path}/out"
    plain = lm_eval_tasks.evaluate_task

    def die(model, manager, name, *rest, **named):
        return killed() if name == "arc_easy" else plain(model, manager, name, *rest, **named)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(lm_eval_tasks, "evaluate_task", die)
        run(call)
    assert not (tmp_path / "out" / measure).exists(), "an unfinished cell has no results"
    capsys.readouterr()
    run(call)
    assert "piqa is already there" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out" / measure).iterdir()} == {
        f"{task}.{suffix}" for task in ("piqa", "arc_easy") for suffix in ("json", "parquet")
    }
    assert [path.name for path in (tmp_path / "out").iterdir()] == [measure]


def test_what_a_killed_run_with_other_settings_left_replaces_nothing(work: Path, tmp_path: Path) -> None:
    run(PIQA, tmp_path / "out")
    before = (tmp_path / "out/zeroshot/piqa.json").read_bytes()
    run(PIQA, tmp_path / "other", "--documents", 5)
    (tmp_path / "out/.zeroshot.state").mkdir()
    (tmp_path / "other/zeroshot").rename(tmp_path / "out/.zeroshot.state/zeroshot")
    run(PIQA, tmp_path / "out")
    assert (tmp_path / "out/zeroshot/piqa.json").read_bytes() == before


@pytest.mark.parametrize(
    ("call", "other", "record", "writes"),
    [
        (SCORE, "--sequences 2", "it.json", "scoring.score_files.save_scores"),
        (
            "linear --model mine --blocks blocks.safetensors --plan plan.safetensors --out",
            "--ridges 0.5",
            "it/recovery.json",
            "recovery.solved.save_solved",
        ),
        (f"measure perplexity {FLAGS} --out", "--sequences 2", "it/perplexity.json", ""),
    ],
    ids=["score", "linear", "measure"],
)
def test_a_record_is_never_beside_files_that_it_is_not_about(
    call: str, other: str, record: str, writes: str, work: Path, tmp_path: Path, monkeypatch
) -> None:
    """A kill between the two must not let older settings take the newer files for their own."""
    out = tmp_path / ("it.safetensors" if call == SCORE else "it")
    run(call, out)
    assert (tmp_path / record).exists()
    move = Path.replace
    if writes:
        monkeypatch.setattr(f"hfprune.{writes}", killed)
    else:  # while it moves what was measured to its place
        monkeypatch.setattr(Path, "replace", lambda a, b: killed() if Path(b).parent == out else move(a, b))
    with pytest.raises(SystemExit):
        run(call, out, *other.split())
    assert not (tmp_path / record).exists()


def test_cell_equals_its_measures_one_by_one(work: Path, tmp_path: Path, capfd) -> None:
    """Also on resampled plans; and only what is missing or has another setting is measured again."""
    measures = {
        "perplexity": TEXT,
        "zeroshot": {"tasks": ["tasks/piqa"]},
        "other": TEXT | {"measure": "fidelity", "sequences": 2},
        "fidelity": TEXT,
    }
    plan = load_plan(work / "plan.safetensors")
    others = [{place: torch.arange(len(kept)) for place, kept in plan.items()}, plan, plan]
    save_resampled(tmp_path / "resampled.safetensors", others, {})
    files = {"plan": "plan.safetensors", "resampled": tmp_path / "resampled.safetensors"}
    alone = ("--plan", "plan.safetensors", "--out", tmp_path / "alone")

    def take(**measures: dict) -> str:
        capfd.readouterr()
        run(*cells(measures, files | {"out": tmp_path / "cell"}))
        return capfd.readouterr().err

    take(**measures)
    for name in ("perplexity", "fidelity"):
        run(f"measure {name} {FLAGS} --resampled", files["resampled"], *alone)
    run(PIQA, *alone[-1:], *alone[:2])
    for stem, same in (
        ("perplexity", ("settings", "inputs")),
        ("fidelity", ("settings", "inputs")),
        ("zeroshot/piqa", ("settings",)),
    ):
        ours, theirs = (read_json(tmp_path / folder / f"{stem}.json") for folder in ("cell", "alone"))
        assert ours["values"] == theirs["values"]
        assert all(ours["provenance"][key] == theirs["provenance"][key] for key in same)
        items = (pd.read_parquet(tmp_path / folder / f"{stem}.parquet") for folder in ("cell", "alone"))
        pd.testing.assert_frame_equal(*items)
    assert count(tmp_path / "cell", "other") == 2
    assert {path.stem for path in (tmp_path / "cell").iterdir()} == {*measures}

    (tmp_path / "cell/fidelity.parquet").unlink()
    before = (tmp_path / "cell/other.json").read_bytes()
    said = take(**measures | {"perplexity": TEXT | {"sequences": 2}})
    assert [line for line in said.splitlines() if "already there" in line] == [
        "zeroshot: piqa is already there",
        "other: text is already there",
    ]
    assert (tmp_path / "cell/other.json").read_bytes() == before
    assert count(tmp_path / "cell", "perplexity") == 2
    assert (tmp_path / "cell/fidelity.parquet").exists()


def test_cells_of_one_process_equal_each_alone(work: Path, tmp_path: Path, capfd, monkeypatch) -> None:
    """The dense model reads once, one model is in memory at a time, and a failure costs no other results."""
    measures = {"fidelity": TEXT, "perplexity": TEXT}
    other = {place: kept[1:] for place, kept in load_plan(work / "plan.safetensors").items()}
    save_plan(tmp_path / "other.safetensors", other, {})
    plans = {"one": "plan.safetensors", "two": tmp_path / "other.safetensors"}
    found = {
        name: {"plan": plan, "cell": f"study/mine/{name}/c4/8/0.2/0/none"} for name, plan in plans.items()
    }
    together = [entry | {"out": tmp_path / "together" / name} for name, entry in found.items()]
    # Its adapter was trained on the other plan.
    failing = found["two"] | {"adapter": "adapter", "out": tmp_path / "failing"}
    read, last_states = [], head.last_states
    monkeypatch.setattr(head, "last_states", lambda *given: read.append(1) or last_states(*given))
    loaded, load_model = [], load.load_model

    def watched(*given: object, **more: object) -> object:
        assert not any(model() for model in loaded), "an earlier model is still in memory"
        model = load_model(*given, **more)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr(load, "load_model", watched)
    line = failure(*cells(measures, together[0], failing, together[1]))
    assert "this recovery was made for another plan" in line
    assert len(read) == 1 and not list(tmp_path.glob("together/*/*.json"))
    capfd.readouterr()
    run(*cells(measures, *together))
    assert capfd.readouterr().err.count("its result is already there") == 0
    for name, entry in found.items():
        run(*cells(measures, entry | {"out": tmp_path / "alone" / name}))
        for file in (f"{name}/fidelity.json", f"{name}/perplexity.json"):
            ours, alone = (read_json(tmp_path / side / file) for side in ("together", "alone"))
            assert ours["values"] == alone["values"]
            assert ours["cell"] == alone["cell"] and ours["cell"]["method"] == name
    assert not [*tmp_path.glob("together/*/.*.state")]


def test_nothing_is_measured_where_a_method_is_not_applicable(work: Path, tmp_path: Path, capsys) -> None:
    """At 2 % no key-value group of two can go: the plan says so, and so do the measurement and the recovery."""
    both = ("--units", '["neurons", "key_value_groups"]')
    scores, plan = tmp_path / "scores.safetensors", tmp_path / "plan.safetensors"
    run(SCORE, scores, *both)
    run("plan --model mine --ratio 0.02 --scores", scores, *both, "--out", plan)
    reason = "keeps 2 of 2 key-value groups in every layer at 2 %"
    assert f"not applicable: the method {reason}" in capsys.readouterr().out
    size = read_json(plan.with_suffix(".json"))
    assert {"metric": "not_applicable", "value": 1.0, "stderr": None, "n": None} in size["values"]
    run(f"measure perplexity {FLAGS} --plan", plan, "--out", tmp_path / "out")
    found = read_json(tmp_path / "out/perplexity.json")
    assert (found["values"], found["not_applicable"]) == ([], reason)
    assert pd.read_parquet(tmp_path / "out/perplexity.parquet").empty
    run(recover(f"--plan {plan}"), tmp_path / "adapter")
    recovered = read_json(tmp_path / "adapter/recovery.json")
    assert (recovered["values"], recovered["not_applicable"]) == ([], reason)


def test_the_cost_of_scoring_is_measured_alone_and_repeated(work: Path, tmp_path: Path) -> None:
    scored = "--blocks blocks.safetensors --criterion distillation --options '{\"warm_start\": 0.1}'"
    run(f"measure cost --model mine {scored} --sequences 2 --repeats 3 --out", tmp_path)
    found = read_json(tmp_path / "cost.json")
    seconds, memory = found["values"]
    assert seconds["n"] == 3 and seconds["value"] > 0 < seconds["stderr"]
    # Resident memory only rises, so its rounds are no repeats: one number, and no claim is judged on it.
    assert (memory["stderr"], memory["n"]) == (None, None) and memory["value"] > 0
    assert found["cell"]["method"] == "distillation" and found["cell"]["ratio"] is None
    assert found["provenance"]["settings"]["scoring"]["options"]["warm_start"] == 0.1


def test_a_setting_cannot_have_the_name_of_a_flag_or_of_a_key_of_a_study() -> None:
    flags = ModelFlags.model_fields.keys() | CellFiles.model_fields.keys() | ScoredBy.model_fields.keys()
    assert flags | StudyMeasure.model_fields.keys() == RESERVED
    with pytest.raises(TypeError, match="Clash: a setting cannot be called 'seed'; rename it"):
        type("Clash", (Measure,), {"__module__": __name__, "__annotations__": {"seed": int}})
