"""Words of a text that assert something of an effect, and whether the effect agrees."""

import re
from collections.abc import Sequence

from findings.cited import Cited
from hfprune.effects.condition import VERDICTS

# Words for the side of no effect on which an effect lies: -1 below, 1 above, 0 neither.
DIRECTIONS = {
    **dict.fromkeys(("closer", "fewer", "lower", "less accurate"), -1),
    **dict.fromkeys(("farther", "more", "higher", "more accurate"), 1),
    **dict.fromkeys(("no significant difference", "not significantly different", "not significant"), 0),
}
# Beside a direction: only the interval excludes no effect, not Holm's correction.
LEANING = re.compile(r"\blean(s|ing)?\b")
COUNT = re.compile(r"\b(\d+|none|all)(?: of (\d+))?\b")
_KNOWN = sorted([*DIRECTIONS, *VERDICTS], key=len, reverse=True)
_WORD = re.compile(rf"\b({'|'.join(map(re.escape, _KNOWN))})\b")


def objection(phrase: str, cited: Sequence[Cited]) -> str:
    """Return why a phrase is not what the effects say, or "" where it is.

    The phrase has one word of `DIRECTIONS`, or a verdict. It is asserted of every effect or, with `3 of 4` or `3`,
    of exactly that many. A direction holds if the whole interval lies on that side, also after Holm's correction
    if the effect has a family; with `leaning`, only before the correction.
    """
    asserted = _WORD.search(phrase)
    if not asserted:
        return f"{phrase!r} asserts nothing; the words are {', '.join(_KNOWN)}"
    word = asserted[1]
    leaning = bool(LEANING.search(phrase)) and word in DIRECTIONS
    rest = phrase.replace(word, " ", 1)
    holds = [_holds(word, row, leaning=leaning) for row in cited]
    count = COUNT.search(rest)
    wrong = [row for row, right in zip(cited, holds, strict=True) if not right]
    if count is None:
        return f"{phrase!r}, but {_shown(wrong[0])}" if wrong else ""
    total = int(count[2] or len(cited))
    words = {"none": 0, "all": total}
    wanted = words[count[1]] if count[1] in words else int(count[1])
    if (sum(holds), len(cited)) != (wanted, total):
        return f"{phrase!r}, but {sum(holds)} of {len(cited)}: {'; '.join(map(_shown, cited))}"
    return ""


def wrong_sign(phrase: str, cited: Cited) -> str:
    """Return why a phrase does not name the side of a value, whatever its interval, or "" where it does."""
    asserted = _WORD.search(phrase)
    side = DIRECTIONS.get(asserted[1], 0) if asserted else 0
    if not side:
        return "a number without its sign needs a word for it, as `{name.relative: lower}`"
    if side * (cited.effect.value - cited.effect.neutral) > 0:
        return ""
    return f"{phrase!r}, but {cited.name} is {cited.effect}"


def _holds(word: str, cited: Cited, *, leaning: bool) -> bool:
    effect = cited.effect
    if word not in DIRECTIONS:
        return cited.verdict == word
    if effect.side is None:
        return False
    corrected = effect.sure or effect.holm != effect.holm
    if leaning:
        return effect.side == DIRECTIONS[word] != 0 and not corrected
    return effect.side == DIRECTIONS[word] and (corrected or not effect.side)


def _shown(cited: Cited) -> str:
    side = {None: ", without an interval", 0: " (n. s.)"}.get(cited.effect.side, "")
    return f"{cited.name} is {cited.verdict or str(cited.effect) + side}"
