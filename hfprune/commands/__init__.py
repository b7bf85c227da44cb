"""The `hfprune` command: one module per subcommand, each usable by hand.

A file in this folder or in `hfprune.stages` with a class that has an `example` is a command, named after the file.
The first line of its docstring is its help; the fields of the class are its flags, and `run` does the work. A
command whose flags depend on its arguments also defines `add_flags(parser)` and `read(namespace)`. Every command
takes `--settings`, all its fields as JSON.

`hfprune --help` imports none of them, and a command imports only its own module.
"""

import argparse
import inspect
import os
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import hfprune
from hfprune.assets import network
from hfprune.commands.parser import Parser, width, wrapped
from hfprune.errors import HfpruneError, brief, missing, nearest
from hfprune.plugins.outline import outline

# Former commands, and their replacements.
GONE = {"findings": "the repository's own page is made in a clone of it, by `snakemake findings`"}
# The commands by purpose; new ones and those of other packages are listed under the last title.
GROUPS = {
    "start here": ("prune", "compare"),
    "look up, before a run": ("methods", "cost", "fetch"),
    "steps of pruning, one at a time": (
        *("calibrate", "budget", "score", "plan", "adopt"),
        *("linear", "pack", "recover", "export", "measure"),
    ),
    "from a study's results to its tables and pages": (
        *("collect", "effects", "tables", "figures", "page", "check"),
    ),
    "others": (),
}


def main() -> None:
    """Run the command line; an `HfpruneError` ends it with one line and exit code 1."""
    parser, chosen = _parsers(sys.argv[1:2])
    if not chosen:
        parser.parse_args()  # shows the help or the version, or lists the commands
        return
    module, command = chosen
    network.close()  # only what fetches an asset may contact the hub
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    config: Any = None
    try:
        from hfprune.commands.flags import located

        read = _add_flags(command, module)
        config = located(read(command.read(sys.argv[2:])))
        config.run()
        sys.stdout.flush()
    except HfpruneError as error:
        sys.exit(f"{command.prog}: error: {error}")
    except ModuleNotFoundError as error:
        sys.exit(f"{command.prog}: error: {missing(error)}")
    except BrokenPipeError:  # the reader of the output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a full disk, a path without permission, a folder where a file should be
        reason = brief(error)
        if error.filename and error.strerror:
            reason = f"{error.filename}: {error.strerror}"
        sys.exit(f"{command.prog}: error: {reason}")
    except RuntimeError as error:
        # `torch.OutOfMemoryError`, without importing torch for it.
        if type(error).__name__ != "OutOfMemoryError":
            raise
        reason = str(error).split(". ")[0]
        batches = "batch_tokens" in repr(config)
        hint = "; read fewer tokens at a time (--batch-tokens)" if batches else ""
        sys.exit(f"{command.prog}: error: {reason}{hint}")
    except KeyboardInterrupt:
        if getattr(config, "resumes", False):
            print(f"{command.prog}: stopped; the same command goes on from what is finished", file=sys.stderr)
        sys.exit(130)


def _modules() -> dict[str, Path]:
    """Return the file of every command by name; commands of this folder take precedence over stages."""
    here = Path(__file__).parent
    files = [*(here.with_name("stages")).glob("*.py"), *here.glob("*.py")]
    return {path.stem: path for path in sorted(files, key=lambda path: (path.stem, path.parent == here))}


def commands() -> dict[str, str]:
    """Return the first docstring line of every command, by name, without importing it."""
    outlines = {name: outline(path) for name, path in _modules().items()}
    return {
        name: text.doc.partition("\n")[0] for name, text in outlines.items() if "example" in text.constants
    }


def _parsers(arguments: list[str]) -> tuple[Parser, tuple[ModuleType, Parser] | None]:
    """Return the parser, and the module and still empty parser of the command that `arguments` name."""
    helps = commands()
    parser = Parser(
        prog="hfprune",
        usage="hfprune [-h] [--version] COMMAND ...",
        description=hfprune.__doc__,
        epilog=f"{_listed(helps)}\n\n`hfprune COMMAND --help` describes a command.",
        formatter_class=_formatter,
    )
    parser.add_argument("--version", action="version", version=hfprune.__version__)
    adding = parser.add_subparsers(
        dest="subcommand", required=True, metavar="COMMAND", help=argparse.SUPPRESS, parser_class=Parser
    )
    chosen, files = None, _modules()
    for name in helps:
        command = adding.add_parser(name, formatter_class=_formatter, prog=f"hfprune {name}")
        if arguments == [name]:
            chosen = import_module(f"hfprune.{files[name].parent.name}.{name}"), command
    if arguments and not chosen and not arguments[0].startswith("-"):
        instead = f"; {GONE[arguments[0]]}" if arguments[0] in GONE else nearest(arguments[0], [*helps])
        parser.error(f"unknown command {arguments[0]!r}{instead}")
    return parser, chosen


def _formatter(prog: str) -> argparse.RawDescriptionHelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=width())


def _listed(helps: dict[str, str]) -> str:
    """Return the commands with their first lines, by `GROUPS`."""
    *groups, others = GROUPS
    placed = {title: [name for name in GROUPS[title] if name in helps] for title in groups}
    placed[others] = [name for name in helps if not any(name in names for names in placed.values())]
    return "\n\n".join(
        "\n".join([f"{title}:", *(wrapped(helps[name], " " * 14, f"    {name:<10}") for name in names)])
        for title, names in placed.items()
        if names
    )


def _add_flags(parser: Parser, module: ModuleType) -> Any:
    """Complete the parser of one command and return the function that reads its flags."""
    from hfprune.commands import flags

    kind: Any = next(
        member for member in vars(module).values() if isinstance(member, type) and "example" in vars(member)
    )
    parser.description = inspect.cleandoc(module.__doc__ or "")
    parser.epilog = f"example:\n  {kind.example}"
    flags.add_settings(parser)
    # As one word too, `--settings={…}`.
    given = any(word.partition("=")[0] == flags.SETTINGS for word in sys.argv)
    if hasattr(kind, "add_flags") and not given:
        kind.add_flags(parser)
        return kind.read
    parser.usage = getattr(kind, "usage", None)
    flags.add_fields(parser, kind, required=not given, groups=getattr(kind, "groups", None))
    return partial(flags.read, kind)
