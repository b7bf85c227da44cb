"""Against the loop of GPTQ and Wanda, on plain transformers."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch
from assets.local import fetch_local
from conftest import build_tiny
from pyarrow import parquet
from smoke import TEXT, build_tokenizer
from torch.nn.functional import cross_entropy

from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import Subject
from hfprune.measures.wikitext import Wikitext

LINES = ["", " = The mill = \n", "", f" {TEXT[3]} \n", "", " = = Wells = = \n", "", " Two wells . \n", "",
         "", " = The fort = \n", "", f" {TEXT[5]} \n", f" {TEXT[1]} \n", ""]  # fmt: skip


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    (tmp_path / "text.txt").write_text("\n".join(TEXT))
    parquet.write_table(pa.table({"text": LINES}), tmp_path / "wiki.parquet")
    for name, file, form in (("c4", "text.txt", "lines"), ("wikitext-2", "wiki.parquet", "wikitext")):
        fetch_local("corpora", name, tmp_path / file, tmp_path / "corpora" / name, format=form)
    tokenizer = build_tokenizer()
    model = build_tiny("llama", vocab_size=len(tokenizer))
    return Subject(model, tokenizer=tokenizer, resources=tmp_path)


def literature(subject: Subject, text: str, length: int, windows: int | None = None) -> list[float]:
    """Return the perplexity and the number of windows, by the loop of Wanda's lib/eval.py."""
    encoded = subject.tokenizer(text, return_tensors="pt").input_ids
    count = min(encoded.numel() // length, windows or 10**9)
    losses = []
    for i in range(count):
        inputs = encoded[:, i * length : (i + 1) * length]
        logits = subject.model(inputs).logits
        loss = cross_entropy(logits[0, :-1], inputs[0, 1:])
        losses.append(loss.float() * length)
    return [float(torch.exp(torch.stack(losses).sum() / (count * length))), count]


def test_wikitext_is_what_the_literature_computes_from_the_hubs_lines(subject: Subject) -> None:
    expected = literature(subject, "\n\n".join(LINES[:-1]), 16)
    (value,), items = Wikitext(corpus="wikitext-2", length=16, batch_tokens=40).run(subject)
    assert [value.value, value.n] == [pytest.approx(expected[0], rel=1e-5), expected[1]]
    assert items["item"].tolist() == [*range(expected[1])]
    error = items["nll"].sem() * value.value
    assert value.stderr == pytest.approx(error)


def test_each_window_of_a_gemma_begins_with_bos(subject: Subject) -> None:
    class GemmaTokenizer(type(subject.tokenizer)):
        pass

    tokenizer = subject.tokenizer
    gemma = GemmaTokenizer(tokenizer_object=tokenizer.backend_tokenizer, bos_token="<s>", eos_token="</s>")
    other = Subject(subject.model, tokenizer=gemma, resources=subject.resources)
    (value,), _ = Wikitext(corpus="c4", length=16, separator=" ", max_windows=4).run(other)
    text = " ".join(dict.fromkeys(TEXT))
    stream = tokenizer(text, add_special_tokens=False).input_ids
    losses = []
    for start in range(0, 4 * 15, 15):
        window = torch.tensor([[tokenizer.bos_token_id, *stream[start : start + 15]]])
        losses.append(cross_entropy(subject.model(window).logits[0, :-1], window[0, 1:]))
    assert value.value == pytest.approx(float(torch.stack(losses).mean().exp()), rel=1e-5)


def test_c4_with_its_separator_and_number_of_windows(subject: Subject) -> None:
    documents = list(dict.fromkeys(TEXT))
    measure = Wikitext(corpus="c4", length=32, separator=" ", max_windows=5)
    (value,), _ = measure.run(subject)
    assert [value.value, value.n] == [
        pytest.approx(literature(subject, " ".join(documents), 32, 5)[0], rel=1e-5), 5
    ]  # fmt: skip
    everything = literature(subject, "\n\n".join(documents), 32)
    (value,), _ = Wikitext(corpus="c4", length=32).run(subject)
    assert [value.value, value.n] == [pytest.approx(everything[0], rel=1e-5), everything[1]]
    assert ([*measure.by_task()], measure.assets()) == (["c4"], ["corpora/c4"])


def test_windows_that_cannot_be_say_so(subject: Subject) -> None:
    with pytest.raises(HfpruneError, match="length 2048 is beyond the model's context of 512 tokens"):
        Wikitext(corpus="c4").run(subject)
    with pytest.raises(HfpruneError, match=r"corpus 'wikitext-2' has .* tokens, no window of 500"):
        Wikitext(corpus="wikitext-2", length=500).run(subject)
