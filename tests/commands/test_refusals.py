"""Mistakes of users: each is told in one line, and nothing is left behind."""

import os
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from command_line import EXPORT, failure, full_disk, killed, recover, run
from committed import results_of
from smoke import save_model

from hfprune.cells import read_result
from hfprune.errors import HfpruneError
from hfprune.exports import checkpoint as exporting
from hfprune.recovery import lora
from hfprune.stages.budget import neurons_removed

# A command, and under it what its line says; OUT is an empty folder, and TEXT says what is read of a corpus.
REFUSED = """
adopt --model mine --plan plan.safetensors --ratio 0.2 --out x
    --out: must be a file ending in .json, not 'x'
adopt --model mine --ratio 0.2 --out OUT/x.json
    give the other tool's --plan or --checkpoint
adopt --model mine --checkpoint corpora --ratio 0.2 --out OUT/x.json
    corpora: not a model folder, as `hfprune fetch` makes it: it has no config.json
adopt --model mine --plan plan.safetensors --linear adapter --ratio 0.2 --out OUT/x.json
    --linear is for plans of hfprune; leave it out for another tool's
budget --model mine --ratios 0.2 --spare 1 2
    --spare has more numbers than --units has kinds: give one for each of --units
budget --model mine --ratios 0.1 0.99
    at most 0.
budget --model unheard --ratios 0.2
    config.json is not of a language model
budget --model broken --ratios 0.2
    config.json is not of a language model
budget --model mine --ratios 0.2 --out OUT
    OUT: Is a directory
calibrate --model mine --corpus corpora/text --sequences 2 --length 0 --out OUT/x.safetensors
    --length: must be greater than 1, not '0'
effects --results cut
    cut/results.csv: lacks 
cost --study typo.yaml
    typo.yaml: methods.distilation: unknown criterion 'distilation'; did you mean 'distillation'?
export --model mine --out OUT/x
    give --plan or --checkpoint, --adapter, or both
export --model mine --plan my.safetensors --out OUT/x
    --plan: my.safetensors: no such file or folder
export --model mine --adapter adapter --plan other.safetensors --out OUT/x
    this recovery was made for another plan
fetch tasks/pika --catalogue assets.yaml
    did you mean 'tasks/piqa'
measure fidelty --model mine --out OUT
    unknown measure 'fidelty'; did you mean 'fidelity'?
figures --results older --only answers --out OUT/f
    older/answers.csv: has no column 'model': another version or another program wrote it; run
measure perplexity --model mine --checkpoint mine --plan plan.safetensors TEXT --out OUT
    give --plan or --checkpoint, not both
measure perplexity --model mine --linear adapter TEXT --out OUT
    --linear needs the --plan that it was solved for
measure perplexity --model mine TEXT --out plan.json
    plan.json/perplexity.json: Not a directory
measure perplexity --model mine --corpus c --sequences 2 --length 8 --name 'c4 test' --out OUT
    --name: String should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]*$', not 'c4 test'
measure perplexity --model mine --corpus OUT --sequences 1 --length 9 --out OUT/p
    no text 'OUT': not a folder with corpus.arrow, a .txt
measure perplexity --model mine --resampled plan.safetensors TEXT --out OUT
    --resampled needs --plan
measure perplexity --model mine --plan plan.safetensors --resampled plan.json TEXT --out OUT
    plan.json: not resampled scores or plans; make them with
measure zeroshot --model mine --tasks OUT/arc_easy --out OUT/r
    no such file or folder; did you mean 'arc_easy'?
measure zeroshot --model mine --tasks tasks/piqa --plan plan.safetensors --resampled plan.safetensors --out OUT
    zeroshot: not measured on resampled plans
measure cost --model mine --criterion entropy --out OUT
    criterion 'entropy' needs --blocks
measure cost --model mine --plan plan.safetensors --criterion entropy --blocks blocks.safetensors --out OUT
    cost measures the dense model: remove --plan, --checkpoint, --instead, --linear, --adapter and --quantised
measure --model mine --settings '{"measures": {"cost": {"sequences": 2}}, "cells": [{"out": "OUT"}]}'
    cost: a measure of scoring, and no other, takes --criterion
measure --model mine --settings '{"measures": {"cost": {}, "fidelity": TEXT}, "cells": [{"out": "OUT"}]}'
    cost must be measured alone
measure --model mine --settings '{"measures": {"fidelity": TEXT}, "cells": [{"out": "OUT"}]}'
    this would be the dense model
measure --model mine --settings '{"measures": {"perplexity": TEXT}, "cells": [{"plam": 1, "out": "OUT"}]}'
    --cells: unknown key 'plam'; did you mean 'plan'?
measure --model mine --settings '{"measures": {"perplexity": TEXT}, "cells": [{"out": "OUT"}, {"out": "OUT"}]}'
    two cells have the same `out`
plan --model mine --scores scores.safetensors --ratio half --out OUT/x.safetensors
    --ratio: must be a valid number, not 'half'
plan --model mine --scores torn.safetensors --ratio 0.2 --out OUT/x.safetensors
    torn.safetensors: truncated, damaged or no safetensors file (Error while deserializing header: 
plan --model mine --scores typo.yaml --ratio 0.2 --out OUT/x.safetensors
    typo.yaml: truncated, damaged or no safetensors file (Error while deserializing header: 
plan --model mine --scores scores.safetensors --ratio 0.2 --cell foo --out OUT/x.safetensors
    --cell: 'foo' is not a cell: give study/model/method/calibration/sequences/ratio/draw/recovery
plan --model mine --scores scores.safetensors --ratio 0.2 --units '["neurons", "layers"]' --out OUT/x.safetensors
    holds no scores of layers
prune --model mine --ratio 0.2 --criterion wanda --options '{"aggregation": "summ"}' --out OUT/p
    --criterion/--options: wanda: unknown key 'aggregation'; known: none
prune --model OUT/nosuch/model --ratio 0.2 --out OUT/p
    no model 'OUT/nosuch/model': no such file or folder
prune --model ./mime --ratio 0.2 --out OUT/p
    no model './mime': no such file or folder
prune --model mine --ratio 0.2 --out /sys/pruned
    --out: cannot write to /sys/pruned: 
export --model mine --plan plan.safetensors --out /sys/pruned
    choose another folder. Nothing was changed
prune --model mine --ratio 0.2 --text corpora/text --length 100000 --no-linear --no-compare --out OUT/p
    cannot fill one block of 100000 tokens
recover --model mine --instructions instructions/pairs --packed pairs.safetensors --out OUT/a
    give either --instructions or --packed
recover --model mine --packed pairs.safetensors --options '{"length": 640}' --out OUT/a
    packed with another length; run `hfprune pack` again
recover --model llama --packed pairs.safetensors --options '{"length": 320}' --out OUT/a
    packed with another model
recover --model mine --packed plan.safetensors --out OUT/a
    not packed pairs; make them with `hfprune pack`
score --model mine --criterion random --options [1] --out OUT/x.safetensors
    --options: must be a JSON object
score --model mine --criterion entropy --out OUT/x.safetensors
    needs --blocks
score --model mine --blocks scores.safetensors --criterion entropy --out OUT/x.safetensors
    not calibration blocks
score --model mine --blocks blocks.safetensors --plan scores.json --criterion entropy --out OUT/x.safetensors
    scores.json: not a plan
score --model mine --blocks blocks.safetensors --plan plan.safetensors --units layers \
    --criterion angular_distance --out OUT/x.safetensors
    --plan: angular_distance chooses all units at once, and cannot go on from a step
score --model mine --blocks blocks.safetensors --criterion brain_surgeon --sizes '{"1": 2}' \
    --out OUT/{draw}.safetensors
    --sizes: brain_surgeon searches anew for each sample; give one size of one sample
score --model mine --criterion random --resamples 1 --out OUT/x.safetensors
    --resamples: one resample has no spread
score --model mine --blocks blocks.safetensors --criterion entropy wanda --out OUT/x.safetensors
    {method}
tables --results foreign --only claims --out OUT/t
    foreign/claims.csv: has no column 'claim': another version or another program wrote it
"""
REFUSALS = [
    tuple(case) for case in zip(*[iter(map(str.strip, REFUSED.strip().splitlines()))] * 2, strict=True)
]
FLAGS = "--corpus corpora/text --sequences 3 --length 24"
TYPO = """{models: [m], methods: [distilation], ratios: 0.2,
calibrations: {c: {corpus: c, sequences: 1, length: 9}},
measures: {latency: {methods: distillation}}}"""
DAMAGED = "cut", "foreign", "older"
JSON = '{"corpus": "text", "sequences": 2, "length": 8}'


@pytest.fixture(scope="module")
def others(made: Path) -> None:
    """What only mistakes need: a plan and pairs of other models, folders that are no models, damaged results."""
    (made / "typo.yaml").write_text(TYPO)
    cut, foreign, older = (shutil.copytree(results_of("dose"), made / one) for one in DAMAGED)
    lines = (cut / "results.csv").read_text().splitlines(keepends=True)
    (cut / "results.csv").write_text("".join(lines[: len(lines) // 2]))
    (foreign / "claims.csv").write_text("x")
    (older / "answers.csv").write_text("task\n")
    (made / "torn.safetensors").write_bytes((made / "scores.safetensors").read_bytes()[:300])
    save_model("llama", made / "llama")
    for name, config in (("unheard", '{"model_type": "unheard_of"}'), ("broken", "{")):
        (made / name).mkdir()
        (made / name / "config.json").write_text(config)
    with chdir(made):
        run("score --model mine --criterion random --out random.safetensors")
        run("plan --model mine --scores random.safetensors --ratio 0.15 --out other.safetensors")
        run("pack --model mine --instructions instructions/pairs --length 320 --out pairs.safetensors")


@pytest.mark.parametrize(("command", "message"), REFUSALS, ids=[command for command, _ in REFUSALS])
def test_mistakes_are_one_line(command, message, work: Path, others: None, tmp_path: Path, capsys) -> None:
    command = command.replace("OUT", str(tmp_path)).replace(
        "TEXT", JSON if "--settings" in command else FLAGS
    )
    line = failure(command)
    assert line.startswith(f"hfprune {command.split()[0]}: error: ")
    assert message.replace("OUT", str(tmp_path)) in line
    assert not [*tmp_path.iterdir()], "nothing is left behind"
    assert "minutes" not in capsys.readouterr().err, "nothing is announced that then is refused"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("score", "--options", "{bad"), "argument --options: not JSON"),
        (
            ("calibrate", "--sampling", "packed"),
            "invalid choice: 'packed' (choose from 'crop', 'pack', 'shuffle')",
        ),
        (("plan", "--model", "m"), "the following arguments are required: --scores, --ratio, --out"),
        (("prune", "--dtype", "float8"), "(choose from 'float32', 'bfloat16', 'float16', 'auto')"),
        (("prune", "--ratoi", "0.2"), "unknown flag --ratoi; did you mean '--ratio'?"),
        (("findings",), "unknown command 'findings'; the repository's own page is made in a clone of it"),
        (("plam",), "unknown command 'plam'; did you mean 'plan'?"),
    ],
)
def test_what_argparse_refuses_ends_with_the_usage(arguments, message, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        run(*arguments)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: hfprune")
    assert message in error


def test_a_short_text_is_a_warning(work: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "x.safetensors"
    run("calibrate --model mine --corpus corpora/text --sequences 99 --length 24 --out", out)
    said = "warning: text fills 48 of {} blocks, so less is read than was asked for: "
    assert said.format(99) in capsys.readouterr().err
    few = "--corpus corpora/text --sequences 100000 --length 24"
    run(f"measure fidelity --model mine --plan plan.safetensors {few} --out {tmp_path}")
    assert capsys.readouterr().err.count(said.format("100,000")) == 1
    assert read_result(tmp_path / "fidelity.json").values[0].n == 48


def test_what_layers_can_reach_neurons_alone_may_not(work: Path, tmp_path: Path) -> None:
    run("budget --model mine --ratios 0.478 --units layers --out", tmp_path / "budget.json")
    with pytest.raises(HfpruneError, match="neurons alone cannot reach the ratio"):
        neurons_removed(tmp_path / "budget.json", "0.478")


def test_what_the_machine_refuses_is_one_line(work: Path, tmp_path: Path, monkeypatch) -> None:
    with full_disk(600):
        short = failure(
            "plan --model mine --scores scores.safetensors --ratio 0.2 --out", tmp_path / "x.safetensors"
        )
    assert short.startswith(f"hfprune plan: error: {tmp_path / 'x.safetensors'}: ")
    assert "File too large" in short
    assert not list(tmp_path.iterdir()), "nothing is left behind"

    def full(*arguments: object, **settings: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has …")

    monkeypatch.setattr(lora, "train_adapter", full)
    assert failure(recover(), tmp_path / "adapter") == (
        "hfprune recover: error: CUDA out of memory; read fewer tokens at a time (--batch-tokens)"
    )
    monkeypatch.setattr(exporting, "export", full)
    assert failure(EXPORT, tmp_path / "e") == "hfprune export: error: CUDA out of memory"


def test_an_interrupt_ends_with_what_to_do(work: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(exporting, "export", killed)
    with pytest.raises(SystemExit) as end:
        run(EXPORT, tmp_path / "e")
    assert end.value.code == 130
    said = "hfprune export: stopped; the same command goes on from what is finished"
    assert capsys.readouterr().err.splitlines()[-1] == said


def test_a_reader_who_stops_early_costs_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as pipe:
        ended = subprocess.run(
            [sys.executable, "-m", "hfprune", "methods"], stdout=pipe, stderr=subprocess.PIPE, text=True
        )
    assert ended.returncode == 1
    assert ended.stderr == ""
