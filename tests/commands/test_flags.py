"""Flags and help: from the fields of settings, and nothing imported before it is needed."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from command_line import failure, run
from pydantic import Field, PositiveInt

from hfprune.commands import commands, flags
from hfprune.commands.parser import Parser
from hfprune.commands.prune import Prune
from hfprune.errors import HfpruneError
from hfprune.settings import Strict
from hfprune.stages import Positional

COMMANDS = (
    *("adopt", "budget", "calibrate", "check", "collect", "compare", "cost", "effects"),
    *("export", "fetch", "figures", "linear", "measure", "methods", "pack"),
    *("page", "plan", "prune", "recover", "score", "tables"),
)
HEAVY = {"torch", "transformers", "pandas", "lm_eval", "numpy"}
CODE = """
import atexit, sys
sys.argv[0] = 'hfprune'
atexit.register(lambda: print(*sys.modules, sep='\\n', file=sys.stderr))
from hfprune.commands import main
main()
"""


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_nothing_heavy_and_shows_commands_or_an_example(command: str) -> None:
    arguments = [sys.executable, "-c", CODE, *command.split(), "--help"]
    process = subprocess.run(arguments, capture_output=True, text=True, check=True)
    text, modules = process.stdout, set(process.stderr.splitlines())
    assert not HEAVY & modules
    others = {
        f"hfprune.{home}.{one}" for home in ("commands", "stages") for one in COMMANDS if one != command
    }
    assert not others & modules, "a command imports only its own module"
    if command:
        assert f"example:\n  hfprune {command}" in text
        assert " ".join(commands()[command].split()) in " ".join(text.split())
    else:
        listed = re.findall(r"^    (\w+)", text, re.MULTILINE)
        assert tuple(sorted(listed)) == COMMANDS and listed[:2] == ["prune", "compare"]
        assert text.index("start here:") < text.index("    prune ") < text.index("steps of pruning")
        assert "others:" not in text, "every command has a place"
        assert "Draw seeded blocks of tokens from a corpus." in text
        assert "pydantic" not in modules


class Common(Strict):
    model: Path = Path("m")
    limit: PositiveInt | None = Field(default=5, description="first 100% of items")


class Settings(Strict):
    name: Annotated[str, Positional("NAME")] = "it"
    top_k: PositiveInt = Field(default=15, description="tokens")
    tasks: list[str] = Field(default=["a", "b"])
    kinds: list[Literal["x", "y"]] = Field(default=[])
    add_bos: bool = True
    options: dict[str, Any] = Field(default={})
    units: Literal["neurons"] | list[str] | dict[str, float] = "neurons"


def parse(*arguments: str) -> tuple[Common, Settings]:
    parser = Parser()
    flags.add_settings(parser)
    flags.add_fields(parser, Common)
    flags.add_fields(parser, Settings)
    namespace = parser.parse_args(arguments)
    return flags.read(Common, namespace), flags.read(Settings, namespace)


def test_several_classes_share_a_parser_and_keep_their_defaults() -> None:
    common, settings = parse("other", "--model", "folder", "--limit", "null")
    assert (common, settings) == (Common(model=Path("folder"), limit=None), Settings(name="other"))
    assert settings.model_fields_set == {"name"}, "defaults come from the class, not from argparse"


def test_values_are_read_by_their_types() -> None:
    common, settings = parse(
        *("--limit", "7", "--top-k", "3", "--tasks", "c", "--kinds", "y", "x"),
        *("--no-add-bos", "--options", '{"a": [1, "b"]}', "--units", '{"neurons": 0.5, "layers": 0.5}'),
    )
    assert common.limit == 7
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
        assert parse("--units", text)[1].units == units


def test_help_says_default_and_description(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    for shown in ("first 100% of items", "--top-k TOP_K tokens (15)", "--tasks TASKS [TASKS ...] (a b)"):
        assert shown in text
    assert "--add-bos, --no-add-bos (True)" in text


@pytest.mark.parametrize(
    "settings",
    [Settings(), Settings(top_k=7, tasks=["b", "c d"], options={"g": ["h"]}, add_bos=False, name="\n")],
)
def test_settings_survive_the_command_line(settings: Settings, tmp_path: Path) -> None:
    text = settings.model_dump_json()
    parser = Parser()
    flags.add_settings(parser)
    flags.add_fields(parser, Settings)
    assert flags.read(Settings, parser.parse_args(["--settings", text])) == settings
    (tmp_path / "settings.json").write_text(text)
    words = ["--settings", str(tmp_path / "settings.json"), "--top-k", "7"]
    assert flags.read(Settings, parser.parse_args(words)) == settings.model_copy(update={"top_k": 7})
    with pytest.raises(HfpruneError, match="unknown key 'taks'; did you mean 'tasks'"):
        flags.read(Settings, parser.parse_args(["--settings", '{"taks": "x"}']))


def test_the_help_of_prune_is_in_groups_that_name_every_flag_once(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    names = [name for names in Prune.groups.values() for name in names]
    assert sorted(names) == sorted(Prune.model_fields)
    with pytest.raises(SystemExit):
        run("prune", "--help")
    text = capsys.readouterr().out
    places = [text.index(f"\n{title}:\n") for title in Prune.groups]
    assert places == sorted(places) and "how much (one of these is required):\n  --ratio RATIO" in text
    for flag in ("--model MODEL", "--out OUT"):
        assert re.search(rf"  {flag} [^-]*\(required\)", " ".join(text.split("\n\n", 2)[2].split("\n"))), flag
    assert "(neurons)" in text and "null}" not in text
    flags_part = text[places[0] : text.index("example:")]
    assert max(map(len, flags_part.splitlines())) <= 110


def test_a_negative_value_with_a_unit_is_a_value_wherever_it_stands(tmp_path: Path) -> None:
    call = f"prune --model m --out {tmp_path}/o"
    for flags_given in ("--max-loss -5%", "--max-loss=-5%"):
        assert "--max-loss: must be above 0" in failure(f"{call} {flags_given}")


def test_what_is_required_only_of_some_calls_is_not_called_so(capsys) -> None:
    with pytest.raises(SystemExit):
        run("compare", "--help")
    assert "(required)" not in capsys.readouterr().out, "results of lm-eval need no --tasks"
