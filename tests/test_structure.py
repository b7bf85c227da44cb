"""The house: imports never in a circle, nothing heavy before it is needed, files that one can read."""

import graphlib
import re
import subprocess
import sys
import tomllib

import pytest
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
    """Studies, analysis and pages read settings and contracts, and no package that computes; shapes: a table."""
    publishing = {"study", "paper", "analysis", "report", "page", "findings", "comparison"}
    computing = {"models", "scoring", "plans", "recovery", "evaluation", "measures", "stages", "pruning"}
    for name, below in graph().items():
        if package(name).removeprefix("hfprune.") in publishing:
            found = {package(one).removeprefix("hfprune.") for one in below - {"hfprune.models.shape"}}
            assert not found & computing, name


def test_the_constraints_fit_what_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = project["dependencies"], *project["optional-dependencies"].values()
    lines = [line.replace("_", "-") for part in lists for line in part]
    asked = {Requirement(line) for line in lines if not line.startswith(("hfprune", "pip>"))}
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    assert {one.name for one in asked} == {*pinned}
    assert all(one.specifier.contains(pinned[one.name]) and "+" not in pinned[one.name] for one in asked)


@pytest.mark.parametrize("what", CEILINGS)
def test_what_a_reader_must_hold_in_mind_stays_small(what: str) -> None:
    assert sizes()[what] <= CEILINGS[what]


def test_one_place_for_the_head_and_none_for_the_workflow() -> None:
    named = {str(file.relative_to(ROOT)) for file in FILES if "lm_head" in file.read_text()}
    assert named == {"hfprune/models/head.py", "hfprune/models/units.py"}
    knows = re.compile(r"^\s*(import|from) snakemake|\.smk", re.MULTILINE)
    assert not [file for file in FILES if knows.search(file.read_text())], "the package knows no Snakemake"


# What a part of the package does, and what it must do without: imports take seconds.
LIGHT = {
    "import hfprune.analysis.gathering, hfprune.report.tables": {"matplotlib", "scipy", "torch"},
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
}


@pytest.mark.parametrize(
    "code", LIGHT, ids=["collecting and tables", "pages", "captions", "checking a study"]
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
