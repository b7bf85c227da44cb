"""Sizes: scores from samples of the calibration in one pass are those of each sample alone."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from conftest import assert_same_scores, build_tiny

from hfprune.calibration.sizes import most_open, samples_of
from hfprune.criteria import CRITERIA, ActivationCriterion, Criterion, make_criterion
from hfprune.criteria.cross_entropy import CrossEntropy
from hfprune.criteria.distillation import Distillation
from hfprune.criteria.entropy import Entropy
from hfprune.criteria.flap import Flap
from hfprune.criteria.magnitude import Magnitude
from hfprune.scoring.samples import Scorer
from hfprune.scoring.score import BySample, Scored, score, score_samples
from hfprune.scoring.weight_forms import WEIGHT_FORMS

LENGTH = 9
BLOCKS = torch.randint(0, 97, (30, LENGTH), generator=torch.Generator().manual_seed(3))
DOCUMENTS = [n // 2 for n in range(30)]
SAMPLES = [*samples_of(4, 7), *samples_of(12, 2), *samples_of(24, 1), *samples_of(30, 1)]


class Largest(ActivationCriterion):
    """A statistic that is no sum."""

    def shares(self, h):
        return h.abs().amax(1)

    def combine(self, parts):
        return parts.amax(0)


KINDS = ("neurons", "key_value_groups", "layers")
READING = {
    name: make_criterion(name, {}, units=())
    for name in sorted(CRITERIA.sources())
    if CRITERIA.load(name).needs != "weights"
}
OF_LAYERS = {name: it for name, it in READING.items() if it.scorable() == ("layers",)}
EVERY: dict[str, Criterion] = {
    **{name: it for name, it in READING.items() if "neurons" in it.scorable()},
    **{form: Entropy(aggregation=form) for form in WEIGHT_FORMS},
    "rounded": Entropy(accumulator="bfloat16"),
    "largest": Largest(),
}


def of_samples(criteria: dict[str, Criterion], model, batch_tokens: int, **settings) -> dict[str, BySample]:
    samples, again = dict.fromkeys(criteria, SAMPLES), dict.fromkeys(SAMPLES, 2)
    return score_samples(
        *(criteria, model, BLOCKS, settings.pop("units", ["neurons"]), samples),
        **{"resamples": again, "documents": DOCUMENTS, "batch_tokens": batch_tokens, "seed": 5} | settings,
    )


def alone(
    criteria: dict[str, Criterion], model, sample: range, batch_tokens: int, *units: str
) -> dict[str, Scored]:
    cut = slice(sample.start, sample.stop)
    settings = {"documents": DOCUMENTS[cut], "batch_tokens": batch_tokens, "seed": 5}
    return score(criteria, model, BLOCKS[cut], units or ["neurons"], resamples=2, **settings)


def test_samples_of_a_size_are_disjoint_and_open_as_often_as_there_are_sizes() -> None:
    assert samples_of(4, 3) == [range(4), range(4, 8), range(8, 12)]
    for size in (4, 12):
        read = Counter(number for sample in SAMPLES if len(sample) == size for number in sample)
        assert {*read.values()} == {1} and {*read} == {*range(30 // size * size)}
    assert (
        most_open(SAMPLES) == 4 and most_open([*SAMPLES, *SAMPLES]) == 4 and most_open(samples_of(4, 7)) == 1
    )


def test_each_sample_is_scored_as_alone_to_the_digit_where_batches_are_the_same() -> None:
    """Every criterion that is found by being there, with its resamples and its last mark."""
    model = build_tiny("qwen3")
    found = of_samples(EVERY, model, LENGTH)
    for sample in SAMPLES:
        for name, expected in alone(EVERY, model, sample, LENGTH).items():
            ours = found[name][sample]
            # Each sequence of the pass has drawn labels of its own.
            if name == "fisher" and sample.start:
                continue
            assert [*ours.scores] == [*expected.scores]
            assert all(torch.equal(ours.scores[key], x) for key, x in expected.scores.items()), (name, sample)
            assert len(ours.resampled) == len(expected.resampled)
            for one, other in zip(ours.resampled, expected.resampled, strict=True):
                assert all(torch.equal(one[key], x) for key, x in other.items()), (name, sample)
            assert ours.curve[-1:] == expected.curve[-1:]


@pytest.mark.parametrize("batch_tokens", [4 * LENGTH, 10**6])
def test_other_batches_change_rounding_alone_and_nothing_of_what_begins_with_the_pass(batch_tokens) -> None:
    """Sizes cut no batch, so that the largest is scored as without them."""
    model = build_tiny("llama")
    found = of_samples(EVERY, model, batch_tokens)
    for sample in SAMPLES:
        for name, expected in alone(EVERY, model, sample, batch_tokens).items():
            ours = found[name][sample]
            if sample.start == 0:
                assert_same_scores(ours, expected)
            elif name not in ("fisher", "rounded"):
                for key, x in expected.scores.items():
                    torch.testing.assert_close(ours.scores[key], x, rtol=1e-4, atol=1e-5 * float(x.mean()))


def test_one_pass_serves_all_sizes_and_each_sample_has_its_student() -> None:
    model, read = build_tiny("llama"), Counter[str]()
    model.model.norm.register_forward_hook(
        lambda _module, _inputs, output: read.update({str(output.requires_grad): len(output)})
    )
    plain = {"entropy": Entropy(), "cross_entropy": CrossEntropy()}
    of_samples(plain, model, 4 * LENGTH)
    assert read == {"True": 30}
    read.clear()
    of_samples(plain | {"student": Distillation()}, model, 4 * LENGTH)
    students = sum(map(len, SAMPLES))
    assert read == {"True": 30 + students, "False": students}, "and its teacher"


def test_what_is_named_twice_is_scored_once_and_what_nobody_asks_for_is_not_read() -> None:
    model, made = build_tiny("llama"), []
    model.model.norm.register_forward_hook(lambda _module, _inputs, output: made.append(len(output)))
    few, many = samples_of(4, 2), samples_of(8, 1)
    criteria = {"a": Entropy(), "b": Entropy(), "weights": Magnitude()}
    found = score_samples(
        *(criteria, model, BLOCKS, ["neurons"]),
        {"a": few, "b": many, "weights": few},
        batch_tokens=4 * LENGTH,
    )
    assert sum(made) == 8
    assert {name: [*of] for name, of in found.items()} == {"a": few, "b": many, "weights": few}
    whole = score({"it": Entropy()}, model, BLOCKS[:8], batch_tokens=4 * LENGTH)["it"]
    assert_same_scores(found["b"][range(8)], whole)


@pytest.mark.parametrize(
    ("criteria", "units"), [({"it": Entropy()}, KINDS), (OF_LAYERS, KINDS[-1:])], ids=["groups", "layers"]
)
def test_groups_and_layers_have_sizes_too(criteria: dict[str, Criterion], units: tuple[str, ...]) -> None:
    model = build_tiny("qwen2", num_hidden_layers=5)
    found = of_samples(criteria, model, LENGTH, units=units)
    for sample in SAMPLES:
        for name, expected in alone(criteria, model, sample, LENGTH, *units).items():
            ours = found[name][sample]
            # What begins later has the last mark alone.
            marks = expected.curve[len(expected.curve) - len(ours.curve) :]
            assert_same_scores(ours, expected._replace(curve=marks))


def test_layers_read_in_several_passes_are_joined_sample_by_sample() -> None:
    model, large = build_tiny("llama"), {"it": Entropy(aggregation="param_mix")}
    whole, parts = (of_samples(large, model, 4 * LENGTH, sums_room=room)["it"] for room in (1e9, 1))
    for sample, scored in whole.items():
        assert [*parts[sample].scores] == [*scored.scores]
        assert all(torch.equal(parts[sample].scores[key], x) for key, x in scored.scores.items())


def test_a_killed_pass_over_samples_goes_on_to_the_same_scores(tmp_path: Path, monkeypatch) -> None:
    criteria = {
        "entropy": Entropy(),
        "student": Distillation(),
        "flap": Flap(),
        "mix": Entropy(aggregation="param_mix"),
    }
    model, flush, read, deadly = build_tiny("qwen3"), Scorer.flush, [], 0
    monkeypatch.setattr("hfprune.scoring.reading.SAVE_SECONDS", 0)

    def die(scorer: Scorer, sequence: int) -> None:
        flush(scorer, sequence)
        read.append(sequence)
        if deadly and len(read) % deadly == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(Scorer, "flush", die)
    expected = of_samples(criteria, model, 2 * LENGTH)
    passes, deadly, deaths = len(read), 7, 0
    read.clear()
    while True:
        try:
            found = of_samples(criteria, model, 2 * LENGTH, state=tmp_path, identity="a")
            break
        except KeyboardInterrupt:
            deaths += 1
    assert deaths > 3 and len(read) <= passes + deaths, "the batch that was cut is read again, and no other"
    for name, by_sample in expected.items():
        for sample, scored in by_sample.items():
            assert_same_scores(found[name][sample], scored)
            for one, other in zip(found[name][sample].resampled, scored.resampled, strict=True):
                assert all(torch.equal(one[key], x) for key, x in other.items())
