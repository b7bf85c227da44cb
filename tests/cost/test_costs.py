"""What studies cost, which of them a device runs, and the commands of docs/hardware.md that say so."""

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from command_line import failure, run
from committed import committed, results_of
from smoke import ROOT

from hfprune.assets.catalogue import Catalogue
from hfprune.cost.choice import TIERS, announcement, choose, costs_of, largest_tier
from hfprune.cost.costs import Costs
from hfprune.cost.decidable import decidable
from hfprune.cost.listing import summary, unfit
from hfprune.cost.workload import solving
from hfprune.devices.known import UTILISATION, Device, known_devices, named_device, nominal_cpu
from hfprune.errors import HfpruneError
from hfprune.models.shape import Shape
from hfprune.paper.relations import Paper
from hfprune.results.evidence import Evidence
from hfprune.settings import load
from hfprune.settings.recovery import Linear
from hfprune.study.paths import study_file
from hfprune.study.study import Study

STUDIES = ROOT / "config/studies"
CATALOGUE = load(Catalogue, ROOT / "config/assets.yaml")
H100 = named_device("NVIDIA H100 80GB HBM3", 85e9)
PAGE = (ROOT / "docs/hardware.md").read_text()
DOCUMENTED = dict(re.findall(r"(?m)^\$ hfprune cost --study config/studies/(\S+).yaml --device (\S+)$", PAGE))


def costs(name: str, device: str) -> Costs:
    return costs_of(STUDIES / f"{name}.yaml", CATALOGUE, known_devices()[device], Path("nothing-fetched"))


@pytest.mark.parametrize("study", ["demo", "paper-small", "paper", "paper-recovery"])
def test_the_command_prints_every_stage(study: str, tmp_path: Path, monkeypatch, capsys) -> None:
    # A folder without studies and without anything fetched.
    monkeypatch.chdir(tmp_path)
    run("cost", "--study", f"config/studies/{study}.yaml", "--device", DOCUMENTED.get(study, "cpu"))
    printed = capsys.readouterr().out
    rows = re.findall(r"(?m)^\| (.+?) +\| ([\d,]+) +\|", printed)
    found = {name: int(number.replace(",", "")) for name, number in rows}
    jobs = Counter(cost.stage for cost in costs(study, "h100").by_job)
    assert found == {**jobs, "in all": jobs.total()}
    assert re.search(
        r"(?m)^(nothing|[\d.]+ GB\b.*) to fetch; about .* for the longest job .* GB for the largest", printed
    )


def test_reconstruction_takes_what_one_core_took() -> None:
    """SmolLM2, and a random layer half as wide as those of Qwen2.5-1.5B, in processor time on an EPYC."""
    for shape, tokens, kept, seconds in (
        (Shape(30, 576, 1536, 9, 3, 64, 49152, True), 16384, 1017, 67.6),
        (Shape(1, 768, 4480, 6, 1, 128, 1024, True), 4096, 3284, 4.1),
    ):
        at_peak = solving(shape, Linear(), tokens, 256, [kept]) / known_devices()["cpu-avx512-bf16"].float32
        assert seconds / 1.5 < at_peak / UTILISATION < 1.5 * seconds


def test_blocks_that_a_model_writes_take_a_pass_of_each_token_and_a_device(tmp_path: Path) -> None:
    """Of 256 sequences of 2,048 tokens, eight of which fit into the cache at a time."""
    text = yaml.safe_load((STUDIES / "paper-small.yaml").read_text())
    c4 = {"corpus": "c4", "sequences": 256, "length": 2048}
    found = []
    for more in ({}, {"continued_after": 48}):
        (tmp_path / "s.yaml").write_text(yaml.safe_dump(text | {"calibrations": {"c4": c4 | more}}))
        jobs = costs_of(tmp_path / "s.yaml", CATALOGUE, known_devices()["a100-80"], tmp_path).by_job
        found.append(next(job for job in jobs if job.stage == "calibrate" and "llama-3.2-1b" in job.about))
    plain, written = found
    assert (plain.share, plain.gpu_memory) == (0, 0) and written.share == 1
    assert written.main_memory >= plain.main_memory > 0
    # 1.24 billion parameters of 2 bytes in 16 layers, each of which has 8 heads of 64 keys and values.
    cache = 8 * 2048 * 16 * 2 * 8 * 64 * 2
    assert written.gpu_memory == pytest.approx(2.47e9 + cache, rel=0.1)
    passes, starts = 2 * 1.24e9 * 256 * 2048 / 312e12 / UTILISATION, 32 * 2000 * 16 * 1e-3
    assert written.seconds == pytest.approx(plain.seconds + passes + starts, rel=0.05)


@pytest.mark.parametrize(
    ("study", "device", "hours"),
    [
        ("paper-small", "rtx-3090", 2),
        ("paper", "a100-80", 24),
        ("paper-recovery", "h100", 72),
    ],
)
def test_studies_keep_their_promise(study: str, device: str, hours: float) -> None:
    found = costs(study, device)
    assert unfit(found) == "" and hours / 3 < found.hours() < hours
    assert found.hours(4) == pytest.approx(found.hours() / 4)
    assert found.hours(10**6) == found.longest.seconds / 3600


@pytest.mark.parametrize(
    ("study", "device", "said", "unit", "files"),
    [
        (
            "paper-small",
            "rtx-4090",
            "39 minutes on an RTX 4090",
            1 / 60,
            ["docs/paper-study.md", "docs/studies.md", "config/studies/paper-small.yaml"],
        ),
        ("paper-small", "rtx-4090", "39 minutes |", 1 / 60, ["README.md"]),
        ("paper", "a100-80", "24 hours on an A100 of 80 GB", 1, ["docs/paper-study.md"]),
        ("paper", "h100", "10 on an H100", 1, ["docs/paper-study.md"]),
        ("paper-recovery", "h100", "46 hours on an H100", 1, ["docs/paper-study.md"]),
    ],
)
def test_documents_say_what_the_command_says(
    study: str, device: str, said: str, unit: float, files: list[str]
) -> None:
    assert round(costs(study, device).hours() / unit) == int(said.split()[0])
    for file in files:
        assert said in (ROOT / file).read_text(), file


@pytest.mark.parametrize(
    ("study", "card", "devices"),
    [
        ("paper", H100, 1),
        ("paper-recovery", H100, 4),
        ("paper", named_device("NVIDIA A100-SXM4-80GB", 85e9), 1),
        ("demo", named_device("NVIDIA GeForce RTX 4060 Laptop GPU", 8.2e9), 1),
    ],
)
def test_auto_takes_the_largest_that_fits(study: str, card: Device, devices: int) -> None:
    path, why = largest_tier(STUDIES, CATALOGUE, card, devices)
    assert path.stem == study, why


@pytest.mark.parametrize("tier", TIERS)
def test_what_a_gpu_takes_by_itself_can_decide_a_claim_on_accuracy(tier: str) -> None:
    """Fewer than three calibration samples have no interval of accuracy."""
    study = load(Study, STUDIES / f"{tier}.yaml")
    earlier = Evidence(results_of("recovery" if tier == "paper-recovery" else "accuracy"))
    said = [row.decides for row in decidable(Paper.read(ROOT / "paper/claims.yaml"), study, earlier)]
    assert any("published effect" in one for one in said) and not any("nothing" in one for one in said)


def test_names_of_drivers_and_instructions_of_processors(tmp_path: Path, monkeypatch) -> None:
    """A name of the table that is part of another's does not stand for it."""
    assert named_device("NVIDIA L40S", 1).name == "l40s" and named_device("NVIDIA L4", 1).name == "l4"
    unknown = named_device("NVIDIA A100X", 7)
    assert (unknown.name, unknown.memory) == ("NVIDIA A100X", 7)
    assert unknown.bfloat16 == min(one.bfloat16 for one in known_devices().values() if one.on_gpu)
    monkeypatch.setattr("hfprune.devices.known.CPUINFO", tmp_path / "cpuinfo")
    for flags, name in {None: "cpu", "fma avx512f": "cpu-avx512", "avx512_bf16 amx_bf16": "cpu-amx"}.items():
        if flags:
            (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        assert nominal_cpu().name == name


def test_what_does_not_fit_or_is_locked_is_said() -> None:
    found = costs("paper-recovery", "rtx-4090")
    memory = max(cost.main_memory for cost in found.by_job) / 1e6
    fits, fits_not = (announcement(found, study_file("paper-recovery"), 1, memory + it) for it in (1, -1))
    on_gpu = "too large: .* of qwen2.5-7b, .* GB of memory, but rtx-4090 has 25 GB"
    too_large = "too large: .* GB of main memory, but the profile's `mem_mb` allows"
    assert re.search(on_gpu, fits) and re.search(too_large, fits_not) and not re.search(too_large, fits)
    kept = "reads locked documents: wikipedia-heldout (read by `table7` and `recipe`, not used for selection)"
    assert kept in summary(costs("recipe", "cpu"))
    assert not any("locked" in line for line in summary(costs("demo", "cpu")))


def test_a_model_of_unknown_size_counts_as_7b(tmp_path: Path) -> None:
    text = (STUDIES / "paper-small.yaml").read_text()
    (tmp_path / "own.yaml").write_text(re.sub(r"(?m)^models: .*$", "models: {mine: my/own}", text))
    found = costs_of(tmp_path / "own.yaml", CATALOGUE, known_devices()["a100-80"])
    assert "of unknown size before they are fetched, counted as 7B: mine" in summary(found)


def test_the_command_says_what_a_study_can_decide(capsys: pytest.CaptureFixture, monkeypatch) -> None:
    (*_, words) = re.findall(
        r"(?m)^\$ (hfprune cost .* --like .+)$", (ROOT / "docs/paper-study.md").read_text()
    )
    monkeypatch.chdir(committed())
    run(*words.split()[1:])
    printed = capsys.readouterr().out
    rows = re.findall(r"(?m)^\| (\S+) +\| points +\| +(\d+) +\| +(\d) +\| +([\d.]+) +\|", printed)
    assert {"above-sdmprune", "above-llm-pruner", "above-tuned-dense"} <= {row[0] for row in rows}
    assert {row[2] for row in rows} == {"3"}


def test_auto_is_refused_on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(HfpruneError, match=r"study: auto is for one machine .* add --config study=NAME"):
        choose({"study": "auto"}, [], cluster=True, submits=False, gpus=1)


def test_mistakes_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = failure("cost", "--study", STUDIES / "demo.yaml", "--device", "h1000")
    assert "'h1000'; known: cpu" in said and "a100-80, h100" in said
    (tmp_path / "results").mkdir()
    (tmp_path / "results/recovery").symlink_to(results_of("recovery"))
    monkeypatch.chdir(tmp_path)
    said = failure("cost", "--study", "demo", "--like", "recovry")
    assert re.search(r"--like recovry: no items.parquet in .*did you mean 'recovery'", said)


def test_from_disk_the_processor_computes_and_holds_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "disk.yaml"
    text = {"corpus": "c4-sample", "sequences": 8, "length": 128}
    given = {"models": ["qwen2.5-7b"], "methods": ["wanda"], "ratios": 0.2, "calibrations": {"c4": text}}
    given |= {"measures": {"perplexity": {"corpus": "c4-sample-heldout", "sequences": 8, "length": 128}}}
    found = {}
    for device_map in (None, "disk"):
        path.write_text(yaml.safe_dump(given | {"device_map": device_map, "dtype": "bfloat16"}))
        found[device_map] = costs_of(path, CATALOGUE, known_devices()["a100-80"], tmp_path)
    weights = found["disk"].shapes["qwen2.5-7b"].weights("bfloat16")
    assert found[None].device.on_gpu and not found["disk"].device.on_gpu
    assert max(cost.gpu_memory for cost in found[None].by_job) > weights > 14e9
    assert max(cost.gpu_memory for cost in found["disk"].by_job) == 0
    assert max(cost.main_memory for cost in found["disk"].by_job if cost.stage != "fetch") < weights
