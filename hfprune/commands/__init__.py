"""The `hfprune` command: one module a subcommand, each usable by hand.

A file of this folder or of `hfprune.stages` with a class that has an `example` is a command, named after the file.
The first line of its docstring is its help; the fields of the class are its flags, and `run` does the work. A
command whose flags depend on its arguments also defines `add_flags(parser)` and `read(namespace)`. Every command
takes `--settings`, all its fields as JSON.

`hfprune --help` imports none of them, and a command imports only its own module.
"""

import argparse
import inspect
import os
import re
import sys
from functools import partial
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any

import hfprune
from hfprune.assets import network
from hfprune.errors import HfpruneError, brief, missing, nearest
from hfprune.plugins.outline import outline

# Former commands, and what takes their place.
GONE = {"findings": "the repository's own page is made in a clone of it, by `snakemake findings`"}


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
        # Else argparse takes `-5%` for a flag, and says that one is missing before it.
        command._negative_number_matcher = re.compile(r"-\d")
        flags = command._option_string_actions  # argparse would name a missing flag first
        for word in (word.partition("=")[0] for word in takewhile("--".__ne__, sys.argv[2:])):
            if word.startswith("--") and not any(flag.startswith(word) for flag in flags):
                command.error(f"unknown flag {word}{nearest(word, flags, '')}")
        config = located(read(parser.parse_args()))
        config.run()
    except HfpruneError as error:
        sys.exit(f"{command.prog}: error: {error}")
    except ModuleNotFoundError as error:
        sys.exit(f"{command.prog}: error: {missing(error)}")
    except OSError as error:  # a full disk, a path without permission, a folder where a file should be
        known = error.filename and error.strerror
        reason = f"{error.filename}: {error.strerror}" if known else brief(error)
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
    """Return the file of every command by name; a command of this folder comes before a stage of its name."""
    here = Path(__file__).parent
    files = [*(here.with_name("stages")).glob("*.py"), *here.glob("*.py")]
    return {path.stem: path for path in sorted(files, key=lambda path: (path.stem, path.parent == here))}


def commands() -> dict[str, str]:
    """Return the first docstring line of every command, by name, without importing it."""
    found = {name: outline(path) for name, path in _modules().items()}
    return {name: text.doc.partition("\n")[0] for name, text in found.items() if "example" in text.constants}


def _parsers(
    arguments: list[str],
) -> tuple[argparse.ArgumentParser, tuple[ModuleType, argparse.ArgumentParser] | None]:
    """Return the parser, and the module and the still empty parser of the command that `arguments` name."""
    parser = argparse.ArgumentParser(prog="hfprune", description=hfprune.__doc__)
    parser.add_argument("--version", action="version", version=hfprune.__version__)
    adding = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    chosen, files, known = None, _modules(), commands()
    for name, text in known.items():
        command = adding.add_parser(
            name, help=text, formatter_class=argparse.RawDescriptionHelpFormatter, prog=f"hfprune {name}"
        )
        if arguments == [name]:
            chosen = import_module(f"hfprune.{files[name].parent.name}.{name}"), command
    if arguments and not chosen and not arguments[0].startswith("-"):
        instead = f"; {GONE[arguments[0]]}" if arguments[0] in GONE else nearest(arguments[0], [*known])
        parser.error(f"unknown command {arguments[0]!r}{instead}")
    return parser, chosen


def _add_flags(parser: argparse.ArgumentParser, module: ModuleType) -> Any:
    """Complete the parser of one command and return the function that reads its flags."""
    from hfprune.commands import flags

    kind: Any = next(one for one in vars(module).values() if isinstance(one, type) and "example" in vars(one))
    parser.description = inspect.cleandoc(module.__doc__ or "")
    parser.epilog = f"example:\n  {kind.example}"
    flags.add_settings(parser)
    # As one word too, `--settings={…}`.
    given = any(word.partition("=")[0] == flags.SETTINGS for word in sys.argv)
    if hasattr(kind, "add_flags") and not given:
        kind.add_flags(parser)
        return kind.read
    flags.add_fields(parser, kind, required=not given)
    return partial(flags.read, kind)
