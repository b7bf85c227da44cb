"""What is said before a call begins: what to expect of a model, and how long it takes."""

import re
from pathlib import Path

import committed
import pytest
import yaml
from command_line import run

from hfprune.cost import foretold as foretelling
from hfprune.cost import timed as timing
from hfprune.cost.costs import nominal_seconds
from hfprune.cost.foretold import TRUSTED, Foretold, about
from hfprune.cost.timed import PACE, TimedCpu
from hfprune.cost.work import Work
from hfprune.cost.workload import CONTEXT
from hfprune.devices.known import UTILISATION, known_devices
from hfprune.files import write_json
from hfprune.measurement import DECODED
from hfprune.models.shape import known_shapes
from hfprune.pruning import expectation
from hfprune.pruning.config import Pruning
from hfprune.pruning.expectation import expected, loaded_by, measured_losses, of_which_precision
from hfprune.pruning.recipe import RECIPES, chosen
from hfprune.pruning.sample import STEPS
from hfprune.results.effect_rows import read_effects
from hfprune.settings import load
from hfprune.study.study import Study


def test_what_is_expected_is_what_was_measured_of_the_default_recipe() -> None:
    """A new default must be measured first."""
    folder = committed.results_of("recipe")
    study = load(Study, folder / "study.yaml")
    content = yaml.safe_load(Path(expectation.__file__).with_suffix(".yaml").read_text())
    best = RECIPES["best"]
    assert content["recipe"] == {
        "criterion": best.criterion,
        "allocation": best.allocation.rule,
        "linear": best.linear,
    }
    measured = study.methods["fisher_global"]
    assert (measured.criterion, measured.allocation) == (best.criterion, best.allocation)
    assert study.calibrations["mix"].corpus == content["calibrated_on"]
    rows = read_effects(folder / "effects.csv")
    rows = rows.query("question == 'dense' and method == 'fisher_global' and calibration == 'mix'")
    assert {*measured_losses()} == {*study.models}
    measures = {"Wikipedia": "perplexity", "C4": "perplexity_c4"}
    for model, losses in measured_losses().items():
        of_model = rows[rows["model"] == model]
        assert {*of_model["ratio"]} == {losses["ratio"]}
        for text, rise in losses["perplexity"].items():
            (row,) = of_model[of_model["measure"] == measures[text]][["value", "low", "high"]].to_numpy() - 1
            assert rise == pytest.approx(row.tolist(), abs=5e-4)
        worst = of_model[of_model["task"] != ""].nlargest(1, "value").iloc[0]
        ends = worst[["value", "low", "high"]].astype(float).tolist()
        assert losses["capability"] == {worst["task"]: pytest.approx(ends, abs=5e-4)}


SMOL, QWEN = "smollm2-135m-instruct-q4", "qwen2.5-coder-0.5b-instruct-q4"


@pytest.mark.parametrize("limit", [{"ratio": 0.2}, {"ratio": 0.12}, {"ratio": "auto", "max_loss": "20%"}])
def test_what_to_expect_names_study_texts_and_model(limit: dict) -> None:
    asked = Pruning.model_validate({"model": QWEN, "out": "x", "text": "code-mix"} | limit)
    sentence = expected(asked, measured_losses()[QWEN]["parameters"])
    assert sentence == (
        f"what to expect of {QWEN}: in the study recipe, removing 20 % of the parameters by the default recipe "
        "in bfloat16, calibrated on general-mix, raised perplexity by 28 % (22 to 34) on Wikipedia and by 24 % "
        "(20 to 28) on C4; of all capabilities, code lost most, +0.30 (+0.16 to +0.47) bits per byte of right "
        "answers. This call calibrates on code-mix, which the study did not measure: the losses may be far from "
        "these"
    )
    changed = asked.model_copy(update={"criterion": "magnitude"})
    assert expected(changed, measured_losses()[QWEN]["parameters"]) == "", "another recipe"


@pytest.mark.parametrize("model", ["mine", "./models/mine", "HuggingFaceTB/SmolLM2-135M"])
def test_nothing_is_expected_of_other_models(model: str) -> None:
    asked = Pruning(model=model, out=Path("x"), ratio=0.2)
    assert expected(asked, measured_losses()[SMOL]["parameters"]) == ""
    renamed = Pruning(model=f"mine/{SMOL}", out=Path("x"), ratio=0.2)
    assert expected(renamed, 1_000_000) == "", "another model of the same name"


@pytest.mark.parametrize(
    ("flags", "plainly"),
    [({}, False), ({"plain": True}, True), ({"criterion": "magnitude"}, True), ({"align": 32}, False)],
)
def test_what_will_load_the_result_is_said(flags: dict, plainly: bool) -> None:
    asked = Pruning.model_validate({"model": "m", "out": "x", "ratio": 0.2} | flags)
    said = loaded_by(asked.plain, chosen(asked).allocation)
    assert (
        ("--plain" not in said) == plainly == said.startswith("what will load the result: `from_pretrained`")
    )
    assert "\n" not in said


def test_a_gguf_file_is_named_where_sizes_are_of_float32(tmp_path: Path) -> None:
    asked = Pruning(model="m", out=Path("x"), ratio=0.2)
    assert of_which_precision(asked, tmp_path) == []
    for form, said in (("transformers", 0), ("gguf", 1)):
        write_json(tmp_path / "asset.json", {"entry": {"format": form}})
        assert len(of_which_precision(asked, tmp_path)) == said
    (line,) = of_which_precision(asked, tmp_path)
    assert line.startswith(
        "Sizes in bytes are not those of the GGUF file from which the model comes: the dense model's are of "
        "float32, into which it was converted, the pruned one's of float32. "
    )


def test_a_config_may_name_its_fields_as_the_models_own_code(tmp_path: Path) -> None:
    shape = {"num_layers": 3, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
    write_json(tmp_path / "config.json", {"model_type": "exaone", "vocab_size": 32} | shape)
    found = foretelling._shape("mine", tmp_path)
    assert (found.layers, found.hidden, found.neurons, found.vocabulary) == (3, 16, 24, 32)


def test_what_is_left_follows_the_pace_of_the_steps_that_were_taken() -> None:
    foretold = Foretold()
    foretold.left = {"score": 60.0, "linear": 240.0, "measure dense": 180.0, "sample": 120.0}
    foretold.comparing = {"measure dense", "sample"}
    assert foretold.to_go() == "", "nothing before the announcement"
    assert foretold.announced().startswith(
        "about 5 minutes to the model, then about 5 minutes to the end of the comparison"
    )
    foretold.done("score", 3 * 60.0)
    pace = (TRUSTED + 180) / (TRUSTED + 60)
    assert foretold.minutes(comparing=False) == pytest.approx(4 * pace)
    assert foretold.to_go() == f" (about {9 * pace:.0f} minutes to go)", "kinds that are new go as all did"
    foretold.done("linear", None)
    assert foretold.to_go() == f" (about {5 * pace:.0f} minutes to go)", "what was there says nothing"


def test_a_kind_of_step_has_a_pace_of_its_own() -> None:
    foretold = Foretold()
    foretold.left = {"score": 600.0, "measure dense": 600.0, "measure pruned": 600.0, "linear": 600.0}
    foretold.done("score", 1800.0)
    foretold.done("measure dense", 300.0)
    overall = (TRUSTED + 2100) / (TRUSTED + 1200)
    measuring = (TRUSTED * overall + 300) / (TRUSTED + 600)
    assert measuring < 0.62 < 1.7 < overall
    assert foretold.minutes(comparing=False) == pytest.approx(10 * (measuring + overall))


def test_minutes_are_whole_ones() -> None:
    said = [about(minutes) for minutes in (0, 0.4, 0.6, 1.4, 1.6, 12.3)]
    one = "about 1 minute"
    assert said == [*["less than a minute"] * 2, one, one, "about 2 minutes", "about 12 minutes"]


def test_steps_of_decoding_take_the_time_of_their_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timed, of all weights that a token meets, as the MLPs' take; by the table, of `DECODED` tokens."""
    shape = known_shapes()["qwen2.5-0.5b"]
    monkeypatch.setattr(timing, "LAYER", 0.0)
    monkeypatch.setattr(timing, "TEXT", 0.0)
    one, many = STEPS
    mlps = 3 * 896 * 4864 * 24 * 2  # bytes in bfloat16
    bandwidth = 1e10
    timed = {"bfloat16": {one: mlps / bandwidth, many: 2 * mlps / bandwidth}}
    monkeypatch.setattr(timing, "step_seconds", lambda *_: timed)
    read = shape.weights("bfloat16")  # its head is its embedding
    work = Work(dtype="bfloat16", steps={one: 3, many: 5}, products=shape.products)
    assert TimedCpu(Path("m"), shape).seconds("sample", work) == pytest.approx((3 + 2 * 5) * read / bandwidth)
    a100 = known_devices()["a100-80"]
    expected = 8 * DECODED * read / (UTILISATION * a100.bfloat16)
    assert nominal_seconds(a100, work) == pytest.approx(expected)
    assert nominal_seconds(a100, Work(1e15, "bfloat16")) == 1e15 / (UTILISATION * a100.bfloat16)


def test_a_text_is_foretold_to_be_read_once_by_each_model(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other measures of it take the head alone, as does the dense model beside the pruned one."""
    left, cpus = {}, []
    announced = Foretold.announced

    def watched(self: Foretold) -> str:
        left.update(self.left)
        cpus.append(self._timed)
        return announced(self)

    monkeypatch.setattr(Foretold, "announced", watched)
    monkeypatch.setattr(timing, "LOGIT", 0.0)
    monkeypatch.setattr(TimedCpu, "peak", lambda *_: 1e8)
    run(f"{call} --quick --out {tmp_path}/out")
    dense, tokens = cpus[0].shape, 96 * 128
    cut, head = dense.pruned(0.15), 2 * tokens * dense.hidden * dense.vocabulary
    each = PACE["measure"] / (UTILISATION * 1e8)
    for title, operations in (
        ("measure dense", dense.forward(tokens, CONTEXT) + head),
        ("measure pruned", cut.forward(tokens, CONTEXT) + 3 * head),
    ):
        assert left[title] == pytest.approx(each * operations, rel=1e-4), "to the reading of the weights"


def test_a_resumed_call_foretells_what_is_left(
    call: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    announced = Foretold.announced
    monkeypatch.setattr(Foretold, "announced", lambda self: calls.append({*self.left}) or announced(self))
    run(f"{call} --no-compare --out {tmp_path}/out")
    run(f"{call} --quick --out {tmp_path}/out")
    first, second = calls
    assert {"score", "plan", "export"} <= first and "measure dense" not in first
    assert {"measure dense", "measure pruned", "sample"} <= second and not second & {"score", "plan"}
    assert "about 0" not in capsys.readouterr().err


def test_every_step_of_a_sweep_is_foretold(
    call: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = {}
    announced = Foretold.announced
    monkeypatch.setattr(Foretold, "announced", lambda self: left.update(self.left) or announced(self))
    run(f"{call.replace('--ratio 0.15', '--max-loss 50%')} --linear --quick --out {tmp_path}/out")
    printed = capsys.readouterr().err
    (line,) = re.findall(r"^(?:less|about) .* to the model, then .*$", printed, re.MULTILINE)
    first = printed.index(line)
    after = re.findall(r"\[\d+/\d+\] ([a-z0-9. ]+): ", printed[first:])
    assert len(after) == len({*after}), "nothing is said of what the sweep has done"
    numbers = [
        tuple(map(int, pair)) for pair in re.findall(r"^\[(\d+)/(\d+)\] [^:]*…", printed, re.MULTILINE)
    ]
    assert numbers == [(place, len(numbers)) for place in range(1, len(numbers) + 1)], (
        "one count for the call"
    )
    assert {*left} <= {*after}
    long = {
        "score",
        "linear",
        "measure",
        "measure dense",
        "measure pruned",
        "measure reconstructed",
        "sample",
    }
    assert {title for title, seconds in left.items() if seconds > 0} == long
