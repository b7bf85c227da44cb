"""README and docs: a short README, links that lead somewhere, and commands that the command line accepts."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from command_line import run
from committed import results_of
from pydantic import BaseModel
from smoke import ROOT

from findings.__main__ import listed
from findings.cited import effect_rows
from hfprune.commands import flags
from hfprune.cost.choice import Config
from hfprune.measurement import MEASURES
from hfprune.models.supported import architectures
from hfprune.results.effect_rows import EffectRow, read_effects
from hfprune.study.study import Study

PAGES = [
    ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", "config/README.md")
]
PAGES += sorted((ROOT / "docs").glob("*.md"))
COMMANDS = [
    pytest.param(shlex.split(line, comments=True), id=f"{page.stem}: {line[:60]}")
    for page in PAGES
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    for line in re.findall(r"^\$ (.*)$", block.replace("\\\n", ""), re.MULTILINE)
]
# Those with the page's own figure run in `tests/report/test_documented.py`.
HFPRUNE = [
    command
    for command in COMMANDS
    if command.values[0][0] == "hfprune" and "scoring_time" not in command.values[0]
]


def anchors(page: Path) -> set[str]:
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 1450


def test_intervals_of_the_readme_are_those_of_the_findings() -> None:
    found = re.findall(
        r"(?m)^\| (\S+).* \| (\d+ %).* \| ([+−]\S+ \([+−]\S+ to [+−]\S+\)) \| \S+ \|$",
        (ROOT / "README.md").read_text(),
    )
    rows = (ROOT / "docs/findings.md").read_text().splitlines()
    expected = [f"| {model}, {ratio} | C4 | {interval} |" for model, ratio, interval in found]
    assert len(found) == 5 and all(any(row.startswith(start) for row in rows) for start in expected)


def test_the_costs_of_the_default_recipe_in_the_readme_are_those_of_the_study() -> None:
    readme = (ROOT / "README.md").read_text()
    rows = read_effects(results_of("recipe") / "effects.csv")
    rows = rows.query("question == 'dense' and method == 'fisher_global' and ratio == 0.2")
    models = ["smollm2-135m-instruct-q4", "qwen2.5-coder-0.5b-instruct-q4"]
    for line, calibration, task in (
        ("perplexity on Wikipedia", "mix", ""),
        ("bits per byte of right answers in code", "mix", "code"),
        ("same, calibrated on C4", "c4", "code"),
    ):
        metric = "bpb" if task else "perplexity"
        table = rows.query(f"calibration == '{calibration}' and task == '{task}' and metric == '{metric}'")
        table = table[table["measure"].isin(["perplexity", "gold_bpb"])]
        effects = {row.model: row for row in effect_rows(table)}
        texts = [_rise(effects[model]) for model in models]
        assert f"| {line} | {' | '.join(texts)} |" in readme


def _rise(row: EffectRow) -> str:
    """Return bits per byte as they are, and a quotient as a change in percent."""
    if row.metric == "bpb":
        return str(row.effect).removesuffix("*")
    value, low, high = (f"{100 * (end - 1):+.0f}" for end in (row.value, row.low, row.high))
    return f"{value} % ({low} to {high})"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            linked = page.parent / path if path else page
            assert linked.exists(), target
            assert not anchor or anchor in anchors(linked), target


def test_every_page_is_linked_from_the_readme_or_a_page() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
        if not target.startswith("#")
    }
    assert {page for page in PAGES if page.parent == ROOT / "docs"} <= linked


def test_the_site_builds_with_every_page_and_without_a_network(tmp_path: Path) -> None:
    """Strictly: a link or an anchor that leads nowhere ends it."""
    nav = re.findall(r"- (\S+\.md)$", (ROOT / "docs/mkdocs.yml").read_text(), re.MULTILINE)
    assert {page.relative_to(ROOT).as_posix() for page in PAGES} == {*nav}
    mkdocs = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--quiet",
        "--strict",
        "--config-file",
        "docs/mkdocs.yml",
    ]
    subprocess.run([*mkdocs, "--site-dir", tmp_path / "site"], cwd=ROOT, check=True)
    remote = re.compile(r"<(?:script|link|img)[^>]*(?:src|href)=\"(?:https?:)?//")
    pages = [*(tmp_path / "site/docs").glob("*.html"), tmp_path / "site/index.html"]
    assert len(pages) > 20
    assert not [page for page in pages if remote.search(page.read_text())]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def defaults(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys of a file, and those of the settings within, with the defaults as YAML has them."""
    for name, field in kind.model_fields.items():
        key, value = f"{prefix}{name}", "required"
        if not field.is_required():
            value = field.get_default(call_default_factory=True)
            value = None if isinstance(value, BaseModel) else json.loads(json.dumps(value))
        yield key, value
        inside = f"{key}.NAME." if get_origin(field.annotation) is dict else f"{key}."
        for part in models_in(field.annotation):
            yield from defaults(part, inside)


def test_every_key_of_the_configuration_is_listed_with_its_default() -> None:
    tables = (ROOT / "config/README.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)` \| *(.*?) *\|", tables, re.MULTILINE)
    listed = {key: yaml.safe_load(default.strip("`")) for key, default in rows}
    assert len(listed) == len(rows)
    assert listed == dict([*defaults(Config), *defaults(Study)])


@pytest.mark.parametrize("command", HFPRUNE)
def test_documented_commands_are_accepted(
    command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All flags and values are read; nothing is fetched or run."""
    ran: list[object] = []
    monkeypatch.chdir(tmp_path)
    for flag, path in pairwise(command):
        if flag in ("--plan", "--scores", "--blocks"):
            (tmp_path / path).touch()
        if flag in ("--checkpoint", "--adapter", "--linear"):
            (tmp_path / path).mkdir(parents=True)
    monkeypatch.setattr(flags, "located", lambda config: config)
    home = next(home for home in ("commands", "stages") if find_spec(f"hfprune.{home}.{command[1]}"))
    module = vars(import_module(f"hfprune.{home}.{command[1]}")).values()
    kind = next(one for one in module if isinstance(one, type) and "example" in vars(one))
    owner = next(one for one in kind.__mro__ if "run" in vars(one))
    monkeypatch.setattr(owner, "run", lambda config: ran.append(config))
    run(*command[1:])
    assert len(ran) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_name_what_is_there(command: list[str]) -> None:
    for word in command:
        if (name := re.fullmatch(r"study=(\S+)", word)) and name[1] != "NAME":
            assert (ROOT / f"config/studies/{name[1]}.yaml").is_file(), word
        if re.match(r"(config|profiles|tests|workflow)/", word):
            assert (ROOT / word).exists(), word
    if command[0] == "make":
        assert re.search(rf"^{command[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_page_names_every_measure() -> None:
    text = (ROOT / "docs/add-a-measure.md").read_text()
    assert {*re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)} == {*MEASURES.sources()}


def test_the_list_of_studies_is_made_of_their_descriptions() -> None:
    page, studies = (ROOT / "docs/studies.md").read_text(), ROOT / "config/studies"
    rows = dict(re.findall(r"(?m)^\| `([\w-]+)` \| (.+) \|$", page))
    assert rows == {file.stem: yaml.safe_load(file.read_text())["description"] for file in studies.iterdir()}
    assert listed(page.replace("| `demo` |", "| `old` | Gone. |\n| `demo` |"), studies) == page


def test_every_supported_type_is_named() -> None:
    text = " ".join((ROOT / "docs/exports.md").read_text().split())
    assert f"by the `model_type` in their `config.json`: {', '.join(architectures()['works'])}." in text
