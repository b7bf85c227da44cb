"""What is said before a call begins: what to expect of a model, and how long it takes."""

import re
from pathlib import Path

import committed
import pytest
import yaml
from command_line import run
from smoke import ROOT

from hfprune.cost.costs import CONTEXT
from hfprune.devices.known import UTILISATION, known_devices
from hfprune.files import write_json
from hfprune.measurement import DECODED
from hfprune.models.shape import known_shapes
from hfprune.pruning import expectation
from hfprune.pruning import foretold as foretelling
from hfprune.pruning.config import Pruning
from hfprune.pruning.expectation import expected, known_losses, of_which_precision
from hfprune.pruning.foretold import PACE, TRUSTED, Foretold, Speed
from hfprune.pruning.recipe import RECIPES
from hfprune.pruning.sample import STEPS
from hfprune.results.effect_rows import read_effects
from hfprune.settings import load
from hfprune.study.study import Study


def test_what_is_expected_is_what_was_measured_of_the_default_recipe() -> None:
    """In the sentence and in README; a new default must be measured first."""
    recipe = yaml.safe_load(Path(expectation.__file__).with_suffix(".yaml").read_text())["recipe"]
    assert load(Study, committed.results_of("recipe-confirm") / "study.yaml").dtype == "bfloat16", (
        "as is said"
    )
    best = RECIPES["best"]
    assert recipe == {"criterion": best.criterion, "allocation": best.allocation.rule, "linear": best.linear}
    measured = load(Study, committed.results_of("recipe-confirm") / "study.yaml").methods["best"]
    assert (measured.criterion, measured.allocation) == (best.criterion, best.allocation)
    rows = read_effects(committed.results_of("recipe-confirm") / "effects.csv")
    rows = rows.query(
        "question == 'dense' and measure == 'perplexity' and method == 'best' and recovery == 'linear'"
    )
    readme = (ROOT / "README.md").read_text()
    for model, known in known_losses().items():
        found = rows[rows["model"] == model].sort_values("ratio")
        assert [*known["loss"]] == [*found["ratio"]]
        ends = found[["value", "low", "high"]].to_numpy() - 1
        assert [*known["loss"].values()] == [pytest.approx(row, abs=5e-4) for row in ends.tolist()]
        shown = [f"{x:.0f} % ({low:.0f} to {high:.0f})" for x, low, high in 100 * ends]
        assert f"|`{model}`|{'|'.join(shown)}|" in readme


SMOL, QWEN = "smollm2-135m-instruct-q4", "qwen2.5-coder-0.5b-instruct-q4"


@pytest.mark.parametrize(
    ("model", "limit", "said"),
    [
        (
            SMOL,
            {"ratio": 0.2},
            "removing 20 % of the parameters raised perplexity by 46 % (41 to 51); this",
        ),
        (SMOL, {"ratio": 0.12}, "removing 10 % of the parameters raised perplexity by 12 % (9 to 14)"),
        (SMOL, {"max_loss": "5%"}, "less than 10 % of the parameters could be removed for a rise"),
        (
            QWEN,
            {"max_loss": "30%"},
            "20 % of the parameters could be removed for a rise of perplexity within 30 %",
        ),
    ],
)
def test_what_to_expect_names_study_text_and_model(model: str, limit: dict, said: str) -> None:
    asked = Pruning.model_validate({"model": model, "out": "x", "text": "general-mix"} | limit)
    found = expected(asked, known_losses()[model]["parameters"])
    assert said in found
    assert found.startswith(
        f"what to expect of {model}: in the study recipe-confirm, calibrated on Wikipedia and read on other pages"
    )
    assert found.endswith("this call calibrates on general-mix, which gives other numbers")
    others = known_losses().keys() - {model}
    assert not [other for other in others if other in found], "nothing of another model"


@pytest.mark.parametrize("model", ["mine", "./models/mine", "HuggingFaceTB/SmolLM2-135M"])
def test_nothing_is_expected_of_other_models(model: str) -> None:
    asked = Pruning(model=model, out=Path("x"), ratio=0.2)
    assert expected(asked, known_losses()[SMOL]["parameters"]) == ""
    renamed = Pruning(model=f"mine/{SMOL}", out=Path("x"), ratio=0.2)
    assert expected(renamed, 1_000_000) == "", "another model of the same name"


def test_a_gguf_file_is_named_where_sizes_are_of_float32(tmp_path: Path) -> None:
    asked = Pruning(model="m", out=Path("x"), ratio=0.2)
    assert of_which_precision(asked, tmp_path) == []
    for form, said in (("transformers", 0), ("gguf", 1)):
        write_json(tmp_path / "asset.json", {"entry": {"format": form}})
        assert len(of_which_precision(asked, tmp_path)) == said
    (line,) = of_which_precision(asked, tmp_path)
    assert line.startswith(
        "Sizes in bytes are of float32, dense and pruned alike: the model comes from a GGUF file"
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
        "about 5.0 minutes to the model, then about 5.0 to the end of the comparison"
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


def test_steps_of_decoding_take_the_time_of_their_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor all that a token meets count, as long as the MLPs' take; on a GPU it is as costs have it."""
    shape = known_shapes()["qwen2.5-0.5b"]
    monkeypatch.setattr(foretelling, "visible_device", lambda: None)
    monkeypatch.setattr(foretelling, "LAYER", 0.0)
    monkeypatch.setattr(foretelling, "TEXT", 0.0)
    one, many = STEPS
    mlps = 3 * 896 * 4864 * 24 * 2  # bytes in bfloat16
    bandwidth = 1e10
    timed = {"bfloat16": {one: mlps / bandwidth, many: 2 * mlps / bandwidth}}
    monkeypatch.setattr(foretelling, "step_seconds", lambda *_: timed)
    read = shape.weights("bfloat16")  # its head is its embedding
    found = Speed(Path("m"), shape).decoding("bfloat16", {one: 3, many: 5})
    assert found == pytest.approx((3 + 2 * 5) * read / bandwidth)
    a100 = known_devices()["a100-80"]
    monkeypatch.setattr(foretelling, "visible_device", lambda: a100)
    found = Speed(Path("m"), shape).decoding("bfloat16", {one: 3, many: 5})
    assert found == pytest.approx(8 * DECODED * read / (UTILISATION * a100.bfloat16))
    assert Speed(Path("m"), shape).passes("score", "bfloat16", 1e15) == 1e15 / (UTILISATION * a100.bfloat16)


def test_a_text_is_foretold_to_be_read_once_by_each_model(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other measures of it take the head alone, as does the dense model beside the pruned one."""
    left, speeds = {}, []
    announced = Foretold.announced

    def watched(self: Foretold) -> str:
        left.update(self.left)
        speeds.append(self._speed)
        return announced(self)

    monkeypatch.setattr(Foretold, "announced", watched)
    monkeypatch.setattr(foretelling, "LOGIT", 0.0)
    monkeypatch.setattr(Speed, "peak", lambda *_: 1e9)
    run(f"{call} --quick --out {tmp_path}/out")
    dense, tokens = speeds[0].shape, 96 * 128
    cut, head = dense.pruned(0.15), 2 * tokens * dense.hidden * dense.vocabulary
    each = PACE["measure"] / (UTILISATION * 1e9)
    assert left["measure dense"] == pytest.approx(each * (dense.forward(tokens, CONTEXT) + head))
    assert left["measure pruned"] == pytest.approx(each * (cut.forward(tokens, CONTEXT) + 3 * head))


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
    assert "about 1 minutes" not in capsys.readouterr().err


def test_every_step_of_a_sweep_is_foretold(
    call: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = {}
    announced = Foretold.announced
    monkeypatch.setattr(Foretold, "announced", lambda self: left.update(self.left) or announced(self))
    run(f"{call.replace('--ratio 0.15', '--max-loss 50%')} --linear --quick --out {tmp_path}/out")
    printed = capsys.readouterr().err
    (line,) = re.findall(r"^about [\d.]+ minutes to the model, then .*$", printed, re.MULTILINE)
    first = printed.index(line)
    after = re.findall(r"\[\d+/\d+\] ([a-z0-9. ]+): ", printed[first:])
    assert {*after} - {*left} == {"budget", "calibrate", "plan"}, "the same again, and found there"
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
