"""The paper study as a user's first dry run sees it: a fresh clone, no network, no GPU, nothing fetched."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml
from smoke import ROOT, jobs, snakemake

from hfprune.assets.catalogue import Catalogue
from hfprune.cost.choice import costs_of
from hfprune.devices.known import known_devices
from hfprune.settings import load
from hfprune.study import cells as study_cells
from hfprune.study.study import Study

PROBE = """
rule probe:
    output: "probe"
    resources: gpu=lambda _: gpus()
    shell: "echo {resources.gpu} > {output}"
"""
HUNGRY = """
rule hungry:
    output: "hungry/{model}/{method}/{calibration}/{sequences}/{ratio}/draw{draw}/{recovery}"
    retries: 2
    resources:
        **ADAPTERS.needs
    shell: "echo {resources.mem_mb} {resources.gpu_mem_mb} {resources.runtime} >> limits.txt; exit 1"
"""


def add(rule: str, file: Path) -> None:
    file.write_text(file.read_text() + rule)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    shutil.copy(ROOT / "Snakefile", folder)
    for name in ("workflow", "profiles", "config", "paper"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def test_dry_run_is_complete_and_as_counted(clone: Path) -> None:
    output = snakemake(clone, "--dry-run", "--config", "study=paper")
    # The cost model counts the same jobs.
    catalogue = load(Catalogue, ROOT / "config/assets.yaml")
    counted = costs_of(ROOT / "config/studies/paper.yaml", catalogue, known_devices()["h100"])
    run: Counter[str] = Counter()
    for rule, count in jobs(output).items():
        run[rule.partition("_")[0]] += count
    assert Counter(job.stage for job in counted.jobs).items() <= run.items()


def test_a_rule_names_all_that_its_jobs_read(clone: Path) -> None:
    """Of `workflow/Snakefile`, the entry for catalogues of workflows, which has the same rules and target."""
    shutil.copytree(clone, other := clone.with_name("unnamed"))
    arguments = ("--snakefile", "workflow/Snakefile", "--dry-run", "--config", "study=demo")
    rules = other / "workflow/rules/score.smk"
    assert jobs(snakemake(other, *arguments)) == jobs(snakemake(clone, "--dry-run", "--config", "study=demo"))
    rules.write_text(
        rules.read_text().replace('SCORES.inputs("model", "blocks", ', 'SCORES.inputs("model", ')
    )
    assert "its rule must name its inputs blocks" in snakemake(other, *arguments, check=False)


def test_recovered_cells_have_the_same_plans_and_as_many_tokens() -> None:
    studies = [load(Study, ROOT / f"config/studies/{name}.yaml") for name in ("paper", "paper-recovery")]
    untuned, tuned = studies
    assert untuned.calibrations == tuned.calibrations
    assert {name: untuned.methods[name] for name in tuned.methods} == tuned.methods
    assert (tuned.models, tuned.dtype, tuned.draws) == (untuned.models, untuned.dtype, untuned.draws[:3])
    cells = [cell for cell in study_cells.cells("paper-recovery", tuned) if cell.recovery == "lora"]
    # The six dense models, and three methods at every ratio and SDMPrune, with three draws.
    assert len(cells) == 3 * (6 + 14 * 3 + 6 + 6 + 2)
    assert tuned.recovery is not None and tuned.recovery.max_steps


DEMO = r"study: demo \(no CUDA device is visible; another: --config study=NAME\)"
RECOVERY = ["--config", "study=paper-recovery", "device=rtx-4090"]


@pytest.mark.parametrize(
    ("arguments", "works", "said"),
    [
        ([], True, rf"{DEMO}(?:\n.*)*?\ncost: 0\.66 GB to fetch; about [\d.]+ \w+ on \d+ cores of cpu"),
        (RECOVERY, True, "cost: too large: recover of qwen2.5-7b, .* of memory, but rtx-4090 has 25 GB$"),
        (["--config", "device=h1000"], False, ".*unknown device 'h1000'; known: auto, cpu, cpu-avx512"),
    ],
)
def test_what_a_study_takes_is_said_before_the_first_job(clone, arguments, works, said, monkeypatch) -> None:
    monkeypatch.setenv("HFPRUNE_DOWNLOADS", "nothing-downloaded")
    assert re.search(f"^{said}", snakemake(clone, "--dry-run", *arguments, check=works), re.MULTILINE)


def test_with_a_device_map_a_job_takes_all_gpus_and_none_is_too_large(clone: Path) -> None:
    settings = yaml.safe_load((clone / "config/studies/paper-small.yaml").read_text())
    settings |= {"models": ["qwen2.5-7b"], "device_map": "auto"}
    (clone / "config/studies/spread.yaml").write_text(yaml.safe_dump(settings | {"draws": [0]}))
    chosen = ("--config", "study=spread", "device=rtx-3090")
    add(PROBE, clone / "workflow/rules/score.smk")
    snakemake(clone, "probe", "--resources", "gpu=4", *chosen)
    assert (clone / "probe").read_text().strip() == "4"
    output = snakemake(clone, "--dry-run", "--printshellcmds", *chosen)
    assert "too large" not in output
    for command in ("score", "measure"):
        lines = re.findall(rf"hfprune {command} .*", output)
        assert lines and all('"device_map": "auto"' in line for line in lines)


def test_jobs_have_limits_that_grow_with_the_attempt(clone: Path) -> None:
    """A rule that fails twice prints what its third attempt may take: three times the first."""
    target = "hungry/qwen2.5-7b/entropy/c4/1024/0.2/draw0/lora"
    add(HUNGRY, clone / "workflow/rules/recover.smk")
    snakemake(clone, "--config", "study=paper-recovery", "device=h100", "--", target, check=False)
    lines = (clone / "limits.txt").read_text().splitlines()
    first, second, third = ([int(number) for number in line.split()] for line in lines)
    assert [number * 2 for number in first] == pytest.approx(second, abs=1)
    assert [number * 3 for number in first] == pytest.approx(third, abs=2)
    assert 30_000 < first[1] < 45_000, "MB on the GPU for the adapter of a 7B model, with a margin"
