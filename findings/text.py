"""The text of the findings: Markdown in which numbers stand by their names, and words beside them are checked.

`{name}` is the effect of this name in `numbers.yaml` with its interval; in place of a name, words may select
it, as `{dose qwen 256 js_distance entropy}` (`findings.selections`). `{name.relative}` is its size as a share of
the other side's own outcome; `value`, `size` (without its sign), `base` and `detectable` are
parts of its row.
`{name: closer}` is the word, and fails where the effect does not say so (`findings.words`); of
`{name: in three | 3 of 4 lower}` the first words are shown and the second asserted. `relative` and `size`
have no sign and so need words, which assert it: `{name.relative: lower}` is `0.9 % lower`. A name of
several effects takes words alone or, if they are ratios, `{name.changes}`: by how much they differ from one.
`{{figure name}}`, `{{table name}}` and other blocks of several words are replaced by what they name.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from findings.cited import Cited
from findings.selections import remedy
from findings.words import objection, wrong_sign
from hfprune.errors import HfpruneError, nearest

# Parts that leave the sign out.
UNSIGNED = ("relative", "size")
PARTS = *UNSIGNED, "value", "base", "detectable", "changes"
_BLOCK = re.compile(r"\{\{(\w+) ([^{}]+)\}\}")
_NUMBER = re.compile(rf"(?<!\{{)\{{([^{{}}:]+?)(?:\.({'|'.join(PARTS)}))?(?::\s*([^{{}}]+?))?\}}(?!\}})")


@dataclass
class Text:
    """A text with the numbers and blocks that its names mean, and what it has used of them."""

    path: Path
    number: Callable[[str], Sequence[Cited] | str]
    """Finds effects by a name or by words; or a number that is no effect, as text."""
    blocks: Mapping[str, Callable[[str], str]]
    """Makes a figure, a table or a list by its words, as Markdown."""
    used: set[str] = field(default_factory=set)
    """The names of numbers in the text, and of blocks as `figure name`."""

    def numbered(self) -> list[str]:
        """Return the lines with their numbers, and fill `used`; this is fast, unlike making blocks.

        Raises:
            HfpruneError: a name is unknown, or words say what the numbers do not; names the line.
        """
        lines = self.path.read_text(encoding="utf-8").splitlines()
        numbered = self._changed(lines, lambda line: _NUMBER.sub(self._number, line))
        self.used |= {f"{block[1]} {block[2]}" for line in numbered for block in _BLOCK.finditer(line)}
        return numbered

    def completed(self, numbered: Sequence[str]) -> str:
        """Return the text of numbered lines with its blocks, which may hold braces of their own.

        Raises:
            HfpruneError: there is no such block; names the line.
        """
        page = self._changed(
            numbered, lambda line: _BLOCK.sub(lambda block: self._block(*block.groups()), line)
        )
        return "\n".join(page) + "\n"

    def _changed(self, lines: Sequence[str], change: Callable[[str], str]) -> list[str]:
        """Return all lines changed, or raise the errors of all lines, each with the number of its line."""
        changed, wrong = [], []
        for number, line in enumerate(lines, 1):
            try:
                changed.append(change(line))
            except HfpruneError as error:
                wrong.append(f"{self.path}:{number}: {error}")
        if wrong:
            raise HfpruneError("\n".join(wrong))
        return changed

    def _block(self, kind: str, words: str) -> str:
        if kind not in self.blocks:
            raise HfpruneError(f"no block {kind!r}{nearest(kind, [*self.blocks])}")
        return self.blocks[kind](words)

    def _number(self, match: re.Match[str]) -> str:
        name, part, phrase = match.groups()
        self.used.add(name)
        cited = self.number(name)
        if isinstance(cited, str):
            if part or phrase:
                raise HfpruneError(f"{name} is a number without parts, and words assert nothing of it")
            return cited
        shown, _, asserted = map(str.strip, (phrase or "").partition("|"))
        if part:
            number = _part(name, part, cited)
            if part in UNSIGNED and (error := wrong_sign(asserted or shown, cited[0])):
                raise HfpruneError(f"{name}.{part}: {error}")
            if phrase and part not in UNSIGNED:
                raise HfpruneError(f"{name}.{part}: words assert nothing of it")
            return f"{number} {shown}".rstrip()
        if phrase:
            if error := objection(asserted or shown, cited):
                raise HfpruneError(f"{name}: {error}")
            return shown
        return str(_single(name, cited).effect)


def _single(name: str, cited: Sequence[Cited]) -> Cited:
    if len(cited) > 1:
        names, add = "; ".join(row.name for row in cited), remedy([row.row for row in cited])
        raise HfpruneError(f"{name} is {len(cited)} effects: {names}{add}")
    return cited[0]


def _part(name: str, part: str, cited: Sequence[Cited]) -> str:
    if part == "changes":
        sizes = sorted(abs(row.effect.value - 1) for row in cited)
        return " to ".join(dict.fromkeys(f"{100 * size:.0f}" for size in (sizes[0], sizes[-1]))) + " %"
    cited_row = _single(name, cited)
    effect, row = cited_row.effect, cited_row.row
    if part == "relative":
        if not (row.base and math.isfinite(row.base)):
            raise HfpruneError(
                f"{name}.relative: the other side's own outcome is unknown or zero; take `size`"
            )
        return f"{100 * abs(effect.value / row.base):.1f} %"
    if part == "value":
        return effect.texts[0]
    if part == "size":
        return effect.texts[0].lstrip("+−")
    number = row.base if part == "base" else row.detectable
    if not math.isfinite(number):
        raise HfpruneError(f"{name}.{part}: is not known")
    return f"{number:.3g}"
