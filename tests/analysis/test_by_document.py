"""Effects over the dense model's entropy on each document, and of every two methods."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress
from synthetic import PAPER, Study, gather

from hfprune.cells import DENSE, Value
from hfprune.effects.added.by_document import over_entropy
from hfprune.stages.effects import MakeEffects
from hfprune.statistics.estimates import estimate
from hfprune.statistics.outcomes import Draw

DRAWS = 3


def outcomes(rows: np.ndarray) -> dict:
    index = pd.Index(range(rows.shape[1]), name="item")
    return {Draw(draw): {"text": pd.Series(row, index)} for draw, row in enumerate(rows)}


def entropies(values: np.ndarray) -> dict:
    return {None: {"text": pd.Series(values, pd.Index(range(len(values)), name="item"))}}


def test_the_slope_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    entropy, ours, theirs = rng.gamma(4, size=40), rng.normal(size=(DRAWS, 40)), rng.normal(size=(DRAWS, 40))
    found = over_entropy(outcomes(ours), outcomes(theirs), entropies(entropy))
    slopes = [linregress(entropy, one - other).slope for one, other in zip(ours, theirs, strict=True)]
    assert found.tasks["text"].mean(1) == pytest.approx(slopes)
    assert estimate(found).value == pytest.approx(np.mean(slopes))


def test_its_interval_holds_the_slope_of_all_documents() -> None:
    """Documents vary more the higher the entropy is, and each draw has a slope of its own."""
    rng, held, times = np.random.default_rng(1), 0, 400
    for _ in range(times):
        entropy = rng.gamma(4, size=60)
        draws, documents = rng.normal(0.1, 0.05, (8, 1)), rng.normal(size=60) * entropy
        noise = rng.normal(size=(8, 60))
        rows = draws * entropy + documents + noise
        it = estimate(over_entropy(outcomes(rows), outcomes(np.zeros((8, 60))), entropies(entropy)))
        held += it.low <= 0.1 <= it.high
    # At 95 % it is below 367 once in a thousand times.
    assert 0.91 * times <= held <= 0.985 * times


@pytest.fixture
def rows(tmp_path: Path) -> pd.DataFrame:
    """Return the effects of three methods on one text, whose entropies rise with the item."""
    study, rng = (
        Study(tmp_path, methods=["entropy", "magnitude", "random"], ratios=[0.2]),
        np.random.default_rng(0),
    )
    items = pd.DataFrame({"item": range(12)})
    levels = {DENSE: 0.0, "entropy": 1.0, "magnitude": 2.0, "random": 3.0}
    for method, level in levels.items():
        for draw in range(1 if method == DENSE else DRAWS):
            own = items.assign(nll=level * items["item"] / 10 + rng.normal(0, 0.01, 12))
            ratio = 0.2 * (method != DENSE)
            study.result(method, ratio, "perplexity", "wiki", Value("perplexity", 9.0), items=own, draw=draw)
    own = items.assign(output_entropy=items["item"] / 5)
    study.result(DENSE, 0.0, "output_entropy", "wiki", Value("output_entropy", 1.0), items=own)
    text = {"corpus": "wiki", "sequences": 12, "length": 16}
    config = study.config().model_copy(update={"effects": ["by_document", "pairs"], "draws": [*range(DRAWS)]})
    measures = config.model_dump(mode="json", exclude_unset=True)["measures"]
    made = type(config).model_validate(
        config.model_dump(mode="json", exclude_unset=True)
        | {"measures": measures | {"output_entropy": text | {"methods": []}}}
    )
    gather(made, tmp_path)
    MakeEffects(results=tmp_path, claims=PAPER / "claims.yaml").run()
    return pd.read_csv(tmp_path / "effects.csv", keep_default_na=False, na_values={"value": [""]})


def test_an_effect_that_grows_with_entropy_is_found(rows: pd.DataFrame) -> None:
    found = rows.query("question == 'by_document'").set_index("method")
    # 0.1 nats of loss an item, and 0.2 nats of entropy.
    assert found["value"].to_dict() == pytest.approx(
        {"magnitude": np.exp(0.5), "random": np.exp(1)}, rel=0.05
    )
    assert set(found["against"]) == {"entropy"} and set(found["neutral"]) == {1.0}
    assert found["family"].nunique() == 1


def test_every_two_methods_that_are_no_reference_have_a_row(rows: pd.DataFrame) -> None:
    (row,) = rows.query("question == 'pair'").to_dict("records")
    assert (row["method"], row["against"]) == ("magnitude", "random")
    assert row["value"] == pytest.approx(np.exp(-0.55), rel=0.05)
    assert row["family"] == "pair: perplexity_ratio"
