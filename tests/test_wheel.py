"""The wheel without the checkout and without extras: what somebody has who only prunes."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch
import yaml
from smoke import ROOT, save_model

from hfprune.assets.shipped import shipped
from hfprune.errors import EXTRAS

pytestmark = pytest.mark.thorough

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
# Runs several commands in one process.
SEVERAL = """
import runpy, sys
for line in sys.stdin.read().splitlines():
    sys.argv = ["hfprune", *line.split()]
    try:
        runpy.run_module("hfprune", run_name="__main__")
    except SystemExit as end:
        print(f"{line}: {end.code}")
import hfprune
print(hfprune.__file__)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel and links to all installed packages but those of the extras."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    subprocess.run([*PIP, "install", "--no-deps", "--target", site, wheel], check=True)
    absent = {*EXTRAS, "datasets", "snakemake"}
    for path in Path(torch.__file__).parents[1].iterdir():
        if re.split(r"[-.]", path.name)[0] not in absent and not path.name.startswith("hfprune"):
            (site / path.name).symlink_to(path)
    return site


def hfprune(site: Path, folder: Path, *lines: str) -> list[str]:
    """Run command lines in a folder with the packages of `site` alone; return what was printed, line by line."""
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", SEVERAL],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(site), "CUDA_VISIBLE_DEVICES": ""},
        input="\n".join(lines),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    *printed, file = done.stdout.splitlines()
    assert file == str(site / "hfprune/__init__.py")
    return printed


def test_wheel_prunes_in_an_empty_folder_without_extras(site: Path, tmp_path: Path, downloads: Path) -> None:
    save_model("llama", tmp_path / "mine")
    (tmp_path / "pairs.jsonl").write_text('{"instruction": "Say yes.", "output": "Yes."}')
    model = "--model mine"
    printed = hfprune(
        site,
        tmp_path,
        "--help",
        "methods",
        "fetch corpora/c4-sample corpora/c4-sample-heldout",
        "fetch --study config/studies/demoo.yaml",
        f"calibrate {model} --corpus resources/corpora/c4-sample --sequences 4 --length 24 --sampling pack"
        " --out blocks.safetensors",
        f"score {model} --blocks blocks.safetensors --criterion entropy --out scores.safetensors",
        f"plan {model} --scores scores.safetensors --ratio 0.15 --out plan.safetensors",
        f"export {model} --plan plan.safetensors --out pruned",
        f"measure fidelity {model} --plan plan.safetensors --corpus c4-sample-heldout --sequences 2 --length 24"
        " --out by-hand",
        f"prune {model} --ratio 0.15 --sequences 4 --length 24 --out all",
        "claims --results results",
        "fetch tasks/piqa",
        f"recover {model} --plan plan.safetensors --instructions pairs.jsonl --out adapter",
        "figures --results results --out figures",
    )
    text = "\n".join(printed)
    assert "--help: 0" in printed and "cross_entropy" in text
    ends = [line.partition(": error: ")[2] for line in printed if ": error: " in line]
    assert ends == [
        "config/studies/demoo.yaml: cannot read it: No such file or directory",
        "results: no outcomes of items, items.parquet; run `hfprune collect` first",
        "this needs the package lm_eval: pip install 'hfprune[tasks]'",
        "this needs the package peft: pip install 'hfprune[recovery]'",
        "this needs the package matplotlib: pip install 'hfprune[study]'",
    ]
    assert (site / "hfprune/shipped/paper/anomalies.csv").is_file()
    assert (tmp_path / "pruned/model.safetensors").is_file()
    assert (tmp_path / "by-hand/fidelity.json").is_file()
    assert "perplexity on c4-reading" in text and "bits per byte" not in text
    assert (tmp_path / "all/report.html").is_file()


def test_nothing_of_the_repository_itself_is_in_the_wheel(site: Path) -> None:
    """Such as the tool that makes docs/findings.md."""
    own = {path.name for path in site.iterdir() if not path.is_symlink()}
    assert {name.partition("-")[0] for name in own} == {"bin", "hfprune"}


def test_extras_are_those_of_the_project_and_nothing_else_is_imported() -> None:
    def named(requirements: list[str]) -> set[str]:
        files = (distribution(re.split(r"[<>=\[]", one)[0]).files or [] for one in requirements)
        return {path.parts[0].partition(".")[0] for paths in files for path in paths}

    optional = PROJECT["optional-dependencies"]
    for module, extra in EXTRAS.items():
        assert module in named(optional[extra])
    imported = {
        (name.name if isinstance(node, ast.Import) else str(node.module)).partition(".")[0]
        for file in (ROOT / "hfprune").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    foreign = imported - {*sys.stdlib_module_names, "hfprune"}
    # Parts of transformers and jinja2.
    assert foreign - named(PROJECT["dependencies"]) - {"tokenizers", "markupsafe"} == {*EXTRAS}


def test_files_of_the_working_folder_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    catalogue = Path("config/assets.yaml")
    assert shipped(catalogue) == ROOT / catalogue
    (tmp_path / "config").mkdir()
    (tmp_path / catalogue).write_text("")
    assert shipped(catalogue) == catalogue
    for other in ("README.md", "config/none.yaml"):
        assert shipped(Path(other)) == Path(other)


def test_pip_finds_what_an_environment_names(tmp_path: Path) -> None:
    """Those of jobs in any folder, since Snakemake copies them elsewhere; that of the studies in its own."""
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    pip = [*PIP, "install", "--dry-run", "--ignore-installed", "--no-deps", "--requirement"]
    jobs = [(file, tmp_path) for file in (ROOT / "workflow/envs").glob("*.yml")]
    for file, folder in [*jobs, (ROOT / "environment.yml", ROOT)]:
        parts = yaml.safe_load(file.read_text())["dependencies"]
        wanted = [name for part in parts if isinstance(part, dict) for name in part["pip"]]
        (tmp_path / "requirements.txt").write_text("\n".join(wanted))
        subprocess.run([*pip, tmp_path / "requirements.txt"], cwd=folder, check=True)
