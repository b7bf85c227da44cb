"""Every measured number in docs/findings.md is what the file behind its link says."""

import re
from pathlib import Path

import pandas as pd
import pytest

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "findings.md").read_text(encoding="utf-8")
# [0.92 (0.90 to 0.95)](../results/methods/comparison.csv#ratio=0.2&method=fisher&value,value_low,value_high):
# the numbers of the text are those columns of the one row that meets the conditions.
LINK = re.compile(r"\[([^\]]+)\]\((\.\./results/[^)#]+\.csv)#([^)]+)\)")
NUMBER = re.compile(r"[-−+]?\d[\d,]*(?:\.\d+)?")


def look_up(path: Path, fragment: str) -> list[float]:
    """Return the linked numbers."""
    *conditions, columns = fragment.split("&")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for key, _, value in (condition.partition("=") for condition in conditions):
        table = table[table[key] == value]
    assert len(table) == 1, f"{fragment} is met by {len(table)} rows of {path.name}"
    return [float(table[column].iloc[0]) for column in columns.split(",")]


@pytest.mark.parametrize(("shown", "path", "fragment"), LINK.findall(TEXT))
def test_number_is_what_its_file_says(shown: str, path: str, fragment: str) -> None:
    scale = 100 if "%" in shown else 1
    printed = NUMBER.findall(shown)
    exact = [scale * value for value in look_up(DOCS / path, fragment)]
    rounded = [f"{value:.{len(text.partition('.')[2])}f}" for text, value in zip(printed, exact, strict=True)]
    assert rounded == [text.replace("−", "-").replace(",", "").lstrip("+") for text in printed]


def test_no_measured_number_stands_without_its_file() -> None:
    assert len(LINK.findall(TEXT)) > 30
    rest = re.sub(r"`[^`]*`|\]\([^)]*\)|SmolLM2-\S+|arXiv \S+", "", LINK.sub("", TEXT))
    assert re.findall(r"\d\.\d+", rest) == []
