"""The house: imports never in a circle, nothing heavy before it is needed, files that one can read."""

import graphlib
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from conftest import LONGEST
from house import CEILINGS, ROOT, graph, modules, package, sizes
from packaging.requirements import Requirement

FILES = [*modules().values()]


def test_no_imports_in_a_circle() -> None:
    """Those within functions and for types included."""
    imports = graph()
    assert sum(map(len, imports.values())) > 100
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_packages_import_downwards_only() -> None:
    """Imports within functions, too: they make commands start fast, and are no way around the layers."""
    packages: dict[str, set[str]] = {}
    for name, below in graph().items():
        packages.setdefault(package(name), set()).update(map(package, below))
    assert len(packages) > 20
    graphlib.TopologicalSorter({name: below - {name} for name, below in packages.items()}).prepare()


def test_the_publishing_tower_stands_beside_the_computing_one() -> None:
    """Studies, results and pages read settings and contracts, and no package that computes; shapes: a table."""
    reading = {"study", "paper", "cells", "statistics", "results", "effects", "checking"}
    publishing = {*reading, "report", "page", "comparison"}
    computing = {"models", "scoring", "plans", "recovery", "evaluation", "measures", "stages", "pruning"}
    packages = {package(name).removeprefix("hfprune.") for name in graph()}
    assert publishing | computing <= packages
    for name, below in graph().items():
        if package(name).removeprefix("hfprune.") in publishing:
            found = {package(one).removeprefix("hfprune.") for one in below - {"hfprune.models.shape"}}
            assert not found & computing, name


def pins(file: str) -> dict[str, str]:
    """Return what a file pins, by name."""
    lines = (ROOT / file).read_text().splitlines()
    return dict(re.match(r"([\w.-]+)==([^\s;]+)", line).groups() for line in lines if re.match(r"\w", line))


def test_the_locks_fit_what_the_package_asks_for() -> None:
    """`make lock` makes them: all of constraints.txt but torch and pip by hash, and what testing needs apart."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked: dict[str, set[Requirement]] = {}
    for name, lines in {"run": project["dependencies"], **extras}.items():
        found = {
            Requirement(line.replace("_", "-")) for line in lines if not line.startswith(("hfprune", "pip>"))
        }
        asked.setdefault("test" if name in ("dev", "parity") else "run", set()).update(found)
    pinned, run, test = pins("constraints.txt"), pins("locks/run.txt"), pins("locks/test.txt")
    assert all(one.specifier.contains(pinned[one.name]) for part in asked.values() for one in part)
    assert not [version for version in pinned.values() if "+" in version], "each build of torch fits"
    assert {one.name for one in asked["run"]} <= run.keys() | {"torch"}
    assert {one.name for one in asked["test"]} <= test.keys()
    assert not run.keys() & test.keys()
    assert run | test | {"torch": pinned["torch"]} == pinned
    environment = yaml.safe_load((ROOT / "workflow/envs/hfprune.yml").read_text())["dependencies"][-1]["pip"]
    jobs = {one.name for one in asked["run"]} - {"snakemake"}
    assert sorted(environment) == sorted(f"{name}=={pinned[name]}" for name in jobs)


def test_what_is_dealt_to_the_processes_of_the_tests_first_is_there() -> None:
    assert not [name for name in LONGEST if not (ROOT / "tests" / name).exists()]


@pytest.mark.parametrize("what", CEILINGS)
def test_what_a_reader_must_hold_in_mind_stays_small(what: str) -> None:
    assert sizes()[what] <= CEILINGS[what]


def test_one_place_for_the_head_and_none_for_the_workflow_or_the_findings() -> None:
    named = {str(file.relative_to(ROOT)) for file in FILES if "lm_head" in file.read_text()}
    assert named == {"hfprune/models/head.py", "hfprune/models/units.py"}
    knows = re.compile(r"^\s*(import|from) (snakemake|findings)|\.smk", re.MULTILINE)
    assert not [file for file in FILES if knows.search(file.read_text())], "the package knows no Snakemake"


# What a part of the package does, and what it must do without: imports take seconds.
LIGHT = {
    "import hfprune.results.gathering, hfprune.report.tables": {"matplotlib", "scipy", "torch"},
    "import hfprune.page.pruned": {"matplotlib", "torch"},
    """
from hfprune.report.publication import caption, publication_names
for name in publication_names("tables"):
    assert caption("tables", name)
""": {"pandas", "matplotlib", "torch"},
    """
from pathlib import Path
from hfprune.criteria import CRITERIA
from hfprune.measurement import MEASURES
from hfprune.settings import load
from hfprune.assets.catalogue import Catalogue
from hfprune.cost import choice, progress
from hfprune.study.references import load_study
for name in CRITERIA.sources():
    CRITERIA.make(name, {}, "here")
for name in MEASURES.sources():
    MEASURES.load(name)
for path in sorted(Path("config/studies").glob("*.yaml")):
    load_study(path, load(Catalogue, Path("config/assets.yaml")))
""": {"torch", "transformers", "pandas", "lm_eval", "datasets"},
    # What the rules import, so that `snakemake --lint` needs Snakemake alone, as catalogues of workflows run it.
    "\n".join(
        line
        for file in sorted((ROOT / "workflow").rglob("*.smk"))
        for line in file.read_text().splitlines()
        if line.startswith("from hfprune")
    ): {"numpy", "pandas", "safetensors", "filelock", "tqdm", "torch"},
}


@pytest.mark.parametrize(
    "code", LIGHT, ids=["collecting and tables", "pages", "captions", "checking a study", "the rules"]
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    imported = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert not LIGHT[code] & {*imported.split()}


def test_packages_import_what_stands_above_them_in_the_page_on_architecture() -> None:
    table = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    places = {f"hfprune.{name}": place for place, name in enumerate(table)}
    known = {package(name) for name in graph()} - {"hfprune", "hfprune.__main__"}
    assert places.keys() == known
    below = {
        (package(name), package(other))
        for name, imports in graph().items()
        for other in imports
        if package(name) in places and package(other) in places
    }
    assert not [(one, other) for one, other in below if places[other] > places[one]]
