"""Sizes in a study: samples of each as draws, calibrations beside each other, and what they cost."""

from collections import Counter
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import pytest
from smoke import ROOT

from hfprune.assets.catalogue import Catalogue
from hfprune.cells import DENSE, Cell
from hfprune.cells.recovery import Recovery
from hfprune.cost.costs import Costs
from hfprune.devices.known import known_devices
from hfprune.errors import HfpruneError
from hfprune.settings import load, validate
from hfprune.stages.jobs import list_jobs
from hfprune.study.calibration import Calibrated
from hfprune.study.cells import cells, compared_within
from hfprune.study.files import Files
from hfprune.study.labels import calibration_label, labels
from hfprune.study.reference import differing, reference_of
from hfprune.study.study import Study

CATALOGUE = load(Catalogue, ROOT / "config/assets.yaml")
SMOLLM2 = "smollm2-135m-instruct-q4"
SIZES = {16: 16, 64: 4, 256: 1}
METHODS = {
    "entropy": None,
    "cross_entropy": None,
    "squares": {"criterion": "entropy", "options": {"aggregation": "sum_squares"}, "label": "Squares"},
    "random": None,
    "outside": {"baseline": "outside"},
}
READING = ("entropy", "cross_entropy", "squares")
ANYWHERE = {f"models/{model}": Path(model) for model in "ab"}
C4 = {"corpus": "c4-sample", "sequences": 256, "length": 32}
LORA = {"recoveries": ["none", "lora"], "recovery": {"instructions": "coqa", "methods": ["entropy"]}}
WIKIPEDIA = {"corpus": "wikipedia-sample", "sequences": 64, "length": 32}


def study(sizes: object = SIZES, **changes: object) -> Study:
    given = {
        "models": [SMOLLM2],
        "methods": METHODS,
        "calibrations": {"c4": C4 | {"sizes": sizes}},
        "ratios": [0.2],
        "measures": {"perplexity": {"corpus": "c4-sample-heldout", "sequences": 2, "length": 16}},
    }
    return validate(Study, given | changes, "s")


def files_of(it: Study) -> Files:
    return Files("s", it, CATALOGUE, {"outside": "plan"})


def of_c4(*sizes: int) -> list[Calibrated]:
    return [Calibrated("c4", size) for size in sizes]


def test_a_model_with_calibrations_of_its_own_is_scored_on_these_alone() -> None:
    both = {"c4": C4, "wikipedia": WIKIPEDIA}
    it = study(models={"a": None, "b": {"calibrations": "c4"}}, calibrations=both)
    assert (it.calibrations_of("a"), it.calibrations_of("b")) == (["c4", "wikipedia"], ["c4"])
    pruned = {(cell.model, cell.calibration) for cell in cells("s", it) if cell.method == "entropy"}
    assert pruned == {("a", "c4"), ("a", "wikipedia"), ("b", "c4")}
    jobs = [*list_jobs(replace(files_of(it), elsewhere=ANYWHERE))]
    for stage in ("calibrate", "score"):
        outputs = [str(job.outputs()) for job in jobs if job.stage == stage]
        assert {"wikipedia" in out for out in outputs if "/a/" in out} == {True, False}
        assert {"wikipedia" in out for out in outputs if "/b/" in out} == {False}
    with pytest.raises(HfpruneError, match=r"models.b.calibrations: unknown 'c5'; known: c4, wikipedia"):
        study(models={"b": {"calibrations": "c5"}}, calibrations=both)


def test_a_method_that_reads_the_calibration_is_scored_on_each_size() -> None:
    it = study()
    assert [*it.methods] == [*METHODS], "sizes are no methods"
    for name in READING:
        assert it.reads(name) and it.calibrated(SMOLLM2, name) == of_c4(*SIZES)
    for name in ("random", "outside"):
        assert not it.reads(name) and it.calibrated(SMOLLM2, name) == of_c4(0)
    assert it.calibrated(SMOLLM2) == of_c4(*SIZES)
    shown = {name: label.label for name, label in labels(it).items()}
    assert (shown["entropy"], shown["squares"]) == ("Entropy", "Squares"), "of all its sizes"
    assert calibration_label(it, "c4", 64) == "64 sequences"
    whole = study(sizes={})
    assert all(whole.calibrated(SMOLLM2, name) == of_c4(256) for name in READING)
    assert whole.calibrated(SMOLLM2, "random") == of_c4(0)


def test_every_method_is_scored_on_every_text_and_each_of_its_sizes() -> None:
    """One pass serves the sizes of a text."""
    texts = {"c4": C4 | {"sizes": {16: 16, 256: 1}}, "wiki": WIKIPEDIA}
    it = study(calibrations=texts, draws=[0, 500], models={"a": None, "b": {"without": ["squares"]}})
    read = [*of_c4(16, 256), Calibrated("wiki", 64)]
    assert it.calibrated("a", "entropy") == it.calibrated("a") == read
    assert it.calibrated("a", "random") == [Calibrated("c4", 0), Calibrated("wiki", 0)]
    files = replace(files_of(it), elsewhere=ANYWHERE)
    jobs = [job for job in list_jobs(files) if job.stage == "score"]
    found = Counter((job.model.name, job.cell.calibration, job.seed, *job.methods) for job in jobs)
    sides = {"a": READING, "b": READING[:2]}
    weights = [(model, text, draw, "random") for model, text, draw in product(sides, texts, (0, 500))]
    passes = [(model, text, draw, *sides[model]) for model, text, draw in product(sides, texts, (0, 500))]
    assert found == Counter(weights + passes)
    for job in jobs:
        text, reads = job.cell.calibration, "random" not in job.methods
        assert job.sizes == ({16: 16, 256: 1} if reads and text == "c4" else {})
        blocks = f"results/s/calibration/{job.model.name}/{text}/draw{job.seed}.safetensors"
        assert job.blocks == (Path(blocks) if reads else None)
    named = Counter(cell for job in jobs for cell in job.named_cells())
    pruned = Counter(replace(cell, ratio=None) for cell in files.pruned() if cell.method != "outside")
    assert named == pruned, "scores of each pruned cell, once"


def test_samples_are_the_draws_of_a_size() -> None:
    it = study(sizes={16: 3, 64: 4, 256: 1}, draws=[100, 7])
    for calibrated, count in zip(of_c4(16, 64, 256, 0), (3, 4, 1, 1), strict=True):
        assert it.samples_of(calibrated) == count
        drawn = [draw + number for draw in (100, 7) for number in range(count)]
        assert it.draws_of(calibrated) == drawn
    found = [cell for cell in cells("s", it) if cell.method != DENSE]
    assert len({*found}) == len(found)
    count = Counter((cell.method, cell.sequences) for cell in found)
    assert count["cross_entropy", 64] == 8 and count["random", 0] == count["outside", 0] == 2
    files = files_of(it)
    (cell,) = (cell for cell in found if (cell.method, cell.sequences, cell.draw) == ("entropy", 64, 103))
    assert files.drawn(cell).stem == "draw100" == files.drawn(replace(cell, draw=100)).stem
    assert files.drawn(replace(cell, draw=10)).stem == "draw7"


def test_draws_of_a_size_read_disjoint_sequences_and_methods_of_one_the_same() -> None:
    (job,) = (job for job in list_jobs(files_of(study())) if job.stage == "score" and len(job.methods) == 3)
    assert job.sizes == {16: 16, 64: 4, 256: 1}
    for size, count in job.sizes.items():
        samples = [job.sample(size, draw, 256) for draw in range(count)]
        assert {len(sample) for sample in samples} == {size}
        assert not any({*one} & {*other} for one, other in combinations(samples, 2))
    drawn = [(size, draw) for size, count in job.sizes.items() for draw in range(count)]
    assert all(job.samples(name) == drawn for name in READING)
    written = [str(file) for file in job.outputs()]
    assert len({*written}) == len(written) == 2 * 3 * (16 + 4 + 1)
    assert f"results/s/scores/{SMOLLM2}/cross_entropy/c4/64/draw3.safetensors" in written
    named = {(cell.method, cell.sequences, cell.draw) for cell in job.named_cells()}
    assert named == {(name, *sample) for name in READING for sample in drawn}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sizes": {16: 16, 300: 1}},
            "calibrations.c4.sizes: 1 of 300 sequences are more than the 256 of the calibration",
        ),
        ({"sizes": {64: 5}}, "calibrations.c4.sizes: 5 of 64 sequences are more than the 256"),
        ({"sizes": {0: 1}}, "calibrations.c4.sizes.0.* greater than 0"),
        ({"sizes": [64, 256]}, "calibrations.c4.sizes: give each size its number of samples, as {64: 1}"),
        (
            {"draws": [0, 8]},
            "draws: 0 and 8 are too close: a size has 16 samples, and number k of them is draw",
        ),
        (
            {"models": {SMOLLM2: {"sizes": {64: 5}}}},
            "the key 'sizes' is gone: give the sizes to a calibration",
        ),
        (LORA, "recoveries: lora is trained for one sample of a size; give calibrations.c4 sizes as"),
    ],
)
def test_what_sizes_cannot_be_is_said(changes: dict, message: str) -> None:
    with pytest.raises(HfpruneError, match=message):
        study(**changes)


def test_adapters_are_trained_of_one_sample_of_each_size_and_the_dense_control_once_a_draw() -> None:
    it = study(sizes={16: 1, 64: 1}, draws=[0, 100], **LORA)
    trained = [cell for cell in cells("s", it) if cell.recovery is Recovery.LORA]
    found = Counter((cell.method, cell.sequences, cell.draw) for cell in trained)
    sides = [(DENSE, 0), *(("entropy", size) for size in (16, 64))]
    assert found == Counter((*side, draw) for side, draw in product(sides, (0, 100)))
    jobs = [*list_jobs(files_of(it))]
    written = {file for job in jobs for file in job.outputs()}
    recoveries = [job for job in jobs if job.stage == "recover"]
    assert [job.cell for job in recoveries] == trained
    assert {job.packed for job in recoveries} <= written


def test_each_size_is_compared_within_itself() -> None:
    it = study()
    assert [reference_of(it, name) for name in it.methods] == ["entropy"] * len(METHODS)
    assert differing(it, "cross_entropy", "entropy") == ["criterion"]
    at = {"ratio": 0.2, "draw": 0, "recovery": Recovery.NONE}
    for size, other in product(SIZES, (*SIZES, 0)):
        cell = Cell("s", SMOLLM2, "entropy" if other else "random", "c4", other, **at)
        expected = other == size or (not other and size == 256)
        assert compared_within(it, Calibrated("c4", size), cell) == expected
        assert not compared_within(it, Calibrated("wiki", size), cell)
    assert compared_within(it, Calibrated("c4", 16), Cell("s", SMOLLM2, DENSE, "none", 0, **at))
    plain = study(sizes={}, methods={"magnitude": None, "cross_entropy": None})
    assert [reference_of(plain, name) for name in plain.methods] == ["magnitude"] * 2


def test_few_draws_alone_are_resampled() -> None:
    it = study(resamples=4)
    found = {size: it.resamples_of(Calibrated("c4", size)) for size in (*SIZES, 0)}
    assert found == {16: 0, 64: 0, 256: 4, 0: 4}
    (job,) = (job for job in list_jobs(files_of(it)) if job.stage == "score" and "entropy" in job.methods)
    assert {size: job.resamples_of(size) for size in SIZES} == {16: 0, 64: 0, 256: 4}


def test_three_samples_of_a_size_tell_the_spread_and_two_do_not() -> None:
    for count, resamples in ((2, 4), (3, 0)):
        it = study(sizes={16: count}, resamples=4)
        assert it.resamples_of(Calibrated("c4", 16)) == resamples


def cost(it: Study, stage: str = "score") -> float:
    files = replace(files_of(it), resources=Path("nothing-fetched"))
    found = Costs(files, [job for job in list_jobs(files) if job.stage == stage], known_devices()["cpu"])
    return sum(each.seconds - found.start for each in found.by_job)


def test_a_pass_costs_what_the_largest_size_does_and_students_what_their_samples_do() -> None:
    plain = {"entropy": None, "cross_entropy": None}
    sized, largest = study(methods=plain), study(methods=plain, sizes={256: 1})
    assert cost(sized) == pytest.approx(cost(largest), rel=0.01)
    few = study(methods=plain, sizes={16: 2, 64: 2})
    assert cost(few) == pytest.approx(cost(largest) * 128 / 256, rel=0.02), "no more than is read"
    one, every = (cost(study(methods={"distillation": None}, sizes=sizes)) for sizes in ({256: 1}, SIZES))
    start = cost(study(methods={"cross_entropy": None}, sizes={256: 1}))
    assert every - start == pytest.approx(3 * (one - start), rel=0.02), "each size reads all sequences once"
    resampled, not_so = (
        cost(study(methods=plain, sizes=sizes, resamples=4), "measure")
        / sum(1 for _ in cells("s", study(methods=plain, sizes=sizes)))
        for sizes in ({256: 1}, {64: 4})
    )
    assert resampled > 3 * not_so


def test_each_text_costs_a_pass_of_its_own() -> None:
    whole = cost(study(calibrations={"c4": C4}, methods={"entropy": None}))
    quarter = cost(study(calibrations={"wiki": WIKIPEDIA}, methods={"entropy": None}))
    both = cost(study(calibrations={"c4": C4, "wiki": WIKIPEDIA}, methods={"entropy": None}))
    assert both == pytest.approx(whole + quarter) and whole > 2 * quarter
