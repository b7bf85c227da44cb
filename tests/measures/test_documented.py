"""The measure of docs/add-a-measure.md, as it stands there."""

import re
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from conftest import build_tiny
from pyarrow import table
from smoke import TEXT, build_tokenizer

from hfprune.assets.formats import write_arrow
from hfprune.assets.resolving import resolve
from hfprune.evaluation.measured_model import Subject
from hfprune.measurement import MEASURES
from hfprune.settings import validate

DOCS = Path(__file__).parents[2] / "docs" / "add-a-measure.md"


def test_the_documented_measure_is_one_and_measures(tmp_path: Path) -> None:
    text = DOCS.read_text()
    ((path, code),) = re.findall(r"`([\w/.-]+)`[^`]*:\n\n```(?:python|toml)\n(.*?)```", text, re.DOTALL)
    module = ModuleType("guesses")
    exec(code, vars(module))  # the documentation's own code
    kind = MEASURES._checked(module, path)
    (snippet,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    settings = yaml.safe_load(snippet)["measures"]["guesses"]
    measure = validate(kind, settings | {"sequences": 4, "length": 32}, "measures.guesses")
    assert measure.assets() == ["corpora/c4-sample-heldout"]

    (tmp_path / "corpora/c4-sample-heldout").mkdir(parents=True)
    write_arrow(tmp_path / "corpora/c4-sample-heldout/corpus.arrow", table({"text": TEXT}))
    tokenizer = build_tokenizer()
    model = build_tiny("llama", vocab_size=len(tokenizer))
    subject = Subject(model, tokenizer=tokenizer, find=partial(resolve, resources=tmp_path))
    (value,), items = measure.run(subject)
    tokens = subject.blocks(measure).tokens.long()
    expected = (model(tokens).logits[:, :-1].argmax(-1) == tokens[:, 1:]).float().mean()
    assert value.value == pytest.approx(float(expected))
    assert len(items) == value.n == 4
    assert {metric.name for metric in measure.metrics()} == {value.metric}


def test_the_page_names_every_measure() -> None:
    assert {*re.findall(r"^\| `(\w+)` \|", DOCS.read_text(), re.MULTILINE)} == {*MEASURES.sources()}
