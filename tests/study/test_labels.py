"""Methods have names for people, in tables and figures of results without their study too."""

import pytest

from hfprune.errors import HfpruneError
from hfprune.settings import validate
from hfprune.study.labels import calibration_label, labels, readable
from hfprune.study.study import Study

CALIBRATIONS = {"c4": {"corpus": "c4", "sequences": 64, "length": 8}}


def study(**methods: dict) -> Study:
    return of(CALIBRATIONS, **methods)


def of(calibrations: dict, **methods: dict) -> Study:
    data = {"models": ["a"], "methods": methods, "ratios": [0.2], "measures": {}}
    return validate(Study, data | {"calibrations": calibrations}, "study.yaml")


BOTH = ["neurons", "key_value_groups"]


@pytest.mark.parametrize(
    ("criterion", "settings", "label"),
    [
        ("entropy", {}, "Entropy"),
        ("cross_entropy", {}, "Cross-entropy"),
        ("entropy", {"options": {"aggregation": "sum_squares"}}, "Entropy, sum squares"),
        ("sdmprune", {"options": {"alpha": 0.1}}, "SDMPrune, alpha 0.1"),
        ("mine", {"options": {"signed": True, "centred": False}}, "Mine, signed, no centred"),
        ("entropy", {"units": BOTH}, "Entropy, attn+MLP"),
        ("entropy", {"units": {"neurons": 0.7, "layers": 0.3}}, "Entropy, 70 % MLP + 30 % layers"),
        (
            "flap",
            {"allocation": {"rule": "global", "standardize": True}},
            "FLAP's score, global, standardized",
        ),
        ("taylor", {"allocation": {"spare": [4, 2]}}, "LLM-Pruner's score, spares 4 + 2 layers"),
        ("flap", {"units": BOTH, "allocation": "joint", "bias": True}, "FLAP's score, attn+MLP, joint, bias"),
        ("entropy", {"label": "Ours"}, "Ours"),
        (None, {"baseline": "llm_pruner"}, "LLM-Pruner"),
        (None, {"baseline": "my_tool", "label": "My tool"}, "My tool"),
    ],
)
def test_a_method_is_called_by_its_criterion_and_what_differs(criterion, settings: dict, label: str) -> None:
    chosen = {"criterion": criterion} if criterion else {}
    assert labels(study(x=chosen | settings))["x"].label == label


def test_a_calibration_is_called_by_its_text_and_its_sequences_where_a_study_has_several() -> None:
    c4, own = CALIBRATIONS["c4"], {"label": "Wikipedia", "corpus": "w", "sequences": 8, "length": 8}
    sized = c4 | {"sizes": {8: 1, 64: 1}}
    for calibrations, at, label in (
        ({"c4": c4}, ("c4", 64), ""),
        ({"c4": c4, "wiki": own}, ("wiki", 8), "Wikipedia"),
        ({"my_c4": c4, "wiki": own}, ("my_c4", 64), "my c4"),
        ({"c4": c4 | {"sizes": {8: 1}}}, ("c4", 8), ""),
        ({"c4": sized}, ("c4", 8), "8 sequences"),
        ({"c4": sized}, ("c4", 0), ""),
        ({"c4": sized, "wiki": own}, ("c4", 64), "c4, 64 sequences"),
        ({"c4": sized, "wiki": own}, ("c4", 0), "c4"),
        ({"c4": sized, "wiki": own}, ("none", 0), ""),
    ):
        assert calibration_label(of(calibrations, entropy={}), *at) == label


def test_no_two_labels_are_the_same() -> None:
    found = labels(study(a={"criterion": "entropy"}, b={"criterion": "entropy", "ratios": [0.2]}))
    assert [label.label for label in found.values()] == ["Entropy (a)", "Entropy (b)"]
    with pytest.raises(HfpruneError, match=r"methods\.b\.label: 'X' is the label of 'a' too"):
        study(a={"criterion": "entropy", "label": "X"}, b={"criterion": "fisher", "label": "X"})


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("entropy_8", "Entropy, 8"),
        ("cross_entropy_squares", "Cross-entropy, squares"),
        ("shortgpt", "ShortGPT"),
        ("my_own", "My own"),
    ],
)
def test_a_name_alone_is_readable_too(name: str, label: str) -> None:
    assert readable(name) == label


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("label", "a|b", "is no label"),
        ("label", "a\nb", "is no label"),
        ("colour", "blue", "'blue' is no colour: give one as '#0072B2', in quotes"),
        ("color", "#000000", "unknown key 'color'; did you mean 'colour'"),
    ],
)
def test_what_cannot_be_shown_is_refused(key: str, value: str, message: str) -> None:
    with pytest.raises(HfpruneError, match=message):
        study(x={"criterion": "entropy", key: value})
