"""Where criteria come from: files and entry points; what is wrong with one costs nobody else."""

import shutil
from pathlib import Path

import command_line
import pytest
from packages import hfprune, install
from smoke import ROOT

GOOD = '''
from hfprune.criteria import WeightCriterion


class Ones(WeightCriterion):
    """All the same."""

    power: int = 2

    def layer_scores(self, mlp, generator):
        return mlp.gate.weight[:, 0] * 0 + 1
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of hfprune with good and bad criterion files, beside a package that adds some by entry points."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "hfprune", folder / "hfprune", ignore=shutil.ignore_patterns("__pycache__"))
    files = {
        "ones": GOOD,
        "typo": "import torhc\n",
        "quits": "raise SystemExit(3)\n",
        "none": "x = 1\n",
        "twice": GOOD + "\n\nclass More(Ones):\n    pass\n",
        "half": GOOD.split("    def")[0],
    }
    for name, text in files.items():
        (folder / f"hfprune/criteria/{name}.py").write_text(text)
    (folder / "other_ones.py").write_text(GOOD.replace("power", "other_power"))
    points = {
        "theirs": "other_ones:Ones",
        "entropy": "other_ones:Ones",
        "text": "other_ones:__name__",
        "gone": "other_ones:Gone",
    }
    install(folder, "other-ones", points)
    return folder


def test_methods_lists_all_and_the_errors_of_the_broken(package: Path) -> None:
    run = hfprune(package, "methods")
    assert run.returncode == 0, run.stderr
    lines, entries = run.stdout.splitlines(), {}
    assert max(map(len, lines)) <= 110
    for paragraph in run.stdout.split("\n\n"):
        name, _, said = " ".join(paragraph.split()).partition(": ")
        entries[name] = said
    assert entries["ones"] == "weights, hfprune/criteria/ones.py All the same. options: power=2"
    assert entries["theirs"].startswith("weights, other-ones (other_ones:Ones) ")
    assert entries["theirs"].endswith(" options: other_power=2")
    assert "aggregation=sum_abs" in entries["cross_entropy"]
    assert entries["cross_entropy"].startswith("gradient, ")
    errors = {name: said[said.index("error: ") :] for name, said in entries.items() if "error: " in said}
    here = "error: hfprune/criteria/"
    assert errors == {
        "typo": f"{here}typo.py: does not import (ModuleNotFoundError: No module named 'torhc')",
        "quits": f"{here}quits.py: does not import (SystemExit: 3)",
        "none": f"{here}none.py: must define one subclass of Criterion, but defines 0",
        "twice": f"{here}twice.py: must define one subclass of Criterion, but defines 2",
        "half": f"{here}half.py: Ones must define layer_scores",
        "entropy": "error: criterion 'entropy' is defined by hfprune/criteria/entropy.py and by "
        "other-ones (other_ones:Ones); rename one",
        "text": "error: other-ones (other_ones:__name__): is no subclass of hfprune.criteria.Criterion",
        "gone": "error: other-ones (other_ones:Gone): does not import "
        "(AttributeError: module 'other_ones' has no attribute 'Gone')",
    }


@pytest.mark.parametrize(("columns", "widest"), [("60", 60), ("300", 110)])
def test_lines_are_as_wide_as_the_terminal_but_for_names(columns, widest, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    command_line.run("methods")
    lengths = [len(line) for line in capsys.readouterr().out.splitlines()]
    assert widest - 15 < max(lengths) <= widest


def test_a_broken_criterion_is_one_line_for_whoever_names_it(package: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    out = str(tmp_path / "s.safetensors")
    run = hfprune(package, "score", "--criterion", "typo", "--model", str(tmp_path), "--out", out)
    assert run.returncode == 1
    assert run.stderr == (
        "hfprune score: error: --criterion/--options: hfprune/criteria/typo.py: "
        "does not import (ModuleNotFoundError: No module named 'torhc')\n"
    )
