"""Every measured number in docs/findings.md is what its file says, and no sentence says more than its interval."""

import re
from pathlib import Path

import pandas as pd
import pytest

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "findings.md").read_text(encoding="utf-8")
# [0.92 (0.90 to 0.95)*][fisher-20-ppl] with, at the end of the page,
# [fisher-20-ppl]: ../results/methods/comparison.csv#ratio=0.2&method=fisher&value,value_low,value_high
# The numbers of the text are those columns of the one row that meets the conditions. The star says that the
# difference holds by Holm's correction, too.
REFERENCE = re.compile(r"\[([^\]\[]+)\]\[([\w.-]+)\]")
TARGET = re.compile(r"^\[([\w.-]+)\]: (\.\./results/[^#\s]+\.csv)#(\S+)$", re.MULTILINE)
NUMBER = re.compile(r"[-−+]?\d[\d,]*(?:\.\d+)?")
# The words for an effect whose interval covers no effect, and for either sign of another: a difference in JS
# distance below 0 and a ratio of perplexity below 1 are better.
WORDS = {
    "unshown": r"not shown|no difference|cannot be told|not told",
    "better": r"nearer|lower|better|ahead",
    "worse": r"farther|higher|worse|behind",
}
VERDICT = re.compile(r"\b(?:" + "|".join(f"(?P<{kind}>{words})" for kind, words in WORDS.items()) + r")\b")
# What no sentence says without its number.
COMPARES = re.compile(
    rf"\b({WORDS['better']}|{WORDS['worse']}|beats?|wins?|best|worst|superior|outperforms?|faster|slower)\b"
)


def prose(text: str) -> str:
    """Return the text without tables, code and the references at its end."""
    text = TARGET.sub("", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return "\n".join(line for line in text.splitlines() if not line.startswith("|"))


def look_up(path: Path, fragment: str) -> tuple[list[float], bool]:
    """Return the numbers that a reference names, and whether they have a p-value by Holm's method below 0.05."""
    *conditions, columns = fragment.split("&")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for key, _, value in (condition.partition("=") for condition in conditions):
        table = table[table[key] == value]
    assert len(table) == 1, f"{fragment} is met by {len(table)} rows of {path.name}"
    row, first = table.iloc[0], columns.split(",")[0]
    holm = row.get(f"{first}_holm", row.get("holm", "")) if "," in columns else ""
    return [float(row[column]) for column in columns.split(",")], bool(holm) and float(holm) < 0.05


def mistakes(text: str) -> list[str]:
    """Return what is wrong with a text: numbers that differ, references without a target, bold sentences."""
    targets = {name: (DOCS / path, fragment) for name, path, fragment in TARGET.findall(text)}
    found = [f"nothing refers to {name}" for name in targets.keys() - {n for _, n in REFERENCE.findall(text)}]
    exact: dict[str, list[float]] = {}
    for shown, name in REFERENCE.findall(text):
        if name not in targets:
            found.append(f"{shown}: no target {name}")
            continue
        exact[name], holds = look_up(*targets[name])
        if shown.endswith("*") != holds:
            found.append(f"{shown}: a star says that a difference holds by Holm's correction, here {holds}")
        scale = 100 if "%" in shown else 1
        printed = NUMBER.findall(shown)
        rounded = [
            f"{scale * x:.{len(t.partition('.')[2])}f}" for t, x in zip(printed, exact[name], strict=True)
        ]
        plain = [t.replace("−", "-").replace(",", "").lstrip("+") for t in printed]
        # Zero has no sign.
        if [x.lstrip("-") if not float(x) else x for x in rounded] != [
            x.lstrip("-") if not float(x) else x for x in plain
        ]:
            found.append(f"{shown}: {name} is {rounded}")
        if verdict(targets[name][1], exact[name]) in ("better", "worse") and not all(map(float, rounded[1:])):
            found.append(f"{shown}: an end is rounded to zero, where the interval leaves zero out")
    for sentence in sentences(text):
        references = [*REFERENCE.finditer(sentence)]
        if not references and (bold := COMPARES.search(sentence)):
            found.append(f"{bold[0]!r} without a number: {sentence}")
        for reference in references:
            shown, name = reference.groups()
            if (wanted := verdict(targets[name][1], exact[name]) if name in exact else "") and wanted != said(
                sentence, reference
            ):
                found.append(f"{shown} needs a word like {WORDS[wanted]} before it: {sentence}")
    return found


def sentences(text: str) -> list[str]:
    """Return the sentences of the prose."""
    return re.split(r"(?<=\.)\s+", " ".join(prose(text).split()))


def verdict(fragment: str, numbers: list[float]) -> str:
    """Return what an interval says, a key of `WORDS`; nothing of shares, correlations and numbers without one."""
    columns = fragment.rpartition("&")[2]
    bare = columns.startswith(("quotient", "correlation")) or "question=linear_per_lora" in fragment
    if len(numbers) != 3 or bare:
        return ""
    nothing = 1.0 if "ratio" in columns or "outcome=perplexity_ratio" in fragment else 0.0
    _, low, high = numbers
    if low <= nothing <= high:
        return "unshown"
    return "better" if (high < nothing) != ("outcome=points" in fragment) else "worse"


def said(sentence: str, reference: re.Match[str]) -> str | None:
    """Return what a sentence says of a number: by the last verdict before it, or else the first one after it."""
    verdicts = [(word.start(), word.lastgroup) for word in VERDICT.finditer(sentence)]
    before = [kind for at, kind in verdicts if at < reference.start()]
    return before[-1] if before else next((kind for at, kind in verdicts if at > reference.end()), None)


def test_every_number_is_what_its_file_says_and_every_sentence_within_its_intervals() -> None:
    assert len(REFERENCE.findall(TEXT)) > 30
    assert mistakes(TEXT) == []


def test_no_verdict_of_the_page_can_be_another() -> None:
    """Each verdict, turned into either other one, is found."""
    example = {"unshown": "no difference", "better": "lower", "worse": "higher"}
    targets = "\n".join(f"[{name}]: {path}#{fragment}" for name, path, fragment in TARGET.findall(TEXT))
    turned = 0
    for sentence in sentences(TEXT):
        for word in VERDICT.finditer(sentence) if REFERENCE.search(sentence) else ():
            for kind in {*WORDS} - {word.lastgroup}:
                other = sentence[: word.start()] + example[kind] + sentence[word.end() :]
                right = {said(sentence, r) == said(other, r) for r in REFERENCE.finditer(sentence)}
                if right != {True}:  # a word that speaks of no number here
                    turned += 1
                    bold = [line for line in mistakes(f"{other}\n\n{targets}") if "needs a word" in line]
                    assert bold, other
    assert turned > 50


def test_no_measured_number_stands_without_its_file() -> None:
    rest = re.sub(
        r"`[^`]*`|\]\([^)]*\)|SmolLM2-\S+|Qwen2\.5-\S+|arXiv \S+", "", REFERENCE.sub("", prose(TEXT))
    )
    assert re.findall(r"\d\.\d+", rest) == []


def test_lines_can_be_read() -> None:
    assert max(len(line) for line in prose(TEXT).splitlines()) <= 130


@pytest.mark.parametrize(
    ("sentence", "mistake"),
    [
        ("It is lower, [{a} ({b} to {c})][x].", "needs a word like not shown"),
        ("It is lower, and no difference is shown, [{wrong} ({b} to {c})][x].", "x is "),
        ("It is lower, [{a}][y].", "no target y"),
        ("It cannot be told from entropy, [{a} ({b} to {c})][x].", ""),
        ("It is farther away, [{d} ({e} to {f})][z].", "needs a word like nearer"),
        ("It is nearer, [{d} ({e} to {f})][z].", ""),
        (
            "It is nearer, [{d} ({e} to {f})][z], and nearer too, [{a} ({b} to {c})][x].",
            "needs a word like not shown",
        ),
        ("It is nearer, [{d} ({e} to {f})][z]. It wins everywhere.", "'wins' without a number"),
        ("It is nearer, [{d} ({e} to {f})*][z].", "a star says"),
        ("It is nearer, [{d} ({e} to −0)][z].", "rounded to zero"),
    ],
)
def test_a_sentence_that_says_more_than_its_interval_is_found(sentence: str, mistake: str) -> None:
    path, columns = "results/sensitivity/comparison.csv", "js_distance,js_distance_low,js_distance_high"
    table = pd.read_csv(DOCS.parent / path)
    covers = (table["js_distance_low"] < 0) & (table["js_distance_high"] > 0)
    nearer = table[(table["js_distance_high"] < 0) & (table["js_distance_holm"] > 0.05)].iloc[0]
    unshown = table[covers].iloc[0]
    numbers = {"wrong": "+9.999"}
    where = ""
    for name, letters, row in (("x", "abc", unshown), ("z", "def", nearer)):
        shown = (f"{x:+.3f}" for x in row[columns.split(",")])
        numbers |= dict(zip(letters, shown, strict=True))
        where += f"\n[{name}]: ../{path}#ratio={row['ratio']}&method={row['method']}&seed=&{columns}"
    text = sentence.format(**numbers) + f"\n{where}\n"
    found = [line for line in mistakes(text) if not line.startswith("nothing refers")]
    if mistake:
        assert re.search(mistake, found[0])
    else:
        assert found == []
