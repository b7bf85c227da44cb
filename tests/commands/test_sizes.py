"""Sizes by hand and in the jobs of a study: the files of every sample, and what they hold."""

from pathlib import Path

import pytest
import torch
from command_line import failure, run
from safetensors.torch import load_file
from smoke import ROOT

from hfprune.assets.catalogue import Catalogue
from hfprune.calibration.blocks import save_blocks
from hfprune.files import read_json
from hfprune.scoring.score_files import load_resampled
from hfprune.settings import load, validate
from hfprune.stages.jobs import list_jobs
from hfprune.stages.score import Score
from hfprune.study.files import Files
from hfprune.study.study import Study

SCORE = "score --model mine --blocks many.safetensors --criterion entropy distillation --dtype float32"


@pytest.fixture
def many(work: Path) -> Path:
    """64 blocks of 32 documents, beside the tiny model."""
    blocks = torch.randint(2, 300, (64, 16), generator=torch.Generator().manual_seed(1))
    save_blocks(work / "many.safetensors", blocks.int(), {}, [number // 2 for number in range(64)])
    return work


def same(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(x, b[key]) for key, x in a.items())


def test_every_sample_has_its_files_and_a_finished_one_stays(many: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "{method}/{sequences}/{draw}.safetensors"
    run(SCORE, "--seed", 5, "--resamples", 2, "--sizes", '{"8": 3, "32": 2}', "--out", out)
    names, counts = ("entropy", "distillation"), {8: 3, 32: 2}
    drawn = {f"{name}/{size}": range(5, 5 + n) for name in names for size, n in counts.items()}
    for folder, draws in drawn.items():
        assert {path.name for path in (tmp_path / folder).iterdir()} == {
            f"{draw}{end}" for draw in draws for end in (".safetensors", ".json", ".resampled.safetensors")
        }
    about = read_json(tmp_path / "distillation/32/6.json")
    assert about["provenance"]["settings"]["blocks"] == 32 and about["provenance"]["settings"]["sample"] == 1
    assert (about["cell"]["method"], about["cell"]["draw"]) == ("distillation", 6)
    assert [value["value"] for value in about["values"] if value["metric"] == "sequences"] == [32]
    # Three draws of a size tell their spread.
    found = {name: len(load_resampled(tmp_path / f"{name}/5.resampled.safetensors")) for name in drawn}
    assert found == {"entropy/8": 0, "entropy/32": 2, "distillation/8": 0, "distillation/32": 2}
    capsys.readouterr()
    run(SCORE, "--seed", 5, "--resamples", 2, "--sizes", '{"8": 3, "32": 2, "64": 1}', "--out", out)
    assert capsys.readouterr().err.count("is already there") == 10
    run(SCORE, "--resamples", 2, "--out", tmp_path / "whole-{method}.safetensors")
    for name in names:
        assert same(tmp_path / f"{name}/64/5.safetensors", tmp_path / f"whole-{name}.safetensors")


def test_sizes_that_cannot_be_are_refused(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "{method}/{draw}.safetensors"
    said = failure(SCORE, "--sizes", '{"8": 9}', "--out", out)
    assert "--sizes: draw 8 of 8 sequences needs 72 blocks, but there are 64" in said
    said = failure(SCORE, "--sizes", '{"8": 2}', "--out", tmp_path / "{method}.safetensors")
    assert "--out must contain {draw} when there are several" in said
    said = failure(SCORE, "--sizes", '{"8": 2, "16": 1}', "--out", out)
    assert "--out must contain {sequences} when there are several" in said
    said = failure(SCORE.replace(" distillation", ""), "--sizes", '{"128": 2}', "--out", out)
    assert "--sizes: draw 1 of 128 sequences needs 256 blocks, but there are 64" in said
    assert not [*tmp_path.iterdir()]


def test_the_first_sample_of_a_text_that_is_shorter_is_all_of_it(many: Path, tmp_path: Path) -> None:
    run(SCORE, "--sizes", '{"100": 1}', "--out", tmp_path / "{method}-{sequences}.safetensors")
    run(SCORE, "--out", tmp_path / "whole-{method}.safetensors")
    for name in ("entropy", "distillation"):
        assert same(tmp_path / f"{name}-100.safetensors", tmp_path / f"whole-{name}.safetensors")
        assert read_json(tmp_path / f"{name}-100.json")["provenance"]["settings"]["blocks"] == 64


def test_what_reads_weights_alone_has_one_score_beside_sizes(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "{method}-{sequences}-{draw}.safetensors"
    call = SCORE.replace("distillation", "magnitude")
    run(call, "--sizes", '{"8": 2}', "--out", out)
    names = {path.stem for path in tmp_path.glob("*.safetensors")}
    assert names == {"entropy-8-0", "entropy-8-1", "magnitude-0-0"}


def score_job(many: Path, out: Path, **calibration: object) -> Score:
    """Return the job of a study like `table7` that scores under its first draw, here of a tiny model."""
    raw = load(Study, ROOT / "config/studies/table7.yaml").model_dump(exclude_defaults=True)
    whole = {"sequences": 64, "sizes": {}} | calibration
    changed = {
        "models": ["smollm2-135m-instruct-q4"],
        "methods": raw["methods"] | {"distillation": {}},
        "calibrations": {"wikipedia": raw["calibrations"]["wikipedia"] | whole},
        "draws": [100],
    }
    measures = {"fidelity": raw["measures"]["fidelity"]}
    it = validate(Study, raw | changed | {"effects": [], "measures": measures}, "s")
    files = Files("s", it, load(Catalogue, ROOT / "config/assets.yaml"), {}, results=out)
    (job,) = (job for job in list_jobs(files) if job.stage == "score")
    there = {"model": many / "mine", "blocks": many / "many.safetensors", "after": []}
    return job.model_copy(update=there)


@pytest.mark.parametrize("sizes", [{64: 1}, {16: 4, 64: 1}, {10: 6, 32: 2, 64: 1}])
def test_a_size_of_64_is_the_calibration_of_64_to_the_digit(
    sizes: dict[int, int], many: Path, tmp_path: Path
) -> None:
    plain, sized = score_job(many, tmp_path / "a"), score_job(many, tmp_path / "b", sizes=sizes)
    assert plain.run() and sized.run()
    for method in ("entropy", "cross_entropy", "distillation"):
        whole, of_size = plain.file_of(method, 0, 100), sized.file_of(method, 64, 100)
        assert same(whole, of_size)
        assert whole.relative_to(tmp_path / "a") == of_size.relative_to(tmp_path / "b"), "one place"
        cells = [read_json(file.with_suffix(".json"))["cell"] for file in (whole, of_size)]
        assert cells[0] == cells[1] and cells[0]["sequences"] == 64
