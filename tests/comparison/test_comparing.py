"""A pruned model beside its dense model, after each step, and whether it can be used."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from hfprune.cells import Cell, Result, Value
from hfprune.cells.recovery import Recovery
from hfprune.comparison.before_after import BeforeAfter, Sides, read_sides, timed_on
from hfprune.comparison.rows import rows_of, weight_bytes
from hfprune.comparison.steps import worth_taking
from hfprune.comparison.usability import LOSS, REPETITION, conclusions
from hfprune.pruning.sample import repeated
from hfprune.results.effect_rows import EffectRow

SPEEDS = {
    "prefill_seconds": 0.5,
    "prefill_speedup": 1.5,
    "decode_tokens_per_second": 30,
    "decode_speedup": 1.25,
}


STEPS = {"dense": ("dense", "none"), "pruned": ("wanda", "none"), "reconstructed": ("wanda", "linear")}
STEPS["recovered"] = ("wanda", "linear+lora")


def result(step: str, measure: str, task: str = "text", n: int = 3, **values: float) -> Result:
    method, recovery = STEPS[step]
    cell = Cell("study", "model", method, "c4", 4, 0.2, 0, Recovery(recovery))
    numbers = [Value(name, value, None, n) for name, value in values.items()]
    if measure == "latency":
        return Result(cell, measure, "", numbers, {"settings": {"prompt_tokens": 64}})
    return Result(cell, measure, task, numbers, {"settings": {}})


def files(*results: Result) -> dict[Path, Result]:
    return {Path(f"nowhere/{number}.json"): measured for number, measured in enumerate(results)}


def whole(results: dict[Path, Result], step: str = "pruned", repeated: dict | None = None) -> BeforeAfter:
    return BeforeAfter(rows_of(read_sides(results), step, (1000, 800), (4000, 3200), repeated or {}), step)


def compared(
    results: dict[Path, Result], step: str = "pruned", repeated: dict | None = None
) -> list[EffectRow]:
    return whole(results, step, repeated).rows


def test_numbers_stand_beside_those_of_the_dense_model() -> None:
    results = files(
        result("pruned", "perplexity", perplexity=30),
        result("dense", "perplexity", perplexity=20),
        result("pruned", "fidelity", js_distance=0.25, kl_divergence=1),
        result("pruned", "latency", **SPEEDS),
    )
    results |= {
        Path("nowhere/later"): result("reconstructed", "perplexity", "mine-0123456789ab", perplexity=25)
    }
    results |= {Path("nowhere/last"): result("reconstructed", "perplexity", perplexity=25)}
    assert whole(results).lines() == [
        ["perplexity on text", "20.00", "30.00", "25.00", "3", "+50.0 %"],
        ["JS distance on text (against the dense model)", "", "0.250", "", "3", "+0.250"],
        ["parameters", "1,000", "800", "800", "", "−20.0 %"],
        ["file size of the weights, MB", "0.0", "0.0", "0.0", "", "−20.0 %"],
        ["prefill of 64 tokens, ms", "750.0", "500.0", "500.0", "3", "−33.3 %"],
        ["decoding, tokens a second", "24.0", "30.0", "30.0", "3", "+25.0 %"],
    ]
    perplexity, distance, *_ = compared(results)
    assert (perplexity.method, perplexity.against, perplexity.question) == ("pruned", "dense", "dense")
    assert (perplexity.value, perplexity.neutral, perplexity.better, perplexity.unit) == (1.5, 1, "lower", "")
    assert (distance.outcome, distance.value, distance.neutral) == ("js_distance", 0.25, 0)
    assert np.isnan(distance.base), "the dense model has none to itself"
    names = [row.label for row in compared(results, "reconstructed")]
    assert names[:2] == ["perplexity on mine", "perplexity on text"], "a file's name without its hash"
    (_, size) = rows_of({}, "pruned", (1000, 800), (4000, 1600), {})
    assert size.label == "file size of the weights, MB (4.0 → 2.0 bytes a parameter)"


def measured(folder: Path, step: str, measure: str, items: pd.DataFrame, task: str, **values: float):
    path = folder / f"{step}-{measure}-{task}.json"
    items.to_parquet(path.with_suffix(".parquet"))
    return {path: result(step, measure, task, len(items), **values)}


def perplexities(
    folder: Path, before: np.ndarray, after: np.ndarray, **more: np.ndarray
) -> dict[Path, Result]:
    found: dict[Path, Result] = {}
    for step, nll in ({"dense": before, "pruned": after} | more).items():
        items = pd.DataFrame({"item": range(len(nll)), "document": range(len(nll)), "nll": nll})
        found |= measured(folder, step, "perplexity", items, "text", perplexity=float(np.exp(nll.mean())))
    return found


def test_the_change_has_its_interval_in_pairs(tmp_path: Path) -> None:
    """Documents differ by far more than the change, which pairs do not see. The reference is a paired t-test."""
    rng = np.random.default_rng(1)
    before, change = 3 + rng.normal(size=16), 0.4 + 0.05 * rng.normal(size=16)
    change -= (change - change.mean()) ** 3  # nearly symmetric, so that the correction for skewness is small
    found = perplexities(tmp_path, before, before + change)
    (row, *_) = compared(found)
    half = t.ppf(0.975, 15) * change.std(ddof=1) / 4
    ends = np.exp(change.mean() + np.array([-half, half])) - 1
    assert row.effect.change.value == pytest.approx(np.exp(change.mean()) - 1)
    assert [row.effect.change.low, row.effect.change.high] == pytest.approx(ends, abs=0.01)
    shown = [
        f"{100 * x:+.1f} %" for x in (row.effect.change.value, row.effect.change.low, row.effect.change.high)
    ]
    assert row.words()[4] == f"{shown[0]} ({shown[1]} to {shown[2]})"
    path = tmp_path / "dense-perplexity-text.parquet"
    items = pd.read_parquet(path)
    items[::-1].to_parquet(path)
    assert compared(found)[0].words() == row.words(), "documents are paired by name"
    items.loc[0, "nll"] = np.nan
    items.to_parquet(path)
    assert not compared(found)[0].effect.has_interval, "one without a number leaves no interval"


def test_capabilities_are_stratified_by_task_and_few_documents_have_no_interval(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    found: dict[Path, Result] = {}
    changes = {}
    for group, count in (("many", 8), ("few", 3)):
        source = np.repeat(["a", "b"], count)
        before = 1 + rng.random(2 * count)
        changes[group] = np.where(source == "a", 1.0, 3.0) + 0.1 * rng.normal(size=2 * count)
        for method, bpb in (("dense", before), ("pruned", before + changes[group])):
            items = pd.DataFrame({"item": range(2 * count), "source": source, "bpb": bpb})
            items["document"] = [f"{name}/{n}" for n, name in enumerate(source)]
            found |= measured(tmp_path, method, "gold_bpb", items, group, bpb=float(bpb.mean()))
    many, few, *_ = compared(found)
    assert (many.label, few.label) == ("bits per byte, many", "bits per byte, few")
    assert many.value == pytest.approx(changes["many"].mean())
    assert not few.effect.has_interval
    assert "(" not in few.words()[4]
    # Tasks differ by 2, within a task by 0.1: unstratified it would be ± 0.5.
    assert 0 < many.high - many.low < 0.2


def test_a_speed_has_the_interval_of_its_turns(tmp_path: Path) -> None:
    logs = 0.3 + 0.1 * np.sin(np.arange(12.0))
    items = pd.DataFrame({"item": range(12), "prefill_speedup": np.exp(logs), "decode_speedup": np.exp(logs)})
    *_, prefill, decode = compared(measured(tmp_path, "pruned", "latency", items, "", **SPEEDS))
    half = t.ppf(0.975, 11) * logs.std(ddof=1) / np.sqrt(12)
    ends = np.exp(logs.mean() + np.array([-half, half])) - 1
    assert [decode.low - 1, decode.high - 1] == pytest.approx(ends, abs=0.003)
    change = prefill.effect.change
    assert change.value == pytest.approx(np.exp(-logs.mean()) - 1) and change.low < change.value < 0
    *_, single = compared(measured(tmp_path, "pruned", "latency", items[:3], "", **SPEEDS))
    assert not single.effect.has_interval and single.words()[4] == "+25.0 %"


def test_times_are_of_the_machine_that_took_them() -> None:
    def sides(measure: str, **hardware) -> Sides:
        found = result("pruned", measure)
        found.provenance["hardware"] = hardware
        return read_sides(files(found))

    assert timed_on(sides("latency", processor="another", cuda=[])) == "another"
    assert timed_on(sides("latency", processor="a processor", cuda=["a GPU"])) == "a GPU"
    assert timed_on(sides("perplexity", processor="another", cuda=[])) == ""


def test_a_second_copy_of_the_weights_does_not_count(tmp_path: Path) -> None:
    for name in ("model-00001-of-00002", "model-00002-of-00002", "consolidated"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"12345")
    assert weight_bytes(tmp_path) == 10


def test_a_task_stands_beside_a_guess_and_the_majority(tmp_path: Path) -> None:
    """Of 40 questions 30 have the answer 0."""
    target, found = np.array(["0"] * 30 + ["1"] * 10), {}
    for step, answer in (("dense", target == "1"), ("pruned", np.zeros(40))):
        right = (answer.astype(int).astype(str) == target).astype(float)
        items = pd.DataFrame({"item": range(40), "target": target, "score": right})
        items["loglikelihood"] = [[-1.0, -2.0] if not one else [-2.0, -1.0] for one in answer]
        found |= measured(tmp_path, step, "tasks", items, "boolq", score=right.mean())
        items = items.rename(columns={"score": "pct_stereotype"}).drop(columns="loglikelihood")
        found |= measured(tmp_path, step, "tasks", items, "crows_pairs_english", pct_stereotype=0.5)
    accuracy, bias, *_ = rows = compared(found)
    assert bias.label == "stereotypes, crows_pairs_english, %"
    assert accuracy.label == "score, boolq, % (a guess 50.0, the majority 75.0)"
    assert accuracy.words()[1:4] == ["100.0", "75.0", "40"]
    # With the pair of Bonett and Price, whose mean is nearer to none.
    difference = 100.0 * np.append(-(target == "1").astype(float), [1, -1])
    half = t.ppf(0.975, 41) * difference.std(ddof=1) / np.sqrt(42)
    low, high = difference.mean() - half, difference.mean() + half
    assert accuracy.value == -25
    assert accuracy.low <= low + 1e-9 and accuracy.high == pytest.approx(high)
    text = np.full(12, 3.0)
    said = " ".join(conclusions([*compared(perplexities(tmp_path, text, text)), *rows], 400, repaired=False))
    assert "Conclusion: not shown usable: worse at boolq (100.0 → 75.0 % right, −25.0 %)." in said


def test_a_task_that_is_answered_better_is_named(tmp_path: Path) -> None:
    text, found = np.full(12, 3.0), {}
    for step, right in (("dense", np.zeros(40)), ("pruned", np.arange(40) % 4 > 0)):
        items = pd.DataFrame({"item": range(40), "target": "0", "score": right.astype(float)})
        items["loglikelihood"] = [[-1.0, -2.0] if one else [-2.0, -1.0] for one in right]
        found |= measured(tmp_path, step, "tasks", items, "boolq", score=right.mean())
    rows = [*compared(perplexities(tmp_path, text, text)), *compared(found)]
    said = " ".join(conclusions(rows, 400, repaired=False))
    assert "Conclusion: usable: better at boolq (0.0 → 75.0 % right)." in said


def test_the_loss_of_recovery_on_what_it_did_not_train_on(tmp_path: Path) -> None:
    start, tokens = 3 + np.sin(np.arange(9.0)), [*range(5, 14)]
    losses = {0: start, 4: start - 0.5 - 0.01 * np.arange(9), 8: start + 1}
    found = {tmp_path / "recovery.json": result("recovered", "recovery", steps=8, kept_step=4)}
    curve = [{"step": step, "losses": [*each]} for step, each in losses.items()]
    found[tmp_path / "recovery.json"].provenance.update({"curve": curve, "held_out_tokens": tokens})
    (row,) = (
        row for row in compared(files(result("pruned", "perplexity", perplexity=9)) | found) if row.n == 9
    )
    before, after = (np.average(losses[step], weights=tokens) for step in (0, 4))
    assert [row.base, row.own] == pytest.approx([before, after]), "the kept step, not the last"
    assert row.high < 0


WAVE = np.sin(np.arange(16.0))


def steps_of(folder: Path, **losses: tuple[float, float]) -> Sides:
    """Return perplexities on 16 documents after steps that multiply the dense model's, with a spread."""
    before, spread = np.log(29.5) + 0.5 * WAVE, np.cos(np.arange(16.0))
    after = {step: before + np.log(factor) + width * spread for step, (factor, width) in losses.items()}
    return read_sides(perplexities(folder, before, after.pop("pruned"), **after))


def test_a_step_that_makes_the_model_worse_is_not_taken(tmp_path: Path) -> None:
    """Entropy at 30 % and recovery on 60 pairs: perplexity 261.7 without it, 865.5 with it."""
    worse = steps_of(tmp_path, pruned=(261.7 / 29.5, 0.3), recovered=(865.5 / 29.5, 0.4))
    step, (said,) = worth_taking(worse, keep=False)
    assert step == "pruned" and "recovered model is worse than the pruned one, so the pruned" in said
    assert "Perplexity on text: 281.77 → 936.06" in said and "(+2" in said
    assert "--keep-recovery exports it" in said
    step, (said,) = worth_taking(worse, keep=True)
    assert step == "recovered" and "kept (--keep-recovery)" in said
    better = steps_of(tmp_path, pruned=(3, 0.3), reconstructed=(2, 0.2), recovered=(2.001, 0.3))
    assert worth_taking(better, keep=False) == ("recovered", []), "no worse by its interval"
    on_bad = steps_of(tmp_path, pruned=(2, 0.3), reconstructed=(3, 0.2), recovered=(1.5, 0.3))
    step, (said,) = worth_taking(on_bad, keep=False)
    assert step == "recovered" and "reconstructed model is worse" in said
    for of in worse.values():
        of |= {key: replace(side, items=side.items[:4]) for key, side in of.items()}
    step, (said,) = worth_taking(worse, keep=False)
    assert step == "pruned" and "no interval" in said, "what is worse and not known to be is not taken either"


@pytest.mark.parametrize(
    ("factor", "dense", "spread", "said"),
    [
        (1.02, 29.5, 0.01, "Conclusion: usable"),
        (
            1.09,
            29.5,
            0.1,
            r"not shown usable.* may help: \d+ times the text, which would show it .*; a lower --ratio; recovery",
        ),
        (1.02, 29.5, 2, "Conclusion: not shown usable"),  # doubt never makes it usable
        (1.3, 29.5, 0.01, r"not shown usable.*What may help: a lower --ratio; recovery \(--recover\)\."),
        # +21 % (+6 to +73): more text would tell.
        (
            1.2,
            29.5,
            0.5,
            r"not shown usable.*help: more text, since the interval allows for both \(--eval-text",
        ),
        (1.6, 29.5, 1.2, "Conclusion: not shown usable"),  # beyond a half, in too few documents
        (66.7 / 29.5, 29.5, 1, "Conclusion: not usable"),  # README's command: +130 % [+40, +700]
        (2.0, 29.5, 0.9, "Conclusion: not usable"),  # Gemma 3 270M at 8 %: +100 % [+50, +330]
        (1.02, 5e7, 0.01, "Warning: the dense model itself is broken"),
        (1.02, 300, 0.01, "Warning"),  # of 400 tokens
    ],
)
def test_the_verdict(factor: float, dense: float, spread: float, said: str, tmp_path: Path) -> None:
    before = np.log(dense) + 0.5 * WAVE
    after = before + np.log(factor) + spread * np.cos(np.arange(16.0))
    rows = compared(perplexities(tmp_path, before, after))
    sentences = " ".join(conclusions(rows, 400, repaired=False))
    assert re.search(said, sentences), sentences
    assert ("Warning" in sentences) == (dense > 100)
    assert "Warning" not in sentences or "usable" not in sentences, "it says nothing of pruning"
    usable = factor - 1 < LOSS.lost and rows[0].effect.change.high < LOSS.usable and dense < 100
    assert ("Conclusion: usable" in sentences) == usable
    assert conclusions(compared({}), 400, repaired=False) == []


@pytest.mark.parametrize(
    ("factor", "spread", "said"),
    [
        (1.15, 0.01, "Conclusion: within --max-loss 20 %, by text alone: right answers were not measured."),
        (1.15, 0.3, "Conclusion: not shown to be within --max-loss 20 %, by text alone"),
        (1.25, 0.01, "Conclusion: beyond --max-loss 20 %, by text alone"),
    ],
)
def test_what_was_asked_for_is_what_is_judged(
    factor: float, spread: float, said: str, tmp_path: Path
) -> None:
    """Other text and repetition, by which the model would not be usable, stand beside it."""
    before = 3 + 0.5 * WAVE
    after = before + np.log(factor) + spread * np.cos(np.arange(16.0))
    (tmp_path / "c4").mkdir()
    found = perplexities(tmp_path, before, after) | perplexities(tmp_path / "c4", before, before + 1)
    for path, measured in found.items():
        on_c4 = path.is_relative_to(tmp_path / "c4")
        change = {"task": "c4"} if on_c4 else {"measure": "asked_perplexity"}
        found[path] = replace(measured, **change)
    shares = {"document": range(16), "before": 0.1 * WAVE, "after": 0.7 + 0.05 * WAVE}
    first, why, other, degenerate = conclusions(
        compared(found, repeated=shares), 400, repaired=False, most=0.2
    )
    assert first.startswith(said)
    assert why.startswith(f"Against the dense model's, perplexity on text: +{round(100 * factor - 100)}"[:-1])
    assert why.endswith("The limit is met if its interval ends below +20 %.")
    assert other.startswith("On text that did not choose the cut: perplexity on c4: +171")
    assert "Its greedy text is degenerate" in degenerate


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (0.1, "Conclusion: usable"),
        (0.3, "Not shown usable by repeated 4-grams"),
        (0.7, "Not usable by repeated 4-grams"),
    ],
)
def test_text_that_repeats_itself_is_named(more: float, said: str, tmp_path: Path) -> None:
    text, before = np.full(16, 3.0), 0.2 + 0.1 * WAVE
    shares = {"document": range(16), "before": before, "after": before + more + 0.05 * WAVE}
    rows = compared(perplexities(tmp_path, text, text + 0.01), repeated=shares)
    sentences = " ".join(conclusions(rows, 400, repaired=True))
    assert said in sentences and "--recover" not in sentences
    assert sentences.startswith(
        f"Conclusion: {said.removeprefix('Conclusion: ').partition(' by')[0].lower()}"
    )
    (row,) = (row for row in rows if row.label.startswith("repeated"))
    assert row.effect.change.value == pytest.approx(100 * float((more + 0.05 * WAVE).mean()))
    assert row.n == 16 and row.low < row.value < row.high
    assert ("Its greedy text is degenerate" in sentences) == (row.effect.change.value > REPETITION.usable)


def answers(folder: Path, **groups: dict[str, tuple[float, float]]) -> dict[Path, Result]:
    """Return bits per byte of 16 questions: by capability and step, their mean and the spread of the change."""
    found: dict[Path, Result] = {}
    for group, steps in groups.items():
        for step, (mean, spread) in ({"dense": (0.5, 0.0)} | steps).items():
            bpb = mean + 0.1 * WAVE + spread * np.cos(np.arange(16.0))
            items = pd.DataFrame({"item": range(16), "document": range(16), "source": "a", "bpb": bpb})
            found |= measured(folder, step, "gold_bpb", items, group, bpb=float(bpb.mean()))
    return found


LOSSES = {
    "language": {"pruned": (0.5, 0.2)},
    "reading": {"pruned": (0.6, 0.05)},
    "code": {"pruned": (1.4, 0.1)},
    "science": {"pruned": (0.5, 0.03)},
}


def of_text(folder: Path, rise: float, **measure: str) -> dict[Path, Result]:
    found = perplexities(folder, np.full(16, 3.0), 3.0 + np.log1p(rise) + 0.01 * np.cos(np.arange(16.0)))
    return {path: replace(each, **measure) for path, each in found.items()}


def test_the_first_sentence_says_what_was_lost_the_worst_first(tmp_path: Path) -> None:
    rows = compared(of_text(tmp_path, 0.05) | answers(tmp_path, **LOSSES))
    first, *others = conclusions(rows, 400, repaired=True, calibrated_on="c4-sample")
    lost = r"worse at code \(0\.\d+ → 1\.\d+ bits per byte, \+1\d\d\.\d %\), reading \(0\.\d+ → 0\.\d+, .*\)"
    rest = r"no loss shown in science; too few questions to tell of language\."
    assert re.fullmatch(rf"Conclusion: not usable: {lost}; {rest}", first), first
    assert others[-1] == (
        "What may help: calibration on more text like code, reading, which fell by more than perplexity did "
        "(--mix c4=1,code=4; this was c4-sample); a lower --ratio."
    )
    *_, helps = conclusions(rows, 400, repaired=True, calibrated_on="mix-c4-1-code-4")
    assert "(--text or --mix; this was mix-c4-1-code-4)" in helps, "no advice to do the same again"
    known = {name: changes for name, changes in LOSSES.items() if name != "code"}
    first, *_ = conclusions(
        compared(of_text(tmp_path, 0.05) | answers(tmp_path, **known)), 400, repaired=True
    )
    assert first.startswith("Conclusion: not shown usable: worse at reading"), "a fifth is no half"
    first, *others = conclusions(compared(of_text(tmp_path, 0.05)), 400, repaired=True)
    assert first == "Conclusion: usable, by text alone: right answers were not measured."
    assert not any("What may help" in said for said in others)


def test_a_limit_is_judged_by_what_is_to_be_kept_and_the_rest_is_said(tmp_path: Path) -> None:
    rows = compared(of_text(tmp_path, 0.1, measure="asked_perplexity") | answers(tmp_path, **LOSSES))
    first, why, helps = conclusions(rows, 400, repaired=False, most=0.3)
    assert first.startswith("Conclusion: not usable: worse at code (0."), "more than half"
    assert first.endswith("; perplexity within --max-loss 30 %; no loss shown in language, science.")
    assert helps == "What may help: --keep code,reading, which limits the cut by these, too."
    first, why, *_ = conclusions(rows, 400, repaired=False, most=0.3, keep=["reading"])
    assert first.startswith("Conclusion: not usable: worse at code (0.")
    assert "; perplexity and reading within --max-loss 30 %; kept reading (0." in first
    (row,) = (row for row in rows if row.task == "reading")
    rise = row.value / row.base
    assert rise == pytest.approx(0.2, abs=0.01) and f"bits per byte, reading: +{100 * rise:.0f}" in why
    assert why.endswith("The limit is met if every interval ends below +30 %.")
    first, *_ = conclusions(rows, 400, repaired=False, most=0.3, keep=["reading", "code"])
    assert first.startswith("Conclusion: beyond --max-loss 30 % for code: worse at code")
    less = of_text(tmp_path, 0.1, measure="asked_perplexity") | answers(tmp_path, reading=LOSSES["reading"])
    first, *_ = conclusions(compared(less), 400, repaired=False, most=0.3)
    assert first.startswith("Conclusion: worse at reading (0."), "a fifth is not too much"
    assert first.endswith("; perplexity within --max-loss 30 %.")
    first, *_ = conclusions(rows, 400, repaired=False, most=row.high / row.base - 0.001, keep=["reading"])
    assert first.startswith("Conclusion: not shown to be within --max-loss"), "not by the value alone"


def test_a_step_that_costs_a_capability_is_not_taken_though_perplexity_falls(tmp_path: Path) -> None:
    text = np.full(16, 3.0)
    found = perplexities(tmp_path, text, text + 0.5, reconstructed=text + 0.2 + 0.01 * WAVE)
    costs = {"reading": {"pruned": (0.6, 0.05), "reconstructed": (0.7, 0.05 + 0.03)}}
    costs |= {"language": {"pruned": (0.8, 0.05), "reconstructed": (0.6, 0.05)}}
    sides = read_sides(found | answers(tmp_path, **costs))
    step, (said,) = worth_taking(sides, keep=False)
    assert step == "pruned"
    assert re.search(
        r"worse than the pruned one in reading \(0\.6\d* → 0\.7\d* bits per byte\), so the pruned",
        said,
    )
    assert "Perplexity on text: 33.12 → 24.5" in said and "language" not in said
    step, (said,) = worth_taking(sides, keep=True)
    assert step == "reconstructed" and "kept (--keep-recovery)" in said
    raised = {"reading": {"pruned": (0.3, 0.05), "reconstructed": (0.4, 0.05 + 0.03)}}
    sides = read_sides(found | answers(tmp_path, **raised))
    assert worth_taking(sides, keep=False) == ("reconstructed", []), "better than in the dense model, still"

    asked = perplexities(tmp_path, text, text + 0.5, reconstructed=text + 0.2 + 0.01 * WAVE)
    limit = {Path(tmp_path / path.name.replace("perp", "lim")): each for path, each in asked.items()}
    for path, other in zip(limit, asked, strict=True):
        pd.read_parquet(other.with_suffix(".parquet")).to_parquet(path.with_suffix(".parquet"))
    limit = {path: replace(each, measure="asked_perplexity") for path, each in limit.items()}
    sides = read_sides(found | limit | answers(tmp_path, **costs))
    step, (said,) = worth_taking(sides, keep=False, most=0.3)
    assert step == "reconstructed" and "but kept, because only this step is within --max-loss 30 %" in said
    for most in (0.1, 0.9):
        assert worth_taking(sides, keep=False, most=most)[0] == "pruned", "neither holds it, or both"


def test_repeated_ngrams_by_hand() -> None:
    assert repeated([1, 2, 3, 4, 5], None, 4) == 0
    assert repeated([7] * 9, None, 4) == 1 - 1 / 6
    assert repeated([1, 2, 1, 2, 1, 2], None, 2) == 1 - 2 / 5
    assert repeated([7, 7, 7, 0, 7, 7, 7], 0, 2) == 1 / 2, "up to EOS"
    assert repeated([7, 0, 7, 7], 0, 4) == 0
