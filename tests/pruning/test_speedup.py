"""`hfprune prune --speedup`: the smallest cut that is measured to be so many times as fast."""

import re
import subprocess
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from command_line import failure, killed, run
from conftest import reload
from scipy.stats import t

from hfprune.cells import Cell, Value, write_result
from hfprune.cells.recovery import Recovery
from hfprune.cost.foretold import Foretold
from hfprune.cost.timed import TimedCpu
from hfprune.errors import HfpruneError
from hfprune.evaluation import timing
from hfprune.evaluation.timing import Timed
from hfprune.files import read_json
from hfprune.models.units import count_parameters
from hfprune.pruning.one_cell import RATIOS
from hfprune.pruning.sweep import Tried, choice, cuts, shown
from hfprune.results.effect import Effect


def tried(lows: tuple[float, ...], highs: tuple[float, ...] = ()) -> list[Tried]:
    """Return cuts of 0.1, 0.2, …, with these ends of a speed-up of 1.2 asked for and a loss of 0.2 allowed."""
    losses = [{"perplexity": Effect(high - 0.1, high - 0.2, high, neutral=0.2)} for high in highs]
    speeds = [{"decoding": Effect(low + 0.01, low, low + 0.02, neutral=1.2, form="{:.2f}")} for low in lows]
    return [
        Tried(n / 10, 1000 - 100 * n, loss, speed, {"perplexity": 64})
        for n, (loss, speed) in enumerate(zip(losses or [{}] * len(lows), speeds, strict=True), 1)
    ]


CHOICES = [
    ((1.1, 1.21, 1.3), (), 0.2),
    ((1.1, 1.2, 1.3), (), 0.3),  # no interval that touches what was asked for
    ((1.3, 1.1, 1.3), (), 0.3),  # not below one that is not fast
    ((1.21, 1.3, 1.4), (), 0.1),
    ((1.1, 1.3, 1.15), (), None),
    ((1.1, 1.3, 1.4), (0.1, 0.1, 0.1), 0.2),  # the smallest of those that meet both
    ((1.1, 1.3, 1.4), (0.1, 0.1, 0.3), 0.2),
    ((1.1, 1.3, 1.4), (0.1, 0.3, 0.1), None),
]


@pytest.mark.parametrize(("lows", "highs", "ratio"), CHOICES)
def test_the_smallest_cut_with_its_low_end_above(lows, highs, ratio: float | None) -> None:
    best = choice(tried(lows, highs))
    assert (best and best.ratio) == ratio


def test_a_refusal_names_the_limit_that_fails(tmp_path: Path) -> None:
    slow = (
        r"no cut is shown to be 1\.2 times as fast in decoding, .* measured is 1\.16 .*, at --ratio 0\.2; "
        r"if other programs ran .* -delete\) and run again$"
    )
    lost = (
        "--max-loss: no cut has an interval that ends below 20 %, .* the smallest, 10 % .* loses perplexity"
    )
    for cut, said in (
        (tried((1.1, 1.15, 1.12)), f"^--speedup: {slow}"),
        (tried((1.1, 1.15, 1.12), (0.3, 0.4, 0.5)), f"^{lost}.*; --speedup: {slow}"),
        (tried((1.1, 1.3, 1.4), (0.3, 0.4, 0.5)), f"^{lost}"),
        (
            tried((1.1, 1.3, 1.15)),
            r"^--speedup: --ratio 0\.2 is 1\.31 .* times as fast in decoding, but the larger cut 0\.3 only "
            r"1\.16 .*; give --ratio 0\.2 to export that cut; if other .* run again$",
        ),
        (
            tried((1.1, 1.1, 1.4), (0.1, 0.3, 0.5)),
            r"^--max-loss and --speedup: no cut meets both, .*: --max-loss fails above --ratio 0\.1, --speedup "
            r"below --ratio 0\.3$",
        ),
    ):
        with pytest.raises(HfpruneError, match=said):
            shown(cut, tmp_path)
        assert (tmp_path / "sweep.svg").read_text().count("<svg") == 1


def test_intervals_are_over_turns_of_both_speeds(tmp_path: Path, capsys) -> None:
    """The reference is Student's t of the logarithms, which have no skewness here."""
    wave, jobs, logs = np.tile([-0.02, 0.02], 6), {}, {}
    for ratio, prefill, decoding in ((0.1, 1.15, 1.1), (0.2, 1.21, 1.3), (0.3, 1.4, 1.5)):
        cell = Cell("prune", "m", "fisher", "mix", 32, ratio, 0, Recovery.NONE)
        logs[ratio] = np.log(prefill) + wave, np.log(decoding) + wave
        items = pd.DataFrame({"item": range(12)})
        items["prefill_speedup"], items["decode_speedup"] = map(np.exp, logs[ratio])
        file, plan = tmp_path / f"{ratio}/latency.json", tmp_path / f"{ratio}/plan.json"
        names = ("prefill_speedup", "decode_speedup", "prefill_seconds", "decode_tokens_per_second")
        about = {"settings": {"prompt_tokens": 128}}
        write_result(file, cell, "latency", "", [Value(name, 1.0, None, 12) for name in names], about, items)
        write_result(plan, cell, "size", "", [Value("parameters", 1000 * (1 - ratio))], {})
        jobs[f"plan {ratio}"] = SimpleNamespace(stage="plan", outputs=lambda plan=plan: [plan, plan])
        jobs[f"{ratio}"] = SimpleNamespace(stage="measure", outputs=lambda file=file: [file])
    found = cuts(jobs, None, 1.2)
    for cut in found:
        for name, log in zip(("prefill", "decoding"), logs[cut.ratio], strict=True):
            ends = np.exp(t.interval(0.95, 11, log.mean(), log.std(ddof=1) / np.sqrt(12)))
            assert cut.speeds[name].value == pytest.approx(np.exp(log.mean()))
            assert [cut.speeds[name].low, cut.speeds[name].high] == pytest.approx([*ends], rel=1e-6)
    best, table = shown(found, tmp_path)
    assert best.ratio == 0.3, "the prefill of 1.21 has an interval that begins below 1.2"
    assert table.headers[2:4] == [f"{name}, times as fast (95 % interval)" for name in best.speeds]
    assert "both 95 % intervals above 1.2. The smallest such cut is exported." in capsys.readouterr().out
    best = choice(cuts(jobs, None, 1.15))
    assert best and best.ratio == 0.2


class Clock:
    """Times that are as the parameters of a model, but for a small wave; decoding is never faster if `still`."""

    def __init__(self, still: bool = False) -> None:
        self.turns, self.still, self.numbers = 0, still, count()

    def __call__(self, timed: Timed, _tokens: int) -> dict[str, float]:
        self.turns += 1
        seconds = count_parameters(timed.model) * (1 + 0.001 * np.sin(next(self.numbers)))
        return {"prefill_seconds": seconds, "decode_tokens_per_second": 1 if self.still else 1 / seconds}


def test_a_call_exports_what_is_so_fast_and_measures_nothing_twice(
    call: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times are injected. Without a fifth of its parameters a model is 1.25 times as fast."""
    call, out = call.replace("--ratio 0.15", "--ratio auto --linear"), tmp_path / "out"
    clock, turns = Clock(), 2 * 13
    monkeypatch.setattr(Timed, "times", lambda timed, tokens: clock(timed, tokens))
    counted, finished = timing.prefill_flops, count()
    # What is foretold, in steps of decoding by the dense model.
    monkeypatch.setattr(TimedCpu, "seconds", lambda _self, _stage, work: sum(work.steps.values()))
    left, announced = [], Foretold.announced
    monkeypatch.setattr(Foretold, "announced", lambda self: left.append({**self.left}) or announced(self))
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(
            timing, "prefill_flops", lambda *given: counted(*given) if next(finished) < 3 else killed()
        )
        run(f"{call} --speedup 1.2 --no-compare --out {out}")
    said = capsys.readouterr().err
    assert re.search("to the model, if the machine stays as fast", said) and "measure speed …" in said
    assert "] linear" not in said, "no weights are solved for cuts that speed rules out"
    clock.turns = 0
    run(f"{call} --speedup 1.2 --no-compare --out {out}")
    printed = capsys.readouterr()
    assert clock.turns == turns * (len(RATIOS) - 3)
    eight, five = (sum(2 - ratio for ratio in ratios) for ratios in (RATIOS, RATIOS[3:]))
    assert left[1]["measure speed"] == pytest.approx(left[0]["measure speed"] * five / eight, rel=0.02)
    assert re.search(r"^ *20 % +[\d,]+ +1\.25 \(.*\) +1\.25 \(.*\) +exported$", printed.out, re.MULTILINE)
    sentence = re.search("^Conclusion: fast enough for --speedup 1.2: .*$", printed.out, re.MULTILINE)
    assert sentence
    page, card = (out / "report.html").read_text(), (out / "model/README.md").read_text()
    assert sentence[0] in page and sentence[0] in card and "data:image/svg+xml" in page
    assert "--ratio 0.2 " in card and "speedup" not in card.partition("$ hfprune")[2].partition("\n")[0]
    assert read_json(out / "model/provenance.json")["parameters"] == count_parameters(reload(out / "model"))

    # The comparison reads the times of the sweep.
    run(f"{call} --speedup 1.2 --out {out}")
    assert left[2]["measure pruned"] < 1, "their steps are not foretold again"
    assert clock.turns == turns * (len(RATIOS) - 3) and sentence[0] in capsys.readouterr().out
    run(f"{call} --speedup 1.1 --max-loss 90% --no-compare --out {out}")
    printed = capsys.readouterr().out
    assert clock.turns == turns * (len(RATIOS) - 3)
    assert re.search(r"^ *10 % .* exported$", printed, re.MULTILINE)
    losses = {path.parent.name for path in (out / "work/cells").rglob("asked_perplexity.json")}
    assert losses == {"none", "linear"}, "of the dense model, and after reconstruction"
    assert len([*(out / "work/cells").rglob("asked_perplexity.json")]) == 1 + len(RATIOS)

    clock = Clock(still=True)
    line = failure(f"{call} --speedup 1.2 --batch 2 --no-compare --out {tmp_path}/still")
    assert re.search(": --speedup: no cut is shown to be 1.2 times as fast in decoding, .* is 1.00, at", line)
    assert not (tmp_path / "still/model").exists()
    clock = Clock()
    assert failure(f"{call} --speedup 1.2 --batch 2 --no-compare --out {tmp_path}/still") == line
    assert clock.turns == 0
    removes = re.search(r"remove the times \((find .*)\) and run again", line)
    assert removes
    subprocess.run(removes[1], shell=True, check=True)
    run(f"{call} --speedup 1.2 --batch 2 --no-compare --out {tmp_path}/still")
    assert clock.turns == turns * len(RATIOS) and (tmp_path / "still/model").exists()


def test_a_timed_call_has_its_files_and_its_conclusion(
    call: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfprune.pruning.sweep.choice", lambda tried: tried[0])
    out = tmp_path / "out"
    run(f"{call.replace('--ratio 0.15', '--speedup 1.01')} --batch 2 --no-compare --out {out}")
    printed = capsys.readouterr().out
    assert re.search(r"^ *2 % .* exported$", printed, re.MULTILINE)
    said = r"^Conclusion: fast enough for --speedup 1\.01: prefill is .* decided\.$"
    assert re.search(said, printed, re.MULTILINE)
    assert {path.name for path in out.iterdir()} == {"model", "report.html", "sweep.svg", "work"}
    times = [read_json(path) for path in (out / "work/cells").rglob("latency.json")]
    assert len(times) == len(RATIOS) and {x["provenance"]["settings"]["batch"] for x in times} == {2}


SLOW = "--speedup: must be greater than 1, not '{}'$"
REFUSED = {f"--speedup {word}": SLOW.format(word) for word in ("0.9", "1", "-2")} | {
    "--speedup nan": "--speedup: must be a finite number, not 'nan'$",
    "--speedup inf": "--speedup: must be a finite number, not 'inf'$",
    "--speedup x": "--speedup: must be a valid number, not 'x'$",
    "--speedup 1.2 --ratio 0.2": "--ratio 0.2 leaves --speedup nothing to choose: ",
    "--speedup 1.2 --plain --allocation global": "--speedup: --plain pads layers of unequal widths",
    "--speedup 1.2 --device-map disk --quick": "--device-map disk: .* --beside and --speedup$",
    "--ratio 0.2 --batch 2 --quick": "--batch is for speed, which --quick and --no-compare leave out$",
}


def test_bad_speeds_are_one_line_before_anything_is_loaded(tmp_path: Path) -> None:
    for flags, said in REFUSED.items():
        line = failure(f"prune --model {tmp_path}/none {flags} --out {tmp_path}/out")
        assert re.search(f"^{said}", line.removeprefix("hfprune prune: error: ")), line
        assert not (tmp_path / "out").exists()
