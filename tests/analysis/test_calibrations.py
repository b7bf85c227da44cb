"""A study of two texts and one of two sizes: what is compared with what, by hand."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic import Study, effects_of, evidence, study_of_texts

from hfprune.cells import DENSE
from hfprune.cells.recovery import Recovery
from hfprune.effects.added.calibrations import Calibrations
from hfprune.effects.comparisons import DENSE_SIDE, ComparedBy, comparisons
from hfprune.errors import HfpruneError
from hfprune.results.effect_rows import OF_CLAIM, read_claims, read_effects
from hfprune.results.evidence import Evidence
from hfprune.results.files import read_csv
from hfprune.results.reader import Results
from hfprune.study.study import Study as Config

METHODS = ["entropy", "cross_entropy", "magnitude"]
TEXTS_BY_NAME = C4, OTHER = "c4", "other_text"
NONE = Recovery.NONE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each method is 0.02 closer than the one before it on C4, and 0.01 on the other text."""
    return study_of_texts(tmp_path_factory.mktemp("texts"), METHODS, effects=["calibrations"])


def test_effects_are_within_each_text(folder: Path) -> None:
    rows = read_effects(folder / "effects.csv").query("question == 'reference' and outcome == 'js_distance'")
    assert {*rows["against"]} == {"entropy"} and {*rows["against_calibration"]} == {""}
    values = rows.set_index(["method", "calibration"])["value"].to_dict()
    assert values == pytest.approx(
        {
            ("cross_entropy", C4): -0.02,
            ("magnitude", C4): -0.04,
            ("cross_entropy", OTHER): -0.01,
            ("magnitude", OTHER): -0.02,
        }
    )
    assert (rows["draws"] == 3).all() and {*rows["family"]} == {
        "reference: js_distance",
        "reference: js_distance on other calibrations",
    }
    bases = rows.groupby("calibration")["base"].first().to_dict()
    assert bases == pytest.approx({C4: 0.4 + 0.01, OTHER: 0.45 + 0.01}), "entropy's own, over three draws"


def test_a_text_is_compared_with_the_first_by_the_same_method_and_the_reference(folder: Path) -> None:
    rows = read_effects(folder / "effects.csv").query("question == 'calibration'")
    assert {*rows["calibration"]} == {OTHER} and {*rows["against_calibration"]} == {C4}
    assert DENSE not in {*rows["method"]} | {*rows["against"]}
    with_reference = rows[(rows["outcome"] == "js_distance") & (rows["method"] != rows["against"])]
    assert {*with_reference["against"]} == {"entropy"}
    # A method's own distance on the other text less that of entropy on C4.
    assert with_reference.set_index("method")["value"].to_dict() == pytest.approx(
        {"cross_entropy": 0.05 - 0.01, "magnitude": 0.05 - 0.02}
    )
    rows = rows[rows["method"] == rows["against"]]
    distances = rows[rows["outcome"] == "js_distance"].set_index("method")
    assert distances["value"].to_dict() == pytest.approx(
        {"entropy": 0.05, "cross_entropy": 0.06, "magnitude": 0.07}
    )
    assert distances["base"].isna().all() and {*distances["better"]} == {"lower"}
    assert (distances["draws"] == 3).all() and {*distances["family"]} == {
        "calibration: js_distance on other calibrations"
    }
    ratios = rows[rows["outcome"] == "perplexity_ratio"].set_index("method")["value"]
    assert ratios.to_dict() == pytest.approx({name: np.exp(x) for name, x in distances["value"].items()})


def test_a_claim_has_a_row_for_each_text_with_the_numbers_of_its_effect(folder: Path) -> None:
    verdicts = read_csv(folder / "claims.csv")
    assert not {*OF_CLAIM} & {*verdicts}
    claims = read_claims(folder)
    pd.testing.assert_frame_equal(claims[[*verdicts]], verdicts), "in their order"
    rows = claims[(claims["claim"] == "lower-js-distance") & (claims["model"] == "tiny-llama")]
    rows = rows[rows["ratio"] == 0.2].set_index("calibration")
    assert rows["value"].to_dict() == pytest.approx({C4: 0.02, OTHER: 0.01}), "entropy less cross-entropy"
    assert rows[["n", "draws", "resamples"]].to_numpy().tolist() == [[8, 3, 0]] * 2
    assert {*rows["verdict"]} == {"contradicted"} and {*rows["sequences"]} == {4}
    effects = read_effects(folder / "effects.csv").query("claim == 'lower-js-distance'")
    kept = effects.set_index("calibration").loc[rows.index, OF_CLAIM]
    pd.testing.assert_frame_equal(rows[OF_CLAIM], kept, check_dtype=False)
    not_run = claims[claims["verdict"] == "not run"]
    assert len(not_run) and not_run["value"].isna().all() and (not_run[["n", "draws"]] == 0).all(axis=None)
    of_model = claims[claims["model"] == "tiny-llama"]
    each = of_model.groupby(["claim", "ratio", "metric"], dropna=False)["calibration"].agg(list)
    assert {*map(tuple, each)} == {(C4, OTHER)}, "one row per text, whether it ran or not"


def test_claims_without_the_table_of_their_effects_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "claims.csv").write_bytes((folder / "claims.csv").read_bytes())
    with pytest.raises(HfpruneError, match=r"effects\.csv: is not there"):
        read_claims(tmp_path)


def test_levels_draws_and_neurons_are_of_each_text(folder: Path) -> None:
    data = Results(folder)
    levels = data.levels.query("metric == 'js_distance'").set_index(["method", "calibration"])["value"]
    assert levels["entropy", C4] == pytest.approx(0.41) and levels["entropy", OTHER] == pytest.approx(0.46)
    draws = read_csv(folder / "draws.csv").query("outcome == 'js_distance' and against == 'entropy'")
    assert draws.set_index(["method", "calibration"])["value"].to_dict() == pytest.approx(
        {(name, text): -step * k for text, step in ((C4, 0.02), (OTHER, 0.01)) for k, name in
         enumerate(METHODS[1:], 1)}
    )  # fmt: skip
    neurons = read_csv(folder / "neurons.csv")
    beside = neurons[neurons["draw"].isna()]
    assert {*map(tuple, beside[["method", "calibration"]].to_numpy())} == {
        *product(METHODS[1:], TEXTS_BY_NAME)
    }


def study_of_sizes_and_weights(folder: Path) -> Config:
    """Entropy at two sizes, two samples each, and magnitude, which reads none; reconstruction reads the text."""
    study = Study(folder, methods=["entropy", "magnitude"], ratios=[0.2])
    for method, sequences, recovery in (
        ("entropy", 4, "none"),
        ("entropy", 16, "none"),
        ("entropy", 16, "linear"),
        ("magnitude", 0, "none"),
        ("magnitude", 0, "linear"),
    ):
        at: dict[str, Any] = {"sequences": sequences, "recovery": recovery}
        for draw in range(2 if sequences else 1):
            items = [0.1 + 0.01 * sequences] * 8
            study.outcomes(method, 0.2, "fidelity", items, metric="js_distance", draw=draw, **at)
    given = study.config().model_dump(mode="json", exclude_unset=True)
    sizes = {"corpus": "c4", "sequences": 32, "length": 8, "sizes": {4: 2, 16: 2}}
    return Config.model_validate(given | {"calibrations": {"c4": sizes}, "recoveries": ["none", "linear"]})


def test_a_method_that_reads_no_calibration_stands_in_the_group_of_the_largest_size(tmp_path: Path) -> None:
    found = evidence(study_of_sizes_and_weights(tmp_path), tmp_path)
    fidelity = [outcome for outcome in ComparedBy.all_of(found) if outcome.name == "js_distance"]
    groups = {compared.calibrated.sequences: compared.sides for compared in comparisons(found, fidelity)}
    assert {size: {*sides} for size, sides in groups.items()} == {
        4: {("entropy", NONE)},
        16: {
            (method, recovery) for method in ("entropy", "magnitude") for recovery in (NONE, Recovery.LINEAR)
        },
    }
    draws = {side: [draw.number for draw in outcomes if draw] for side, outcomes in groups[16].items()}
    assert draws[("entropy", NONE)] == [0, 1], "the samples of a size"


def test_a_plan_from_weights_stands_beside_every_sample_and_a_random_one_beside_the_first(
    tmp_path: Path,
) -> None:
    study, rng = (
        Study(tmp_path, methods=["entropy", "magnitude", "random"], ratios=[0.2]),
        np.random.default_rng(0),
    )
    samples = {"entropy": rng.normal(0.3, 0.01, (4, 8))}
    samples |= {"magnitude": rng.normal(0.4, 0.01, (1, 8)), "random": rng.normal(0.5, 0.01, (1, 8))}
    for method, drawn in samples.items():
        for draw, items in enumerate(drawn):
            at: dict[str, Any] = {"sequences": 16 if method == "entropy" else 0, "draw": draw}
            study.outcomes(method, 0.2, "fidelity", items, metric="js_distance", **at)
    sizes = {"corpus": "c4", "sequences": 64, "length": 8, "sizes": {16: 4}}
    given = study.config().model_dump(mode="json", exclude_unset=True)
    found = evidence(Config.model_validate(given | {"calibrations": {"c4": sizes}}), tmp_path)
    rows = effects_of(found).query("outcome == 'js_distance'").set_index("method")
    means = {method: drawn.mean() for method, drawn in samples.items()}
    magnitude, random = rows.loc["magnitude"], rows.loc["random"]
    assert magnitude["value"] == pytest.approx(means["magnitude"] - means["entropy"])
    assert (magnitude["sequences"], magnitude["draws"], magnitude["covers"]) == (16, 4, "draws and items")
    assert random["value"] == pytest.approx(means["random"] - samples["entropy"][0].mean())
    assert (random["draws"], random["covers"]) == (1, ""), "one random plan says nothing of others"
    assert random["base"] == pytest.approx(samples["entropy"][0].mean()), (
        "of the sample that it stands beside"
    )
    assert magnitude["base"] == pytest.approx(means["entropy"])


def test_groups_are_by_model_outcome_ratio_and_text_and_the_dense_model_is_in_each(folder: Path) -> None:
    data = Evidence(folder)
    found = [*comparisons(data, ComparedBy.first_of(data))]
    assert [(compared.outcome.name, *compared.calibrated) for compared in found] == [
        (outcome, text, 4) for outcome, text in product(data.declared.first_outcomes(), TEXTS_BY_NAME)
    ]
    for compared in found:
        methods = {method for method, _ in compared.sides}
        assert methods - {DENSE} == {*METHODS}
        assert (DENSE_SIDE in compared.sides) == (compared.outcome.name != "js_distance"), (
            "no distance to itself"
        )
        for method in METHODS:
            cells = data.cells_of(compared.model, method, compared.calibrated, 0.2)
            assert {cell.calibration for cell in cells} == {compared.calibrated.calibration}


def test_in_a_partial_run_a_text_that_was_not_measured_has_no_row(tmp_path: Path) -> None:
    study = Study(tmp_path, methods=["entropy"], ratios=[0.2])
    study.outcomes("entropy", 0.2, "fidelity", [0.3] * 8, metric="js_distance")
    given = study.config().model_dump(mode="json", exclude_unset=True)
    read = {name: {"corpus": name, "sequences": 4, "length": 8} for name in TEXTS_BY_NAME}
    config = Config.model_validate(given | {"calibrations": read})
    assert [*Calibrations().rows(evidence(config, tmp_path))] == []


def test_calibrations_are_compared_by_task_too_and_with_the_most_sequences_of_the_first(
    tmp_path: Path,
) -> None:
    study = Study(tmp_path, methods=["entropy"], ratios=[0.2], draws=[0, 1, 2])
    values = {
        ("c4", 4): (1.0, 2.0),
        ("c4", 8): (1.5, 2.0),
        ("as_many", 4): (2.0, 3.0),
        ("more", 16): (3.0, 1.0),
    }
    for (calibration, sequences), by_task in values.items():
        at: dict[str, Any] = {"calibration": calibration, "sequences": sequences, "metric": "bpb"}
        for (task, value), draw in product(zip(("code", "science"), by_task, strict=True), study.draws):
            study.outcomes(
                "entropy", 0.2, f"gold_bpb/{task}", [value + 0.1 * draw, value] * 4, draw=draw, **at
            )
    given = study.config().model_dump(mode="json", exclude_unset=True)
    read = {
        "c4": {"corpus": "c4", "sequences": 8, "length": 8, "sizes": {4: 1, 8: 1}},
        "as_many": {"corpus": "c4", "sequences": 4, "length": 8},
        "more": {"corpus": "c4", "sequences": 16, "length": 8},
    }
    measures = {"gold_bpb": {"groups": {"code": ["codex_humaneval"], "science": ["arc_easy"]}}}
    config = Config.model_validate(
        given | {"calibrations": read, "measures": measures, "primary": "gold_bpb"}
    )
    rows = [*Calibrations().rows(evidence(config, tmp_path))]
    assert {(row.calibration, row.task): row.effect.value for row in rows} == pytest.approx(
        {
            **{("as_many", "code"): 1.0, ("as_many", "science"): 1.0, ("as_many", ""): 1.0},
            **{("more", "code"): 1.5, ("more", "science"): -1.0, ("more", ""): 0.25},
        }
    ), "less the first text at 4 sequences, and at 8 where it has no 16"
    assert {row.family for row in rows} == {
        "calibration: bpb on other calibrations",
        "calibration: bpb of each task on other calibrations",
    }


@pytest.mark.parametrize(
    ("recovery", "steps", "of_dense"),
    [
        ("none", (), "none"),
        ("linear", ("linear",), "none"),
        ("lora", ("lora",), "lora"),
        ("linear+lora", ("linear", "lora"), "lora"),
        ("bias", ("bias",), "none"),
    ],
)
def test_a_recovery_is_a_sequence_of_steps_of_which_the_dense_model_gets_the_training(
    recovery: str, steps: tuple[str, ...], of_dense: str
) -> None:
    found = Recovery(recovery)
    assert found.steps == steps and found.of_dense == of_dense and found == recovery
    assert (found.trains, found.reconstructs) == ("lora" in steps, "linear" in steps)
