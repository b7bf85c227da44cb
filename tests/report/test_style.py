"""Names, order and looks are the same wherever a method, task or metric appears."""

from hfprune.report.style import EXTRA_COLOURS, METHODS, looks
from hfprune.study.labels import Label


def test_well_known_methods_come_first_and_keep_their_looks_and_others_get_theirs_by_name() -> None:
    found = looks(["zeta", "random", "entropy", "alpha", "dense"])
    assert [*found] == ["dense", "entropy", "random", "alpha", "zeta"]
    assert all(found[name] == METHODS[name] for name in ("dense", "entropy", "random"))
    assert looks(["b_c", "a"]) == looks(["a", "b_c", "a"])
    assert [looks([name])[name].label for name in ("b_c", "entropy_8")] == ["B c", "Entropy, 8"]


def test_no_two_methods_look_alike() -> None:
    found = looks([*METHODS, *(f"method{i:02}" for i in range(56))]).values()
    assert len({(look.colour, look.marker) for look in found}) == len(found)
    few = looks([*METHODS, *(f"method{i}" for i in range(len(EXTRA_COLOURS)))]).values()
    assert len({look.colour for look in few}) == len(few)
    grey = looks(["entropy", "sdmprune", *(f"method{i}" for i in range(20))]).values()
    assert len({(look.marker, look.line) for look in grey}) == len(grey) and next(iter(grey)).line == "-"


def test_a_studys_own_labels_and_colours_come_first_and_no_other_method_gets_the_colour() -> None:
    first = EXTRA_COLOURS[0]
    own = {"entropy": Label("Ours", ""), "zeta": Label("", first), "alpha": Label("A", "")}
    found = looks(["entropy", "zeta", "alpha", "beta"], own)
    labels = {"entropy": "Ours", "zeta": "Zeta", "alpha": "A", "beta": "Beta"}
    assert {name: look.label for name, look in found.items()} == labels
    assert found["entropy"].colour == METHODS["entropy"].colour and found["zeta"].colour == first
    assert first not in {found["alpha"].colour, found["beta"].colour}
    many = [f"method{i:02}" for i in range(49)]
    assert len({look[1:3] for look in looks([*many, "zeta"], own).values()}) == 50
