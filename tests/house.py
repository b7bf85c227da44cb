"""How large the project is, printed by `make sizes`, and how its files import each other."""

import ast
import io
import subprocess
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
LONGEST, FLOORS, TRACKED = (
    "longest file of hfprune/, lines",
    "floors of imports",
    "tracked files outside results/",
)
# Of these counts there is a most; the others are information.
CEILINGS = {LONGEST: 300, FLOORS: 13, TRACKED: 700}


def tracked(*patterns: str) -> list[Path]:
    """Return the files that git tracks, and that are there, of these patterns."""
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, check=True)
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def lines(files: Iterable[Path]) -> int:
    return sum(len(file.read_text().splitlines()) for file in files)


def code_lines(file: Path) -> int:
    """Return the lines of a Python file that hold neither blanks, comments, docstrings nor imports alone."""
    text = file.read_text()
    left_out = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        )
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    found = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in silent and token.type != tokenize.ENDMARKER
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(found - left_out)


@cache
def modules() -> dict[str, Path]:
    """Return the files of the package by the names of their modules."""
    files = sorted((ROOT / "hfprune").rglob("*.py"))
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in files
    }


def imported(name: str) -> Iterator[str]:
    """Yield the modules of this package that one imports: at its own import, within functions and for types."""
    for node in ast.walk(ast.parse(modules()[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name in modules())
        elif isinstance(node, ast.ImportFrom) and node.module in modules():
            for one in node.names:
                deeper = f"{node.module}.{one.name}"
                yield deeper if deeper in modules() else node.module


def graph() -> dict[str, set[str]]:
    return {name: {*imported(name)} - {name} for name in modules()}


def package(module: str) -> str:
    """Return the package of a module, or its own name on the ground floor."""
    return ".".join(module.split(".")[:2])


def floors(imports: dict[str, set[str]]) -> dict[str, int]:
    """Return the floor of every module: it stands above all that it imports."""

    @cache
    def floor(name: str) -> int:
        return 1 + max(map(floor, imports[name]), default=0)

    return {name: floor(name) for name in imports}


def sizes() -> dict[str, int]:
    files = modules()
    of_packages = Counter[str]()
    for name, file in files.items():
        of_packages[package(name)] += lines([file])
    documents = [ROOT / "README.md", *tracked("docs/*.md")]
    return {
        "lines of hfprune/": lines(files.values()),
        "of which code": sum(map(code_lines, files.values())),
        "lines of workflow/ and Snakefile": lines(tracked("workflow/*", "Snakefile")),
        "lines of benchmarks/ and findings/": lines(tracked("benchmarks/*.py", "findings/*")),
        "lines of tests/": lines(tracked("tests/*.py")),
        "words of docs/ and README.md": sum(len(file.read_text().split()) for file in documents),
        TRACKED: len(tracked(":!results")),
        LONGEST: max(lines([file]) for file in files.values()),
        FLOORS: max(floors(graph()).values()),
        "largest package, % of hfprune/": round(100 * max(of_packages.values()) / of_packages.total()),
    }


if __name__ == "__main__":
    for what, count in sizes().items():
        print(f"{count:>7,} {what}" + (f" (at most {CEILINGS[what]:,})" if what in CEILINGS else ""))
