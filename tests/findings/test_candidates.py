"""The rule that takes the default of `hfprune prune`, on ranks that are known."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from committed import results_of
from smoke import ROOT
from synthetic import Study, evidence

from findings.candidates import decided, ranked, table
from findings.sources import TABLES, Tables
from hfprune.cells import DENSE, Value
from hfprune.errors import HfpruneError
from hfprune.pruning.config import Pruning
from hfprune.pruning.recipe import RECIPES, chosen
from hfprune.results.evidence import Evidence
from hfprune.settings import load
from hfprune.study.study import Study as Config


def study(*methods: str) -> Config:
    return Config(
        models=["a", "b", "c"],
        methods=[*methods],
        ratios=[0.1, 0.2],
        calibrations={"c4": {"corpus": "c4", "sequences": 4, "length": 8}},
        measures={},
    )


def ranks(**by_candidate: list[int]) -> pd.DataFrame:
    """Return log perplexities in the order of these ranks on the models a, b and c, the same at both ratios."""
    columns = [(model, ratio, "text") for ratio in (0.1, 0.2) for model in "abc"]
    return pd.DataFrame.from_dict(
        {name: np.tile(own, 2) / 10 for name, own in by_candidate.items()},
        orient="index",
        columns=pd.MultiIndex.from_tuples(columns),
    )


@pytest.mark.parametrize(
    ("values", "taken", "is_stable"),
    [
        # Means 1, 2 and 3.
        (ranks(entropy=[1, 1, 1], fisher=[2, 2, 2], wanda=[3, 3, 3]), "entropy", True),
        # Means 5/3, 5/3 + 1/3 and 7/3: the second ties, and takes no gradient.
        (ranks(entropy=[1, 1, 3], wanda=[3, 2, 1], fisher=[2, 3, 2]), "wanda", True),
        # Means 5.5/3, 5.5/3 and 7/3, a half more, though not so in floating point.
        (ranks(entropy=[1, 1, 3], fisher=[2, 1, 2], wanda=[3, 3, 1]), "wanda", True),
        # Without a, fisher's mean is 1, but it takes gradients as entropy does, and wanda ties with neither.
        (ranks(entropy=[1, 2, 2], fisher=[4, 1, 1], wanda=[5, 5, 5], magnitude=[3, 4, 4]), "entropy", False),
        # Without c, flap is first, by more than a half; it takes no gradient.
        (ranks(entropy=[2, 2, 1], flap=[1, 1, 6], fisher=[3, 3, 2], wanda=[4, 4, 3]), "flap", False),
    ],
)
def test_the_rule(values: pd.DataFrame, taken: str, is_stable: bool) -> None:
    found = ranked(values, study(*values.index))
    assert (found.taken, found.stable) == (taken, is_stable)
    assert found.over_models.is_monotonic_increasing


def test_models_weigh_the_same_whatever_the_number_of_their_texts() -> None:
    values = ranks(entropy=[1, 2, 2], fisher=[2, 1, 1])
    more = values.copy()
    more["b", 0.3, "text"], more["b", 0.4, "text"] = values["b", 0.1, "text"], values["b", 0.1, "text"]
    assert ranked(more, study("entropy", "fisher")).over_models.to_dict() == pytest.approx(
        {"fisher": 4 / 3, "entropy": 5 / 3}
    )


LOSSES = {DENSE: 1.0, "entropy": 3.0, "magnitude": 2.0, "random": 4.0}


def measured(folder: Path, model: str, worse: Mapping[str, float]) -> tuple[Evidence, dict[str, float]]:
    """Return a study of three candidates with these more bits per byte, and the mean bits of each."""
    folder.mkdir(exist_ok=True)
    it = Study(folder, methods=["entropy", "magnitude", "random"], ratios=[0.2], models=[model])
    rng, documents = np.random.default_rng(0), pd.DataFrame({"item": range(16)})
    bits = documents.assign(bpb=rng.normal(2, 0.3, 16))
    means: dict[str, float] = {}
    for method, loss in LOSSES.items():
        ratio, recovery = (0.0, "none") if method == DENSE else (0.2, "linear")
        own = bits.assign(bpb=bits["bpb"] + worse.get(method, 0.0) + rng.normal(0, 0.02, 16))
        means[method] = own["bpb"].mean()
        more = {"recovery": recovery, "model": model}
        it.result(method, ratio, "gold_bpb", "reading", Value("bpb", 2.0), items=own, **more)
        text = documents.assign(nll=loss + rng.normal(0, 0.1, 16))
        it.result(method, ratio, "perplexity", "wiki", Value("perplexity", 9.0), items=text, **more)
    given = it.config().model_dump(mode="json", exclude_unset=True)
    groups = {"groups": {"reading": ["boolq"]}, "documents": 16}
    given |= {"recoveries": ["linear"], "measures": given["measures"] | {"gold_bpb": groups}}
    return evidence(Config.model_validate(given), folder), means


def test_who_answers_worse_is_out_before_ranks_are_made(tmp_path: Path) -> None:
    """`magnitude` has the lowest perplexity, but more bits per byte on every document."""
    it_shows, means = measured(tmp_path, "tiny-llama", {DENSE: -1.0, "magnitude": 0.3})
    found = decided([it_shows])
    assert found.out == ["magnitude"]
    assert (
        found.compact.by_model.index.to_list()
        == found.plain.by_model.index.to_list()
        == ["entropy", "random"]
    )
    assert found.compact.taken == "entropy"
    rows = table([it_shows], {"tiny-llama": "Tiny"}).splitlines()
    first, last = ([part.strip() for part in row.strip("|").split("|")] for row in (rows[0], rows[-1]))
    assert first == ["candidate", "Tiny", "perplexity", "rank", "layer by layer"]
    assert last[:2] == ["Magnitude", f"{means['magnitude'] - means['entropy']:+.3f}*"]
    assert last[3:] == ["out", ""]
    assert float(last[2]) == pytest.approx(np.exp(-1), rel=0.1)


def test_models_of_several_studies_decide_together(tmp_path: Path) -> None:
    """Each has a candidate that answers worse, and both are out."""
    one, _ = measured(tmp_path / "one", "tiny-llama", {"magnitude": 0.3})
    other, means = measured(tmp_path / "other", "tiny-qwen2", {"random": 0.3})
    found = decided([one, other])
    assert found.out == ["magnitude", "random"] and [*found.compact.by_model] == ["tiny-llama", "tiny-qwen2"]
    rows = table([one, other], {"tiny-llama": "Llama", "tiny-qwen2": "Qwen"}).splitlines()
    by_name = {(parts := [part.strip() for part in row.strip("|").split("|")])[0]: parts for row in rows}
    assert by_name["candidate"][1:3] == ["Llama", "Qwen"]
    assert by_name["Random"][2] == f"{means['random'] - means['entropy']:+.3f}*"
    assert not by_name["Random"][1].endswith("*")


def test_studies_of_other_candidates_decide_nothing_together(tmp_path: Path) -> None:
    one, _ = measured(tmp_path / "one", "tiny-llama", {})
    with pytest.raises(HfpruneError, match="candidates: has other candidates than "):
        decided([one, Evidence(results_of("candidates"))])


def declared(table: str) -> list[Evidence]:
    """Return the results of the studies of a table, as git has them."""
    studies = load(Tables, ROOT / "findings" / TABLES).candidates[table]
    return [Evidence(results_of(study)) for study in studies]


def test_the_default_of_prune_is_what_the_rule_takes_of_the_confirmation() -> None:
    several, best = declared("confirmation"), RECIPES["best"]
    found, methods = decided(several), several[0].study.methods
    assert not found.out and found.compact.stable
    assert (found.compact.taken, found.plain.taken) == ("fisher_global", "fisher")
    compact, plain = methods["fisher_global"], methods["fisher"]
    assert (compact.criterion, compact.allocation.rule) == (best.criterion, best.allocation.rule)
    asked = Pruning.model_validate({"model": "m", "ratio": 0.2, "out": "x", "plain": True})
    recipe = chosen(asked)
    # A method without a criterion is named as its own.
    assert (plain.criterion or found.plain.taken, plain.allocation) == (recipe.criterion, recipe.allocation)


def test_what_the_page_says_of_the_candidates() -> None:
    """All but entropy are out, and Fisher's raw scores over all layers have the lowest perplexity."""
    measured = declared("candidates")
    found = decided(measured)
    assert found.compact.taken == found.plain.taken == "entropy"
    assert {*found.out} == {*measured[0].study.methods} - {"entropy"} and len(found.out) == 14
    assert found.values.T.groupby(level=0).mean().mean().idxmin() == "fisher_global"
