"""The commands of docs/hardware.md that print a cost, and what the studies of the paper promise."""

import re
from collections import Counter
from pathlib import Path

import pytest
from command_line import failure, run
from committed import results_of
from smoke import ROOT

from hfprune.assets.catalogue import Catalogue
from hfprune.cost.choice import announcement, largest_tier, over_limits
from hfprune.cost.costs import Cost, Costs
from hfprune.cost.table import table, unfit
from hfprune.devices.table import Device, known_devices, named_device
from hfprune.settings import load
from hfprune.study.layout import study_file
from hfprune.study.places import load_files

PAGE = ROOT / "docs/hardware.md"
STUDIES = ROOT / "config/studies"
MINE = "  mine: {source: {provider: hub, repo: my/own, revision: main}}\n"
DOCUMENTED = re.findall(
    r"^\$ hfprune cost --study config/studies/(\S+).yaml --device (\S+)$", PAGE.read_text(), re.MULTILINE
)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load(Catalogue, ROOT / "config/assets.yaml")


def costs(name: str, device: Device, catalogue: Catalogue) -> Costs:
    return Costs(load_files(STUDIES / f"{name}.yaml", catalogue), device, Path("nothing-fetched"))


def recoveries(found: Costs) -> list[Cost]:
    return [cost for cost in found.each if cost.stage == "recover"]


@pytest.mark.parametrize(("study", "device"), DOCUMENTED, ids=[study for study, _ in DOCUMENTED])
def test_the_command_prints_every_rule(
    study: str, device: str, catalogue: Catalogue, tmp_path: Path, monkeypatch, capsys
) -> None:
    # A folder without studies and without anything fetched.
    monkeypatch.chdir(tmp_path)
    run("cost", "--study", f"config/studies/{study}.yaml", "--device", device)
    printed = capsys.readouterr().out
    rules = {
        rule: int(count) for rule, count in re.findall(r"^\| `?([\w ]+?)`? +\| +(\d+) \|", printed, re.M)
    }
    jobs = Counter(job.stage for job in costs(study, known_devices()["h100"], catalogue).each)
    assert rules == {**jobs, "in all": jobs.total()}
    assert all(
        f"\n{line}" in printed for line in ("longest job: ", "main memory of a job: ", "to download: ")
    )


def test_the_command_says_what_a_study_can_decide(capsys: pytest.CaptureFixture, monkeypatch) -> None:
    (words,) = re.findall(r"(?m)^\$ (hfprune cost .* --like .+)$", (ROOT / "docs/paper-study.md").read_text())
    monkeypatch.chdir(ROOT)
    run(*words.split()[1:])
    printed = capsys.readouterr().out
    rows = re.findall(r"(?m)^\| (\S+) +\| points +\| +(\d+) +\| +(\d) +\| +([\d.]+) +\|", printed)
    run(*words.partition(" --like")[0].split()[1:])
    assert capsys.readouterr().out == printed, "in a clone, without the flag"
    assert {"above-sdmprune", "above-llm-pruner", "above-tuned-dense"} <= {row[0] for row in rows}
    assert "unknown:" not in printed
    run(*words.replace("--like recovery", "--like untuned").split()[1:])
    assert "unknown: no earlier study" in capsys.readouterr().out, "Table 8, without attention pruned"
    assert {row[2] for row in rows} == {"3"} and all(0 < float(row[3]) < 10 for row in rows)
    alone = failure("cost", "--results", "results/demo", "--like", "results/recovery")
    assert "--like needs --study STUDY" in alone


def test_a_study_that_reads_locked_documents_says_so(catalogue: Catalogue, tmp_path: Path) -> None:
    device = known_devices()["cpu"]
    kinds = "kept to confirm what was found on other kinds of text"
    kept = {
        "recovery": "wikipedia-recipe (they chose a recipe and an outcome, so they confirm neither)",
        "recipe-confirm": "wikipedia-recipe-confirm (kept to confirm a recipe)",
        "domains": f"stories ({kinds}), code-heldout ({kinds})",
        "demo": "",
    }
    for name, documents in kept.items():
        said = f"reads locked documents: {documents}" if documents else ""
        found = costs(name, device, catalogue)
        for text in (table(found), announcement(found, study_file(name), catalogue, tmp_path)):
            assert said in text and ("locked" in text) == bool(said)
    # The mark is none of what is fetched, so that marking a text fetches nothing again.
    assert "locked" not in catalogue.corpora["wikipedia-recipe"].model_dump()


@pytest.mark.parametrize("named", ["recovry", "paper", "demo"])
def test_an_earlier_study_without_items_is_refused_before_anything_is_counted(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    # As in a clone where the demo has not been run.
    (tmp_path / "results/demo").mkdir(parents=True)
    for study in ("recovery", "untuned"):
        (tmp_path / "results" / study).symlink_to(results_of(study))
    monkeypatch.chdir(tmp_path)
    said = failure("cost", "--study", "demo", "--like", "recovery", named)
    assert re.search(rf"--like {named}: no outcomes of items .*recovery, untuned", said)
    assert capsys.readouterr().out == ""


def test_every_study_of_the_paper_is_on_the_page() -> None:
    assert {study for study, _ in DOCUMENTED} == {"demo", "paper-small", "paper", "paper-recovery"}


@pytest.mark.parametrize(
    ("study", "device", "hours"),
    [
        ("paper-small", "rtx-3090", 2),
        ("paper-small", "l4", 2),
        ("paper", "a100-80", 24),
        ("paper-recovery", "h100", 72),
    ],
)
def test_studies_keep_their_promise(study: str, device: str, hours: float, catalogue: Catalogue) -> None:
    found = costs(study, known_devices()[device], catalogue)
    assert unfit(found) == ""
    assert found.hours() < hours


@pytest.mark.parametrize(
    ("name", "gigabytes", "devices", "study"),
    [
        ("NVIDIA H100 80GB HBM3", 85, 1, "paper"),
        ("NVIDIA H100 80GB HBM3", 85, 4, "paper-recovery"),
        ("NVIDIA A100-SXM4-80GB", 85, 1, "paper"),
        ("NVIDIA A100-SXM4-80GB", 85, 8, "paper-recovery"),
        ("NVIDIA GeForce RTX 3090", 25.3, 1, "paper-small"),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", 8.2, 1, "demo"),
    ],
)
def test_auto_takes_the_largest_that_fits(
    name: str, gigabytes: float, devices: int, study: str, catalogue: Catalogue
) -> None:
    device = named_device(name, 1e9 * gigabytes)
    path, why = largest_tier(STUDIES, catalogue, device, devices)
    assert path.stem == study, why
    assert unfit(costs(study, device, catalogue)) == ""


@pytest.mark.parametrize("models", ["[nobodys]", "[mine]", "{mine: {ratio: 0.1}}"])
def test_the_next_larger_study_does_not_stop_this_one(models: str, tmp_path: Path) -> None:
    """It names no asset of the catalogue, one of unknown size, or a wrong key."""
    added = (ROOT / "config/assets.yaml").read_text().replace("models:\n", f"models:\n{MINE}", 1)
    (tmp_path / "assets.yaml").write_text(added)
    larger = (STUDIES / "paper-small.yaml").read_text()
    (tmp_path / "paper-small.yaml").write_text(re.sub(r"(?m)^models: .*$", f"models: {models}", larger))
    catalogue = load(Catalogue, tmp_path / "assets.yaml")
    said = announcement(
        costs("demo", known_devices()["cpu"], catalogue), study_file("demo"), catalogue, tmp_path
    )
    assert said.startswith("cost: ") and ("study=paper-small" in said) == (models == "[mine]")


def test_names_of_drivers() -> None:
    """A name of the table that is part of another's does not stand for it."""
    assert named_device("NVIDIA L40S", 1).name == "l40s"
    assert named_device("NVIDIA L4", 1).name == "l4"
    assert named_device("NVIDIA A100 80GB PCIe", 1).name == "a100-80"
    unknown = named_device("NVIDIA A100X", 7)
    assert (unknown.guessed, unknown.name, unknown.memory) == (True, "NVIDIA A100X", 7)


def test_a_job_that_does_not_fit_is_named(catalogue: Catalogue) -> None:
    found = costs("paper-recovery", known_devices()["rtx-4090"], catalogue)
    assert found.largest.memory > found.device.memory
    assert (
        found.largest.stage in unfit(found)
        and "qwen2.5-7b" in unfit(found)
        and "rtx-4090 has 25 GB" in unfit(found)
    )


def test_a_job_that_no_node_may_take_is_named(catalogue: Catalogue) -> None:
    found = costs("paper-recovery", known_devices()["a6000"], catalogue)
    memory = max(cost.main_memory for cost in found.each) / 1e6
    hours = found.longest.seconds / 3600
    assert over_limits(found, memory + 1, 60 * hours + 1) == over_limits(found, None, None) == []
    large, long = over_limits(found, memory - 1, 60)
    assert re.search(rf"too large: .* of .*7b.* needs about {memory / 1e3:.1f} GB of main memory", large)
    assert f"{found.longest.stage} of {found.longest.about} takes about {hours:.1f} hours" in long


def test_an_unknown_device_is_one_line_with_the_known_names() -> None:
    said = failure("cost", "--study", ROOT / "config/studies/demo.yaml", "--device", "h1000")
    assert "'h1000'" in said and "a100-80, h100" in said and "--device here" in said
