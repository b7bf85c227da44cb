"""Sizes in a study: a method for each, its samples as draws, and what they are compared with and cost."""

from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from smoke import ROOT

from hfprune.analysis.reference import differing, reference_of
from hfprune.assets.catalogue import Catalogue
from hfprune.cost.costs import Costs
from hfprune.devices.known import known_devices
from hfprune.errors import HfpruneError
from hfprune.results import DENSE
from hfprune.settings import load, validate
from hfprune.stages.jobs import list_jobs
from hfprune.study.cells import cells
from hfprune.study.curves import curves
from hfprune.study.files import Files
from hfprune.study.labels import labels
from hfprune.study.study import Study

CATALOGUE = load(Catalogue, ROOT / "config/assets.yaml")
SMOLLM2 = "smollm2-135m-instruct-q4"
SIZES = [16, 64, 256]
METHODS = {
    "entropy": None,
    "cross_entropy": None,
    "squares": {"criterion": "entropy", "options": {"aggregation": "sum_squares"}, "label": "Squares"},
    "few": {"criterion": "entropy", "sequences": 10},
    "random": None,
    "outside": {"baseline": "outside"},
}
ANYWHERE = {f"models/{model}": Path(model) for model in "ab"}


def study(sizes: object = SIZES, **changes: object) -> Study:
    calibration = {"corpus": "c4-sample", "sequences": 256, "length": 32, "sizes": sizes}
    calibration |= changes.pop("calibration", {})  # type: ignore[arg-type]
    given = {
        "models": [SMOLLM2],
        "methods": METHODS,
        "ratios": [0.2],
        "measures": {"perplexity": {"corpus": "c4-sample-heldout", "sequences": 2, "length": 16}},
    }
    return validate(Study, given | {"calibration": calibration} | changes, "s")


def files_of(it: Study) -> Files:
    return Files("s", it, CATALOGUE, {"outside": "plan"})


def test_a_method_that_reads_the_calibration_stands_once_for_each_size() -> None:
    it = study()
    of_sizes = [f"{name}_{size}" for name in ("entropy", "cross_entropy", "squares") for size in SIZES]
    assert [*it.methods] == [*of_sizes, "few", "random", "outside"]
    shown = {name: label.label for name, label in labels(it).items()}
    assert shown["entropy_64"] == "Entropy, 64 sequences" and shown["squares_16"] == "Squares, 16 sequences"
    assert shown["entropy"] == "Entropy" and shown["squares"] == "Squares", "of all its sizes"
    names = ("entropy", "cross_entropy", "squares")
    assert curves(it.methods, it.calibration.sizes) == {
        name: {size: f"{name}_{size}" for size in SIZES} for name in names
    }
    assert [it.sequences_of(name) for name in ("entropy_64", "few", "random")] == [64, 10, 256]
    assert [*study(sizes=[]).methods] == [*METHODS]
    only = study(models={SMOLLM2: {"without": ["squares_256"]}})
    assert {*only.methods} - {*only.methods_of(SMOLLM2)} == {"squares_256"}


def test_a_model_may_have_fewer_sizes_and_samples() -> None:
    it = study(models={"a": None, "b": {"sizes": {64: 2, 16: None}, "without": ["squares_16"]}})
    taken = {
        model: [name for name in it.methods_of(model) if name.endswith(("_16", "_64", "_256"))]
        for model in "ab"
    }
    assert len(taken["a"]) == 9
    assert taken["b"] == ["entropy_16", "entropy_64", "cross_entropy_16", "cross_entropy_64", "squares_64"]
    assert [it.draws_of(model, "entropy_64") for model in "ab"] == [[0, 1, 2, 3], [0, 1]]
    jobs = [job for job in list_jobs(replace(files_of(it), elsewhere=ANYWHERE)) if job.stage == "score"]
    assert [job.sizes for job in jobs if job.sizes] == [{16: 16, 64: 4, 256: 1}, {16: 16, 64: 2}]


def test_samples_are_the_draws_of_a_size() -> None:
    it = study(sizes={16: 3, 64: None, 256: None}, seeds=[100, 7])
    drawn = {"entropy_16": 3, "entropy_64": 4, "entropy_256": 1, "few": 1, "random": 1, "outside": 1}
    for name, count in drawn.items():
        assert it.draws_of(SMOLLM2, name) == [seed + number for seed in (100, 7) for number in range(count)]
    found = [cell for cell in cells("s", it) if cell.method != DENSE]
    assert len({*found}) == len(found)
    assert Counter(cell.method for cell in found)["cross_entropy_64"] == 8
    files, cell = (
        files_of(it),
        next(cell for cell in found if (cell.method, cell.seed) == ("entropy_64", 103)),
    )
    assert files.drawn(cell).stem == "seed100" == files.drawn(replace(cell, seed=100)).stem
    assert files.drawn(replace(cell, seed=10)).stem == "seed7"


def test_draws_of_a_size_read_disjoint_sequences_and_methods_of_one_the_same() -> None:
    (job,) = (job for job in list_jobs(files_of(study())) if job.stage == "score" and len(job.methods) == 9)
    assert job.sizes == {16: 16, 64: 4, 256: 1}
    for size, count in job.sizes.items():
        samples = [job.sample(f"entropy_{size}", draw, 256) for draw in range(count)]
        assert {len(sample) for sample in samples} == {size}
        assert not any({*one} & {*other} for one, other in combinations(samples, 2))
        assert samples == [job.sample(f"squares_{size}", draw, 256) for draw in range(count)]
    written = [str(file) for file in job.outputs()]
    assert len({*written}) == len(written) == 2 * 3 * (16 + 4 + 1)
    assert f"results/s/scores/{SMOLLM2}/cross_entropy_64/seed3.safetensors" in written


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sizes": [16, 300]},
            "calibration.sizes: 1 of 300 sequences are more than the 256 of the calibration",
        ),
        ({"sizes": {64: 5}}, "calibration.sizes: 5 of 64 sequences are more than the 256"),
        ({"sizes": [0]}, "calibration.sizes.0.* greater than 0"),
        (
            {"seeds": [0, 8]},
            "seeds: 0 and 8 are too close: a size has 16 samples, and number k of them is draw",
        ),
        (
            {"methods": {"entropy": None, "entropy_16": {"criterion": "fisher"}}},
            "methods: 'entropy_16' is 'entropy' of that size already",
        ),
        ({"methods": {"entropy": {"steps": 2}}}, "methods.entropy_16: a method in steps has no sizes"),
        (
            {"recoveries": ["lora"], "recovery": {"instructions": "coqa"}},
            "recoveries: lora is not trained for sizes",
        ),
    ],
)
def test_what_sizes_cannot_be_is_said(changes: dict, message: str) -> None:
    with pytest.raises(HfpruneError, match=message):
        study(**changes)


def test_each_size_is_compared_with_entropy_of_that_size() -> None:
    it = study()
    for size in SIZES:
        assert reference_of(it, f"entropy_{size}") == f"entropy_{size}"
        assert reference_of(it, f"cross_entropy_{size}") == f"entropy_{size}"
        assert reference_of(it, f"squares_{size}") == f"entropy_{size}"
        assert differing(it, f"cross_entropy_{size}", f"entropy_{size}") == ["criterion"]
    assert reference_of(it, "random") == "entropy_256"
    plain = study(sizes=[], methods={"entropy": None, "few": METHODS["few"], "cross_entropy": None})
    assert [reference_of(plain, name) for name in plain.methods] == ["entropy"] * 3


def test_few_draws_alone_are_resampled() -> None:
    it = study(calibration={"resamples": 4})
    found = {
        name: it.resamples_of(SMOLLM2, name)
        for name in ("entropy_16", "entropy_64", "entropy_256", "few", "random")
    }
    assert found == {"entropy_16": 0, "entropy_64": 0, "entropy_256": 4, "few": 4, "random": 4}
    (job,) = (job for job in list_jobs(files_of(it)) if job.stage == "score" and "entropy_64" in job.methods)
    assert {name: job.resamples_of(name) for name in ("entropy_64", "entropy_256")} == {
        "entropy_64": 0,
        "entropy_256": 4,
    }


def test_three_samples_of_a_size_tell_the_spread_and_two_do_not() -> None:
    for count, resamples in ((2, 4), (3, 0)):
        it = study(sizes={16: count}, calibration={"resamples": 4})
        assert it.resamples_of(SMOLLM2, "entropy_16") == resamples


def cost(it: Study, stage: str = "score") -> float:
    files = replace(files_of(it), resources=Path("nothing-fetched"))
    found = Costs(files, [job for job in list_jobs(files) if job.stage == stage], known_devices()["cpu"])
    return sum(each.seconds - found.start for each in found.each)


def test_a_pass_costs_what_the_largest_size_does_and_students_what_their_samples_do() -> None:
    plain = {"entropy": None, "cross_entropy": None}
    sized, largest = study(methods=plain), study(methods=plain, sizes=[256])
    assert cost(sized) == pytest.approx(cost(largest), rel=0.01)
    few = study(methods=plain, sizes={16: 2, 64: 2})
    assert cost(few) == pytest.approx(cost(largest) * 128 / 256, rel=0.02), "no more than is read"
    one, every = (cost(study(methods={"distillation": None}, sizes=sizes)) for sizes in ([256], SIZES))
    start = cost(study(methods={"cross_entropy": None}, sizes=[256]))
    assert every - start == pytest.approx(3 * (one - start), rel=0.02), "each size reads all sequences once"
    resampled, not_so = (
        cost(study(methods=plain, sizes=sizes, calibration={"resamples": 4}), "measure")
        / sum(1 for _ in cells("s", study(methods=plain, sizes=sizes)))
        for sizes in ([256], {64: 4})
    )
    assert resampled > 3 * not_so
