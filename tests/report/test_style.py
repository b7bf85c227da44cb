"""Names, order and looks are the same wherever a method, task or metric appears."""

import pytest

from hfprune.report.style import EXTRA_COLOURS, METHODS, looks, metric_label, tasks_in_order
from hfprune.study.labels import Label


def test_well_known_methods_come_first_and_keep_their_looks() -> None:
    found = looks(["zeta", "random", "entropy", "alpha", "dense"])
    assert [*found] == ["dense", "entropy", "random", "alpha", "zeta"]
    assert all(found[name] == METHODS[name] for name in ("dense", "entropy", "random"))


def test_other_methods_get_looks_by_name_whatever_the_order() -> None:
    assert looks(["b_c", "a"]) == looks(["a", "b_c", "a"])
    assert looks(["b_c"])["b_c"].label == "B c"
    assert looks(["entropy_8"])["entropy_8"].label == "Entropy, 8"


def test_no_two_methods_look_alike() -> None:
    found = looks([*METHODS, *(f"method{i:02}" for i in range(56))]).values()
    assert len({(look.colour, look.marker) for look in found}) == len(found)
    few = looks([*METHODS, *(f"method{i}" for i in range(len(EXTRA_COLOURS)))]).values()
    assert len({look.colour for look in few}) == len(few)


def test_a_studys_own_labels_and_colours_come_first_and_no_other_method_gets_the_colour() -> None:
    first = EXTRA_COLOURS[0]
    own = {"entropy": Label("Ours", ""), "zeta": Label("", first), "alpha": Label("A", "")}
    found = looks(["entropy", "zeta", "alpha", "beta"], own)
    assert [found[name].label for name in ("entropy", "zeta", "alpha", "beta")] == [
        "Ours",
        "Zeta",
        "A",
        "Beta",
    ]
    assert found["entropy"].colour == METHODS["entropy"].colour and found["zeta"].colour == first
    assert first not in {found["alpha"].colour, found["beta"].colour}
    many = [f"method{i:02}" for i in range(49)]
    assert len({look[1:] for look in looks([*many, "zeta"], own).values()}) == 50


def test_tasks_of_the_paper_first_then_others_under_their_own_names() -> None:
    found = tasks_in_order(["winogrande", "zz", "arc_challenge", "aa"])
    assert [task.short for task in found.values()] == ["ARCc", "Wino", "aa", "zz"]


@pytest.mark.parametrize(
    ("metric", "label"),
    [("top15_jaccard", "Top-15 Jaccard"), ("js_distance", "JS distance"), ("new_metric", "new metric")],
)
def test_metric_labels(metric: str, label: str) -> None:
    assert metric_label(metric) == label
