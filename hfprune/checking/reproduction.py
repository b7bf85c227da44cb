"""A study's tables beside those of another run of it: what is equal, what is not, and what may be why."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import pandas as pd

from hfprune.checking.allowed import OF_MACHINE, OF_RUN, Allowed, elsewhere, moved
from hfprune.checking.by_key import INSIDE, KINDS, OUTSIDE, ROUNDED, Compared, by_key, number
from hfprune.checking.chain import Analyse, broken_links
from hfprune.checking.flat import NAMES, read_flat, read_lines
from hfprune.errors import HfpruneError
from hfprune.results.declarations import Declarations, declare
from hfprune.results.files import ITEMS, RECORDS, RESULTS, STUDY
from hfprune.settings import load
from hfprune.study import paths
from hfprune.study.study import Study

# How many differences are listed.
MOST = 20

Checks = Mapping[str, Compared]


def study_name(folder: Path) -> str:
    """Return the name of the study of a folder that `collect` wrote.

    Raises:
        HfpruneError: the values cannot be read, or there are none.
    """
    named = read_flat(folder / RESULTS).get("study", pd.Series(dtype=str)).mode()
    if named.empty:
        raise HfpruneError(f"{folder / RESULTS}: holds no result of a study; run `hfprune collect` first")
    return str(named[0])


def reproduction(
    kept: Path, run: Path, render: Callable[[list[str]], Path], analyse: Analyse
) -> tuple[bool, str]:
    """Return whether a run gives the kept tables, and the comparison as Markdown.

    The run's own files must agree, too: those that follow from others are made again and compared, the tables of
    the paper last.

    Args:
        kept: folder of the kept tables.
        run: folder of the run's tables.
        render: makes the tables of the paper with these names from the run's, and returns their folder.
        analyse: returns effects and verdicts, by file, from items and values.

    Raises:
        HfpruneError: a file cannot be read.
    """
    names = [name for name in (*paths.TIDY, *paths.ANALYSED) if (kept / name).exists()]
    missing = [name for name in names if not (run / name).exists()]
    tables = [
        {name: read_flat(folder / name) for name in names if name not in missing} for folder in (kept, run)
    ]
    checks = dict(compared(declare(load(Study, kept / STUDY)), *tables))
    shown = [file.relative_to(kept).as_posix() for file in sorted((kept / paths.TABLES).glob("*.*"))]
    missing += [name for name in shown if not (run / name).exists()]
    broken = [*broken_links(run, analyse)] if all((run / name).exists() for name in paths.TIDY[:4]) else []
    if shown and not (missing or broken):
        again = render([*dict.fromkeys(Path(name).stem for name in shown)])
        checks |= {
            name: by_key(read_lines(again / Path(name).name), read_lines(run / name), ["line"])
            for name in shown
        }
    failed = [f"{name}: missing" for name in missing]
    lines = chain(
        failed, (f"{name}: {line}" for name, table in checks.items() for line in _described(name, table))
    )
    number = len(failed) + sum(len(table.failed) for table in checks.values())
    text = _text(run, checks, [*islice(lines, MOST)], number, broken)
    return not (number or broken), f"{text}{_not_checked(run, {*names, *shown})}\n"


def compared(
    declared: Declarations, kept: Mapping[str, pd.DataFrame], run: Mapping[str, pd.DataFrame]
) -> Iterator[tuple[str, Compared]]:
    """Yield each table of a study beside that of the run, by its file; the items first.

    The records tell which items may differ, and the items tell where other tables may.
    """
    allowed, pairs = Allowed(declared), {name: (kept[name], run[name]) for name in kept}
    if RECORDS in pairs:
        records = by_key(*pairs[RECORDS], NAMES)
        allowed = replace(allowed, moved=moved(records), elsewhere=elsewhere(records))
    if ITEMS in pairs:
        items = by_key(*pairs.pop(ITEMS), NAMES, allowed.in_items)
        yield ITEMS, items
        allowed = allowed.after(items)
    for name, tables in pairs.items():
        limits = {RECORDS: allowed.in_records, STUDY: lambda *_: {}}.get(name, allowed.in_values)
        yield name, by_key(*tables, NAMES, limits)


def _described(name: str, table: Compared) -> Iterator[str]:
    """Yield each row that failed; a row of a table of the paper says how to make that table again."""
    remedy = "; run `hfprune tables` again" if name.startswith(paths.TABLES) else ""
    return (line + remedy for line in table.described())


def _text(run: Path, checks: Checks, failed: list[str], number: int, broken: list[str]) -> str:
    counts = pd.DataFrame([table.kinds.value_counts().reindex([*KINDS]) for table in checks.values()])
    counts = counts.fillna(0).astype(int).groupby([name.split("/")[0] for name in checks], sort=False).sum()
    counts = counts.rename_axis("file")
    answer = "Numbers within the intervals" if counts[INSIDE].any() else "The same numbers, up to rounding"
    answer = "Numbers that do not agree with each other" if broken else answer
    lines = [f"{'Not the same numbers' if number else answer}: {run}.", "", counts.to_markdown(), ""]
    if number:
        lines += _listed("Rows outside, missing or added", failed, number)
    if broken:
        lines += _listed("Rows that do not follow from the folder's own files", broken[:MOST], len(broken))
    if RESULTS in checks:
        lines += _largest(checks[RESULTS])
    lines += [
        f"Not compared in {name}: {', '.join(_left_out(table))}."
        for name, table in checks.items()
        if table.left_out
    ]
    if RECORDS in checks:
        lines += _differing(checks[RECORDS])
    return "\n".join(lines) + "\n"


def _listed(what: str, lines: list[str], number: int) -> Iterator[str]:
    first = f", of which these are the first {MOST}" if number > MOST else ""
    yield from (f"{what}: {number}{first}.", "", *(f"- {line}" for line in lines), "")


def _not_checked(run: Path, names: set[str]) -> str:
    """Return the sentence on the files of the run's folder that were not checked, given those that were."""
    checked = {name.partition("/")[0] for name in names}
    rest = sorted(file.name for file in run.iterdir() if file.name not in checked)
    beside = "whether errors, counts, memory and speed-ups in results.csv follow from the items"
    return f"Not checked: {', '.join([*rest, beside])}."


def _largest(values: Compared) -> Iterator[str]:
    """Yield a sentence on the largest relative difference of a value that was compared."""
    compared = values.kinds.isin([ROUNDED, INSIDE, OUTSIDE])
    if "value" in values.left_out:
        compared &= ~values.left_out["value"]
    before, after = (number(side.loc[compared, "value"]) for side in (values.old, values.new))
    gap = (after - before).abs() / before.abs().where(before != 0, 1)
    if gap.max() > 0:
        at = gap.idxmax()
        where = ", ".join(filter(None, values.old.loc[at, [*values.key]]))
        yield f"The largest difference: {before[at]:.6g} → {after[at]:.6g} ({where})."


def _left_out(table: Compared) -> Iterator[str]:
    """Yield the columns that were not compared, with the metrics or measures of their rows unless all are."""
    by = next((name for name in ("metric", "measure") if name in table.old), "")
    groups: dict[str, dict[str, None]] = {}
    for name, rows in table.left_out.items():
        some = "" if rows.all() or not by else " of " + ", ".join(sorted({*table.old.loc[rows, by]} - {""}))
        groups.setdefault(some, {})[name if name in OF_RUN else name.partition(".")[0]] = None
    return (f"{', '.join(names)}{some}" for some, names in groups.items())


def _differing(records: Compared) -> Iterator[str]:
    """Yield a sentence for each version, precision or part of the hardware that differs."""
    for name in records.old:
        part, _, rest = name.partition(".")
        if part in OF_MACHINE or name == "settings.dtype":
            before, after = ({*map(str, side[name].dropna())} for side in (records.old, records.new))
            if before != after:
                shown = (", ".join(sorted(side)) or "not kept" for side in (before, after))
                yield f"{rest} differs: {' → '.join(shown)}."
