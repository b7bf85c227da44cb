"""`--device-map auto`: the same results with layers in memory and on disk, and what is refused."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from command_line import failure, run
from smoke import write_requests

from hfprune.models import load
from hfprune.models.spread import is_offloaded
from hfprune.scoring.scores import load_scores

# The model has some 200 kB in float32.
SPREAD = ("--device-map", "auto", "--max-memory", "cpu=120KB")
RECORDED = {"device_map": "auto", "max_memory": {"cpu": "120KB"}}


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each model that a command loads is offloaded."""
    found: list[bool] = []
    monkeypatch.setattr(load, "meter", lambda model: found.append(is_offloaded(model)))
    return found


def made(path: Path) -> dict:
    return json.loads(path.read_text())["provenance"]


def test_scores_are_the_same_and_record_the_place(work: Path, tmp_path: Path, loaded: list[bool]) -> None:
    call = ("score", "--model", work / "mine", "--blocks", work / "blocks.safetensors")
    call = (*call, "--criterion", "entropy", "distillation", "magnitude")
    for folder, flags in (("plain", ()), ("spread", SPREAD)):
        run(*call, *flags, "--out", tmp_path / folder / "{method}.safetensors")
    assert loaded == [False, True]
    for name in ("entropy", "distillation", "magnitude"):
        plain, spread = (
            load_scores(tmp_path / folder / f"{name}.safetensors") for folder in ("plain", "spread")
        )
        for place, expected in plain.items():
            atol = 1e-5 * float(expected.abs().mean())
            torch.testing.assert_close(spread[place], expected, rtol=1e-5, atol=atol)
        before, after = (made(tmp_path / folder / f"{name}.json") for folder in ("plain", "spread"))
        assert RECORDED.items() <= after.items() and not RECORDED.keys() & before.keys()
        assert before["settings"] == after["settings"], "the place changes no result, so it makes none again"


def test_measures_of_a_plan_are_those_of_the_sliced_model(
    work: Path, tmp_path: Path, loaded: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = ((f"The harbour had {n} houses and", f" {n} wells") for n in range(4))
    write_requests(tmp_path / "requests/facts", facts)
    text = ("--corpus", work / "corpora/text", "--sequences", 3, "--length", 24)
    measures = {
        "fidelity": text,
        "perplexity": text,
        "zeroshot": ("--tasks", work / "tasks/piqa"),
        "gold_bpb": ("--groups", json.dumps({"facts": ["facts"]}), "--resources", tmp_path),
    }
    target = ("--model", work / "mine", "--plan", work / "plan.safetensors")
    for name, settings in measures.items():
        for folder, flags in (("plain", ()), ("spread", SPREAD)):
            run("measure", name, *settings, *target, *flags, "--out", tmp_path / folder)
        assert loaded == [False, True], name
        loaded.clear()
        stem = {"zeroshot": "zeroshot/piqa", "gold_bpb": "gold_bpb/facts"}.get(name, name)
        plain, spread = (
            pd.read_parquet(tmp_path / folder / f"{stem}.parquet") for folder in ("plain", "spread")
        )
        numbers = plain.select_dtypes("number")
        assert len(numbers.columns) and len(numbers)
        pd.testing.assert_frame_equal(spread[numbers.columns], numbers, rtol=1e-4, atol=1e-5)
        assert RECORDED.items() <= made(tmp_path / "spread" / f"{stem}.json").items()
        assert not RECORDED.keys() & made(tmp_path / "plain" / f"{stem}.json").keys()
    for folder, flags in (("plain", ()), ("spread", SPREAD)):
        run("measure", "distributions", *text, "--model", work / "mine", *flags, "--out", tmp_path / folder)
    assert loaded == [False, True]
    files = [tmp_path / folder / "distributions.parquet" for folder in ("plain", "spread")]
    plain, spread = (pd.read_parquet(file).select_dtypes("number") for file in files)
    pd.testing.assert_frame_equal(spread, plain, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_is_one_line_before_a_model_is_loaded(
    work: Path, adapter: Path, tmp_path: Path, loaded: list[bool]
) -> None:
    model, out = ("--model", work / "mine"), ("--out", tmp_path / "x")
    scoring = ("score", *model, "--blocks", work / "blocks.safetensors", "--criterion", "entropy")
    scoring = (*scoring, "--out", tmp_path / "x.safetensors")
    assert "--max-memory: 'gpu0' is no device" in failure(*scoring, *SPREAD[:3], "gpu0=1GB")
    assert "--max-memory: '1 pound', the size of cpu" in failure(*scoring, *SPREAD[:3], "cpu=1 pound")
    assert "--max-memory: '', the size of cpu" in failure(*scoring, *SPREAD[:3], "cpu")
    assert "there is no GPU 77" in failure(*scoring, *SPREAD[:3], "77=1GB")
    assert "max_memory limits a device_map" in failure(*scoring, *SPREAD[2:])
    assert "remove --device-map" in failure(*scoring, "--plan", work / "plan.safetensors", *SPREAD)
    text = ("--corpus", work / "corpora/text", "--sequences", 3, "--length", 24)
    recovered = ("--plan", work / "plan.safetensors", "--adapter", adapter)
    assert "--adapter is merged" in failure("measure", "perplexity", *text, *model, *recovered, *SPREAD, *out)
    assert "latency takes a model on one device" in failure("measure", "latency", *model, *SPREAD, *out)
    assert loaded == [] and not [*tmp_path.iterdir()]
