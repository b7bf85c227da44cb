"""The matrix of engines: what counts as the same model, and a refusal; `make test-engines` runs the engines."""

import sys
from pathlib import Path

import pytest
from engines import matrix
from engines.reading import NEW, Read

EXACT, ROUNDED = matrix.Engine("exact", "", ""), matrix.Engine("rounded", "", "", 0.5, "Q8_0")
MINE: list[Read] = [([1, 2, 3], [-1.0, -2.0], [7] * NEW)] * len(matrix.TEXTS)


@pytest.mark.parametrize(
    ("engine", "read", "expected"),
    [
        (EXACT, ([1, 2, 3], [-1.0, -2.0], [7] * NEW), ("0", True)),
        (EXACT, ([1, 2, 3], [-1.0, -2.004], [7] * NEW), ("0.004", True)),
        (EXACT, ([1, 2, 3], [-1.02, -2.0], [7] * NEW), ("0.02", False)),
        (EXACT, ([1, 2, 3], [-1.0, -2.0], [7] * (NEW - 1) + [8]), ("0 (45)", False)),
        (ROUNDED, ([1, 2, 3], [-1.2, -2.0], [7] * (NEW - 1) + [8]), ("0.2 (45)", True)),
        (ROUNDED, ([1, 2, 3], [-1.0, float("nan")], [7] * NEW), ("nan", False)),
        (EXACT, ([1, 2, 4], [-1.0, -2.0], [7] * NEW), ("other tokens", False)),
    ],
)
def test_what_counts_as_the_same_model(engine: matrix.Engine, read: Read, expected: tuple[str, bool]) -> None:
    assert matrix.compared(engine, MINE, [read] * len(matrix.TEXTS)) == expected


@pytest.mark.parametrize("python", ["missing/python", sys.executable])
def test_a_refusal_is_a_reason(python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an environment that is not there, and of an engine without a model."""
    monkeypatch.chdir(tmp_path)
    found = matrix.theirs(matrix.Engine("none", python, "transformers"))
    assert found.keys() == matrix.MODELS.keys()
    assert all(
        "python" in reason if "missing" in python else "Error: " in reason for reason in found.values()
    )
