"""The text of the findings: Markdown in which numbers stand by their names, and words beside them are checked.

`{name}` is the effect of this name with its interval. `{name.relative}` is its size as a share of the other
side's own outcome; `value`, `size` (without its sign), `base`, `detectable`, `n` and `draws` are parts of its row.
`{name: closer}` is the word, and fails where the effect does not say so (`findings.words`); of
`{name: in three | 3 of 4 lower}` the first words are shown and the second asserted. `relative` and `size` have
no sign and so need words, which assert it: `{name.relative: smaller}` is `0.9 % smaller`. A name of several
effects takes words alone, or `{name.range}`, the smallest and the largest, and `{name.changes}`, of ratios by how
much they differ from one.
`{{figure name}}` and `{{table name}}` are replaced by what they name.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from findings.cited import Cited
from findings.words import objection, wrong_sign
from hfprune.errors import HfpruneError, nearest

# Parts that leave the sign out.
UNSIGNED = ("relative", "size")
_BLOCK = re.compile(r"\{\{(figure|table) ([\w-]+)\}\}")
_NUMBER = re.compile(r"\{([\w-]+)(?:\.(\w+))?(?::\s*([^{}]+?))?\}")


@dataclass
class Text:
    """A text with the numbers and blocks that its names mean, and what it has used of them."""

    path: Path
    cited: Mapping[str, Sequence[Cited]]
    plain: Mapping[str, str]
    """Numbers that are no effects, as text."""
    blocks: Mapping[str, Callable[[str], str]]
    """Makes a figure or a table by its name, as Markdown."""
    bars: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    """The names of numbers in the text, and of blocks as `figure name`."""

    def rendered(self, check: Callable[[set[str]], None] = lambda _used: None) -> str:
        """Return the text with its numbers and blocks.

        `check` is called in between with the names that are used: numbers take no time, and blocks do.

        Raises:
            HfpruneError: a name is unknown, or words say what the numbers do not; names the line.
        """
        lines = self.path.read_text(encoding="utf-8").splitlines()
        # Numbers of all lines first: a block may hold braces of its own.
        numbered = self._each(lines, lambda line: _NUMBER.sub(self._number, line))
        self.used |= {f"{it[1]} {it[2]}" for line in numbered for it in _BLOCK.finditer(line)}
        check(self.used)
        made = self._each(numbered, lambda line: _BLOCK.sub(lambda it: self.blocks[it[1]](it[2]), line))
        return "\n".join(made) + "\n"

    def _each(self, lines: Sequence[str], change: Callable[[str], str]) -> list[str]:
        """Return all lines changed, or raise what is wrong with any, each by its number."""
        found, wrong = [], []
        for number, line in enumerate(lines, 1):
            try:
                found.append(change(line))
            except HfpruneError as error:
                wrong.append(f"{self.path}:{number}: {error}")
        if wrong:
            raise HfpruneError("\n".join(wrong))
        return found

    def _number(self, match: re.Match[str]) -> str:
        name, part, phrase = match.groups()
        self.used.add(name)
        if name in self.plain:
            if part or phrase:
                raise HfpruneError(f"{name} is a number without parts, and words assert nothing of it")
            return self.plain[name]
        if name not in self.cited:
            raise HfpruneError(f"no number {name!r}{nearest(name, [*self.cited, *self.plain])}")
        cited = self.cited[name]
        for one in cited:
            if one.effect.known and not one.effect.low <= one.effect.value <= one.effect.high:
                raise HfpruneError(
                    f"{name}: {one.name} is {one.effect}, which its own interval does not hold"
                )
        shown, _, asserted = map(str.strip, (phrase or "").partition("|"))
        if part:
            number = _part(name, part, cited)
            if part in UNSIGNED and (said := wrong_sign(asserted or shown, cited[0])):
                raise HfpruneError(f"{name}.{part}: {said}")
            if phrase and part not in UNSIGNED:
                raise HfpruneError(f"{name}.{part}: words assert nothing of it")
            return f"{number} {shown}".rstrip()
        if phrase:
            if said := objection(asserted or shown, cited, self.bars.get(name)):
                raise HfpruneError(f"{name}: {said}")
            return shown
        if len(cited) > 1:
            raise HfpruneError(
                f"{name} is {len(cited)} effects: {', '.join(one.name for one in cited)}; use one"
            )
        return str(cited[0].effect)


def _part(name: str, part: str, cited: Sequence[Cited]) -> str:
    if part == "range":
        ends = min(cited, key=lambda one: one.effect.value), max(cited, key=lambda one: one.effect.value)
        return " to ".join(dict.fromkeys(end.effect.texts[0] for end in ends))
    if part == "changes":
        sizes = sorted(abs(one.effect.value - 1) for one in cited)
        return " to ".join(dict.fromkeys(f"{100 * size:.0f}" for size in (sizes[0], sizes[-1]))) + " %"
    if part == "count":
        return str(len(cited))
    if len(cited) > 1:
        raise HfpruneError(f"{name}.{part}: {name} is {len(cited)} effects; use one")
    effect, row = cited[0].effect, cited[0].row
    if part in row and not math.isfinite(float(row[part])):
        raise HfpruneError(f"{name}.{part}: is not known")
    if part == "relative":
        return f"{100 * abs(effect.value / float(row['base'])):.1f} %"
    if part == "value":
        return effect.texts[0]
    if part == "size":
        return effect.texts[0].lstrip("+−")
    if part in ("base", "detectable", "n", "draws"):
        return f"{float(row[part]):.3g}"
    parts = "relative, value, size, base, detectable, n, draws, count, range or changes"
    raise HfpruneError(f"{name}.{part}: unknown part; give {parts}")
