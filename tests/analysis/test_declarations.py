"""What measures declare, in the study's words, and what stands in where a study is not at hand."""

from pathlib import Path

from synthetic import Study, stream_installed

from hfprune.results.declarations import Declarations, declare
from hfprune.results.reader import Results

CORPUS = {"corpus": "c4", "sequences": 4, "length": 8}


def test_the_same_measure_twice_is_declared_under_both_names(tmp_path: Path) -> None:
    declared = declare(Study(tmp_path, more={"other": {"measure": "perplexity", **CORPUS}}).config())
    assert declared.of_kind("perplexity") == ["perplexity", "other"]
    assert declared.first("perplexity") == "perplexity"
    assert declared.kind("other") == "perplexity"
    assert [*declared.first_outcomes()] == [
        "points",
        "js_distance",
        "perplexity_ratio",
        "other.perplexity_ratio",
    ]


def test_the_papers_measures_keep_the_plain_names_of_effects(tmp_path: Path) -> None:
    study = Study(tmp_path).config()
    measures = {"stream": CORPUS} | study.model_dump()["measures"]
    with stream_installed():
        first = study.model_validate(study.model_dump() | {"measures": measures})
        assert [*declare(first).first_outcomes()] == [
            *("stream.perplexity_ratio", "points", "js_distance", "perplexity_ratio")
        ]


def test_the_study_that_is_kept_declares_the_same(tmp_path: Path) -> None:
    study = Study(tmp_path, more={"twice": {"measure": "fidelity", **CORPUS, "top_k": 3}})
    declared = Results(study.collect()).declared
    assert declared.rows == declare(study.config()).rows
    top = declared.find("twice", "top3_jaccard")
    assert (top.kind, top.metric.label, top.metric.better) == ("fidelity", "Top-3 Jaccard", "higher")
    assert top.metric.items == ("top3_jaccard",)
    assert declared.find("zeroshot", "average").metric.scale == 100
    assert declared.find("cost", "agreement").metric.better == "higher", "the suite's own"


def test_what_nothing_declares_has_its_bare_name() -> None:
    declared = Declarations(())
    assert declared.find("perplexity", "perplexity").metric.effect == "ratio", "as its class declares"
    assert declared.find("nobodys", "a_number").metric.label == "a number"
