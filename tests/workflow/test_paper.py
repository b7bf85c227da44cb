"""The paper study as a user's first dry run sees it: a fresh clone, no network, no GPU, nothing fetched."""

import re
import shutil
from pathlib import Path

import pytest
from smoke import ROOT, jobs, snakemake

from hfprune.settings import load
from hfprune.study import layout
from hfprune.study.study import Study


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    shutil.copy(ROOT / "Snakefile", folder)
    for name in ("workflow", "profiles", "config", "paper"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def test_dry_run_is_complete_and_as_documented(clone: Path) -> None:
    output = snakemake(clone, "--dry-run", "--config", "study=paper")
    study = load(Study, ROOT / "config/studies/paper.yaml")
    for file in layout.result_files("paper", study):
        assert f"results/paper/{file}" in output
    text = (ROOT / "docs/paper-study.md").read_text()
    documented = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", text, re.MULTILINE))
    assert jobs(output) == {rule: int(count) for rule, count in documented.items()}
    (total,) = re.findall(r"^\| in all \| (\d+) \|", text, re.MULTILINE)
    assert sum(jobs(output).values()) == int(total)


def test_a_dry_run_imports_nothing_heavy(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    output = snakemake(clone, "--dry-run", "--quiet", "all")
    imported = {line.rpartition("|")[2].strip() for line in output.splitlines() if "import time:" in line}
    assert {"pydantic", "hfprune.study.study"} <= imported
    assert not {"torch", "transformers", "lm_eval", "datasets"} & imported


def test_ratios_are_the_papers() -> None:
    study = load(Study, ROOT / "config/studies/paper.yaml")
    ratios = {model: study.ratios_of(model) for model in study.models}
    assert ratios.pop("qwen2.5-7b") == ratios.pop("qwen2.5-1.5b") == [0.2, 0.3, 0.4]
    assert ratios.keys() == {"llama-2-7b", "llama-3.2-3b", "llama-3.2-1b", "qwen3-1.7b"}
    assert all(own == [0.2, 0.3] for own in ratios.values())
    pruned = [
        cell for cell in layout.cells("paper", study) if (cell.method, cell.recovery) != ("dense", "none")
    ]
    # Six methods at every ratio, and SDMPrune with its settings for 20 %, 30 % and, of two models, 40 %.
    points = 4 * 2 + 2 * 3
    assert len(pruned) == (points * 6 + 6 + 6 + 2) + (6 + points * 3 + 6 + 6 + 2)


def test_without_a_gpu_auto_is_the_demo(clone: Path) -> None:
    output = snakemake(clone, "--dry-run")
    assert "study: demo (no CUDA device is visible; another: --config study=NAME)" in output
