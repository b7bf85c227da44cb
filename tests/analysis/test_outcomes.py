"""Outcomes of two sides, paired by item and draw."""

from collections.abc import Mapping

import pandas as pd
import pytest

from hfprune.statistics.outcomes import Draw, NotComparableError, contrast, paired

Tasks = Mapping[str, list[float]]


def series(tasks: Tasks) -> dict[str, pd.Series]:
    return {task: pd.Series(values) for task, values in tasks.items()}


def outcomes(*draws: Tasks) -> dict[Draw | None, dict[str, pd.Series]]:
    return {Draw(draw): series(tasks) for draw, tasks in enumerate(draws)}


def test_contrast_is_the_difference_item_by_item() -> None:
    left = outcomes({"a": [1, 0, 1], "b": [0.5, 1]}, {"a": [1, 1, 1], "b": [0.25, 0]})
    right = outcomes({"a": [0, 0, 1], "b": [0.5, 0]}, {"a": [1, 0, 1], "b": [0, 0]})
    found = contrast([(1, left), (-1, right)])
    assert found.tasks["a"].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert found.tasks["b"].tolist() == [[0, 1], [0.25, 0]]
    assert (found.fixed, found.resampled) == (False, {})
    sides = [outcomes({"a": values}) for values in ([1, 1], [1, 0], [0, 1], [1, 0])]
    found = contrast([*zip((1, -1, -1, 1), sides, strict=True)])
    assert found.tasks["a"].tolist() == [[1 - 1 - 0 + 1, 1 - 0 - 1 + 0]]


def test_only_what_no_draw_changes_belongs_to_every_draw() -> None:
    a, b = Draw(1), Draw(2)
    found = paired([{a: "a", b: "b"}, {None: "dense"}, {a: "x", b: "y"}])
    assert found == {a: ["a", "dense", "x"], b: ["b", "dense", "y"]}
    assert paired([{None: "dense"}, {None: "other"}]) == {None: ["dense", "other"]}


def test_resamples_are_paired_by_number_and_left_out_where_one_side_has_none() -> None:
    draws = [Draw(0), Draw(0, 1), Draw(0, 2)]
    one = {draw: series({"a": [float(draw.resample), 1.0]}) for draw in draws}
    found = contrast([(1, one), (-1, {None: series({"a": [0.0, 0.0]})})])
    assert found.tasks["a"].tolist() == [[0, 1]]
    assert found.resampled["a"].tolist() == [[[1, 1], [2, 1]]]
    alone = contrast([(1, one), (-1, {draws[0]: series({"a": [0.0, 0.0]})})])
    assert alone.tasks["a"].tolist() == [[0, 1]] and not alone.resampled


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (outcomes({"a": [1.0, 0.0, 1.0]}), "different items of a"),
        (outcomes({"a": [1.0, 0.0], "b": [1.0]}), "different tasks"),
        ({Draw(0): {"a": pd.Series([1.0, 0.0], index=[0, 2])}}, "different items of a"),
        (outcomes({"a": [1.0, 0.0]}, {"a": [1.0, 0.0]}), r"different draws \(0 and 0, 1\)"),
        ({Draw(4): series({"a": [1.0, 0.0]})}, r"different draws \(0 and 4\)"),
    ],
)
def test_what_was_measured_on_other_items_is_not_compared(other, message: str) -> None:
    with pytest.raises(NotComparableError, match=message):
        contrast([(1, outcomes({"a": [1.0, 1.0]})), (-1, other)])


def test_a_resample_that_one_draw_lacks_is_left_out() -> None:
    def side(*draws: Draw) -> dict[Draw | None, dict[str, pd.Series]]:
        return {draw: series({"a": [10.0 * draw.number + draw.resample, 1.0]}) for draw in draws}

    uneven = side(Draw(0), Draw(0, 1), Draw(0, 2), Draw(0, 3), Draw(1), Draw(1, 2), Draw(1, 3))
    assert contrast([(1, uneven)]).resampled["a"][:, :, 0].tolist() == [[2, 3], [12, 13]]
    assert not contrast([(1, side(Draw(0), Draw(0, 1), Draw(1)))]).resampled
    alone = contrast([(1, side(*(Draw(draw, n) for draw in range(3) for n in (0, 1))))])
    assert not alone.resampled and len(alone.tasks["a"]) == 3, "one resample has no spread"
