"""What is said before a call begins: what to expect of a model, and how long it takes."""

import re
from pathlib import Path

import committed
import pytest
import yaml
from command_line import run
from smoke import ROOT

from hfprune.analysis.effect_rows import read_effects
from hfprune.pruning import expectation
from hfprune.pruning.config import Pruning
from hfprune.pruning.expectation import expected, known_losses
from hfprune.pruning.foretold import TRUSTED, Foretold
from hfprune.pruning.recipe import RECIPES
from hfprune.settings import load
from hfprune.study.study import Study


def test_what_is_expected_is_what_was_measured_of_the_default_recipe() -> None:
    """In the sentence and in README; a new default must be measured first."""
    recipe = yaml.safe_load(Path(expectation.__file__).with_suffix(".yaml").read_text())["recipe"]
    best = RECIPES["best"]
    assert recipe == {"criterion": best.criterion, "allocation": best.allocation.rule, "linear": best.linear}
    measured = load(Study, ROOT / "config" / "studies" / "recipe-confirm.yaml").methods["best"]
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


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"ratio": 0.2}, "removing 20 % of the parameters raised the perplexity by 46 % with smollm2-135m-"),
        ({"ratio": 0.12}, "removing 10 % of the parameters raised the perplexity by 12 % with smollm2-135m-"),
        (
            {"max_loss": "5%"},
            "within 5 % allowed to remove less than 10 % of smollm2-135m-instruct-q4 (135M) and 10 % of qwen2",
        ),
        (
            {"max_loss": "30%"},
            "within 30 % allowed to remove 10 % of smollm2-135m-instruct-q4 (135M) and 20 % of qwen2",
        ),
    ],
)
def test_what_to_expect_of_a_small_model(limit: dict, said: str) -> None:
    asked = Pruning.model_validate({"model": "m", "out": "x"} | limit)
    assert said in expected(asked, 134_515_008)
    assert expected(asked, 134_515_008).startswith(
        "what to expect: a model of 135 million parameters has few"
    )
    assert expected(asked, 1_500_000_000) == "", "none so large was measured"


def test_what_is_left_follows_the_pace_of_the_steps_that_were_taken() -> None:
    foretold = Foretold()
    foretold.left = {"score": 60.0, "linear": 240.0, "measure dense": 180.0, "sample": 120.0}
    foretold.comparing = {"measure dense", "sample"}
    assert foretold.to_go() == "", "nothing before the announcement"
    assert foretold.announced().startswith(
        "about 5.0 minutes to the model, then about 5.0 for the comparison"
    )
    foretold.done("score", 3 * 60.0)
    pace = (TRUSTED + 180) / (TRUSTED + 60)
    assert foretold.minutes(comparing=False) == pytest.approx(4 * pace)
    assert foretold.to_go() == f" (about {9 * pace:.0f} minutes to go)"
    foretold.done("linear", None)
    assert foretold.to_go() == f" (about {5 * pace:.0f} minutes to go)", "what was there says nothing"


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
