"""Flags and help: from the fields of settings, and nothing imported before it is needed."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, PositiveInt

from hfprune.commands import commands, flags
from hfprune.errors import HfpruneError
from hfprune.settings import Strict
from hfprune.stages import Positional

COMMANDS = (
    *("adopt", "budget", "calibrate", "claims", "collect", "compare", "cost"),
    *("export", "fetch", "figures", "linear", "measure", "methods", "pack"),
    *("page", "plan", "prune", "recover", "score", "tables"),
)
HEAVY = {"torch", "transformers", "pandas", "lm_eval", "numpy"}


def imported(*arguments: str) -> tuple[str, set[str]]:
    """Return what the command line prints in a process of its own, and its modules."""
    code = (
        "import atexit, sys; sys.argv[0] = 'hfprune'\n"
        "atexit.register(lambda: print(*sys.modules, sep='\\n', file=sys.stderr))\n"
        "from hfprune.commands import main; main()"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return process.stdout, set(process.stderr.splitlines())


def modules_of(command: str) -> tuple[str, str]:
    """Return where the module of a command may be."""
    return f"hfprune.commands.{command}", f"hfprune.stages.{command}"


def test_help_lists_every_command_and_imports_none() -> None:
    text, modules = imported("--help")
    assert tuple(
        line.split()[0] for line in text.splitlines() if line.startswith("    ") and line[4] != " "
    ) == (*COMMANDS,)
    assert "Draw seeded blocks of tokens from a corpus." in text
    assert not (HEAVY | {"pydantic"}) & modules
    assert not {module for name in COMMANDS for module in modules_of(name)} & modules


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_shows_an_example_and_imports_nothing_heavy(command: str) -> None:
    text, modules = imported(command, "--help")
    assert f"example:\n  hfprune {command}" in text
    assert " ".join(commands()[command].split()) in " ".join(text.split())
    assert not HEAVY & modules
    others = {module for name in COMMANDS if name != command for module in modules_of(name)}
    assert not others & modules, "a command imports only its own module"


class Common(Strict):
    model: Path
    limit: PositiveInt | None = Field(default=None, description="first 100% of items")


class Settings(Strict):
    name: Annotated[str, Positional("NAME")]
    top_k: PositiveInt = Field(default=15, description="tokens")
    tasks: list[str] = Field(default=["a", "b"])
    kinds: list[Literal["x", "y"]] = Field(default=[])
    add_bos: bool = True
    options: dict[str, Any] = Field(default={})
    units: Literal["neurons"] | list[str] | dict[str, float] = "neurons"


def parse(*arguments: str) -> tuple[Common, Settings]:
    parser = argparse.ArgumentParser()
    flags.add_fields(parser, Common)
    flags.add_fields(parser, Settings)
    namespace = parser.parse_args(arguments)
    return flags.read(Common, namespace), flags.read(Settings, namespace)


def test_several_classes_share_a_parser_and_keep_their_defaults() -> None:
    common, settings = parse("it", "--model", "folder")
    assert (common, settings) == (Common(model=Path("folder")), Settings(name="it"))
    assert settings.model_fields_set == {"name"}, "defaults come from the class, not from argparse"


def test_values_are_read_by_their_types() -> None:
    common, settings = parse(
        *("it", "--model", "m", "--limit", "5", "--top-k", "3", "--tasks", "c", "--kinds", "y", "x"),
        *("--no-add-bos", "--options", '{"a": [1, "b"]}', "--units", '{"neurons": 0.5, "layers": 0.5}'),
    )
    assert common.limit == 5
    assert settings.model_dump() == {
        "name": "it",
        "top_k": 3,
        "tasks": ["c"],
        "kinds": ["y", "x"],
        "add_bos": False,
        "options": {"a": [1, "b"]},
        "units": {"neurons": 0.5, "layers": 0.5},
    }
    for text, units in (("neurons", "neurons"), ('["neurons", "layers"]', ["neurons", "layers"])):
        assert parse("it", "--model", "m", "--units", text)[1].units == units


def test_help_says_default_and_description(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "first 100% of items" in text
    assert "--top-k TOP_K tokens (15)" in text
    assert "--tasks TASKS [TASKS ...] (a b)" in text
    assert "--add-bos, --no-add-bos (True)" in text


class Odd(Strict):
    """Settings of every form, with defaults that are not null."""

    number: int | None = 5
    words: list[str] = Field(default=["a"])
    groups: dict[str, list[str]] = Field(default={})
    flag: bool = True
    text: str = "x"


@pytest.mark.parametrize(
    "settings",
    [
        Odd(),
        Odd(number=None, words=["b", "c d"], groups={"g": ["h", "i"]}, flag=False, text="\n\n"),
    ],
)
def test_settings_survive_the_command_line(settings: Odd, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    flags.add_settings(parser)
    flags.add_fields(parser, Odd)
    text = settings.model_dump_json()
    assert flags.read(Odd, parser.parse_args(["--settings", text])) == settings
    (tmp_path / "settings.json").write_text(text)
    words = ["--settings", str(tmp_path / "settings.json"), "--number", "7"]
    assert flags.read(Odd, parser.parse_args(words)) == settings.model_copy(update={"number": 7})
    with pytest.raises(HfpruneError, match="unknown key 'tekst'; did you mean 'text'"):
        flags.read(Odd, parser.parse_args(["--settings", '{"tekst": "x"}']))
