"""Packing: what is in a sequence, what is learnt from, and that pairs of a sequence do not see each other."""

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from conftest import build_tiny
from smoke import PAIRS, build_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from hfprune.errors import HfpruneError
from hfprune.recoveries import Lora
from hfprune.recovery.conversations import IGNORED, prompt
from hfprune.recovery.packing import Packed, hold_out, load_packed, pack, save_packed

TOKENIZER = build_tokenizer()
TABLE = pa.Table.from_pylist(PAIRS)
PLAIN = Lora(packing="plain", length=64, examples=8)
# Of different lengths; some share a sequence of 500 tokens.
SHORT = [
    {"instruction": f"How many {'very ' * n}old wells?", "input": "", "output": f"{n} wells{'!' * (3 * n)}"}
    for n in range(12)
]
ISOLATED = Lora(length=500)


def pairs_of(packed: Packed) -> list[list[tuple[list[int], list[int]]]]:
    """Return the tokens and labels of each pair of each sequence, told apart by where positions restart."""
    found = []
    for tokens, labels, positions in zip(packed.tokens, packed.labels, packed.positions, strict=True):
        starts = [*(positions == 0).nonzero().flatten().tolist(), len(positions)]
        spans = [slice(*span) for span in pairwise(starts)]
        found.append([(tokens[s].tolist(), labels[s].tolist()) for s in spans if s.stop - s.start > 1])
    return found


def reference(pair: dict[str, str], length: int = 10**6) -> tuple[list[int], list[int]]:
    question = [TOKENIZER.bos_token_id, *TOKENIZER.encode(prompt(pair), add_special_tokens=False)]
    answer = [*TOKENIZER.encode(pair["output"], add_special_tokens=False), TOKENIZER.eos_token_id]
    return (question + answer)[:length], ([IGNORED] * len(question) + answer)[:length]


def test_prompt_is_the_one_of_alpaca() -> None:
    assert prompt({"instruction": "Add.", "input": "1, 2"}) == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd.\n\n### Input:\n1, 2\n\n### Response:\n"
    )
    assert prompt({"instruction": "Say {x}.", "input": ""}) == (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nSay {x}.\n\n### Response:\n"
    )


class GemmaTokenizer(PreTrainedTokenizerFast):
    """Such a model reads text badly without BOS, which takes the place of one token of the joined pairs."""


GEMMA = GemmaTokenizer(tokenizer_object=TOKENIZER.backend_tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("tokenizer", [TOKENIZER, GEMMA], ids=["llama", "gemma"])
def test_plain_packing_joins_and_cuts_and_learns_responses_and_their_ends_only(tokenizer) -> None:
    pairs = [{"instruction": "Who?", "input": "", "output": "The fort. " * 9},
             {"instruction": "When?", "input": "In 1811.", "output": "1811"}]  # fmt: skip
    found = pack(pa.Table.from_pylist(pairs), tokenizer, Lora(packing="plain", length=10), seed=0)
    expected = []
    of_gemma = tokenizer is GEMMA
    for order in (pairs, pairs[::-1]):  # whichever the seed gives; those of a Gemma without their own BOS
        parts = [reference(pair) for pair in order]
        tokens, labels = ([x for part in parts for x in part[i][of_gemma:]] for i in (0, 1))
        starts = range(0, len(tokens) - 9 + of_gemma, 10 - of_gemma)
        first = [(tokenizer.bos_token_id, IGNORED)] * of_gemma
        cut = [first + [*zip(tokens, labels, strict=True)][at : at + 10 - of_gemma] for at in starts]
        expected.append([row for row in cut if any(label != IGNORED for _, label in row[1:])])
    rows = zip(found.tokens.tolist(), found.labels.tolist(), strict=True)
    assert [[*zip(*row, strict=True)] for row in rows] in expected and len(found.tokens) > 2
    assert found.positions.tolist() == [[*range(10)]] * len(found.tokens)


def test_order_is_seeded_and_examples_are_drawn() -> None:
    a, b = (pack(TABLE, TOKENIZER, PLAIN, seed=3).tokens for _ in range(2))
    assert torch.equal(a, b)
    c = pack(TABLE, TOKENIZER, PLAIN, seed=4).tokens
    assert a.shape != c.shape or not torch.equal(a, c)
    whole = pack(TABLE, TOKENIZER, PLAIN.model_copy(update={"examples": None}), seed=3).tokens
    assert len(whole) > 3 * len(a)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Lora(packing="plain", length=5000, examples=1), "1 .* fill no sequence of 5000 .* a shorter length"),
        (Lora(length=64), "48 instruction pairs fill no sequence of 64 .* a longer length"),
    ],
)
def test_pairs_that_fill_no_sequence_are_refused(settings: Lora, message: str) -> None:
    with pytest.raises(HfpruneError, match=message):
        pack(TABLE, TOKENIZER, settings, seed=3)


def test_isolated_packing_loses_no_pair_and_splits_none() -> None:
    packed = pack(pa.Table.from_pylist(SHORT), TOKENIZER, ISOLATED, seed=3)
    found = pairs_of(packed)
    assert sorted(pair for sequence in found for pair in sequence) == sorted(map(reference, SHORT))
    assert max(map(len, found)) > 1
    sizes = [sum(len(tokens) for tokens, _ in sequence) for sequence in found]
    for size, following in zip(sizes[:-1], found[1:], strict=True):
        assert size + len(following[0][0]) > 500  # a sequence is closed only by a pair that does not fit
    for row, size in enumerate(sizes):
        assert (packed.labels[row, size:] == IGNORED).all()
        assert (packed.positions[row, size:] == 0).all()


def test_both_packings_take_the_same_pairs_in_the_same_order() -> None:
    table = pa.Table.from_pylist(SHORT)
    found = [pair for sequence in pairs_of(pack(table, TOKENIZER, ISOLATED, seed=3)) for pair in sequence]
    length = sum(len(tokens) for tokens, _ in found)
    plain = pack(table, TOKENIZER, Lora(packing="plain", length=length), seed=3)
    assert plain.tokens.tolist() == [[token for tokens, _ in found for token in tokens]]
    assert plain.labels.tolist() == [[label for _, labels in found for label in labels]]
    filled = pack(table, TOKENIZER, Lora(length=length), seed=3)  # to the last token, without padding
    assert torch.equal(filled.tokens, plain.tokens)
    assert torch.equal(filled.labels, plain.labels)
    assert pairs_of(filled) == [found]


@pytest.mark.parametrize("settings", [PLAIN, Lora(length=450)], ids=["plain", "isolated"])
def test_held_out_pairs_are_not_trained_on_and_no_budget_or_seed_changes_them(settings: Lora) -> None:
    few = settings.model_copy(update={"held_out": 2, "examples": None})
    held_out, rest = hold_out(TABLE, TOKENIZER, few)
    assert len(held_out.tokens) == 2
    kept = rest.to_pylist()
    aside = [pair for pair in PAIRS if pair not in kept]
    assert 0 < len(aside) <= 4 and len(aside) + len(kept) == len(PAIRS)
    measured = TOKENIZER.decode(held_out.tokens.flatten())
    assert any(pair["input"][:16] in measured for pair in aside)
    assert not any(pair["input"][:16] in measured for pair in kept)
    learnt = TOKENIZER.decode(pack(rest, TOKENIZER, few, seed=1).tokens.flatten())
    assert any(pair["input"][:16] in learnt for pair in kept)
    assert not any(pair["input"][:16] in learnt for pair in aside)
    for changes in ({"examples": 5}, {"batch": 7}, {"max_steps": 9}):
        again, others = hold_out(TABLE, TOKENIZER, few.model_copy(update=changes))
        assert torch.equal(again.tokens, held_out.tokens) and others.equals(rest)


def test_at_most_a_tenth_of_the_pairs_is_held_out_and_none_if_so_wished() -> None:
    settings = Lora(packing="plain", length=64)
    held_out, rest = hold_out(TABLE, TOKENIZER, settings)
    assert len(rest) == len(TABLE) - len(TABLE) // 10 and 0 < len(held_out.tokens) < 64
    none, everything = hold_out(TABLE, TOKENIZER, settings.model_copy(update={"held_out": 0}))
    assert none.tokens.shape == (0, 64) and everything.equals(TABLE)
    tiny, rest = hold_out(TABLE[:9], TOKENIZER, Lora())
    assert (len(tiny.tokens), len(rest)) == (0, 9)


def test_sequences_come_back_from_a_file(tmp_path: Path) -> None:
    held_out, rest = hold_out(TABLE, TOKENIZER, PLAIN)
    saved = pack(rest, TOKENIZER, PLAIN, seed=3), held_out
    save_packed(tmp_path / "pairs.safetensors", *saved, {"of": "this"})
    *found, made = load_packed(tmp_path / "pairs.safetensors")
    assert made == {"of": "this"}
    for one, other in zip(saved, found, strict=True):
        assert all(torch.equal(part, vars(other)[name]) for name, part in vars(one).items())
    assert not torch.equal(found[0].tokens[: len(held_out.tokens)], held_out.tokens)


def test_a_response_is_tokenized_after_its_prompt() -> None:
    """As LLaMA-2's tokenizer does, this one puts a space before a text, which is not before a response."""
    letters = sorted({*str(SHORT), *prompt(SHORT[0]), "▁"})
    vocabulary = {letter: n for n, letter in enumerate(["<s>", "</s>", *letters])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<s>"))
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="first", split=False), pre_tokenizers.Split("", "isolated")]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
    packed = pack(pa.Table.from_pylist(SHORT[2:3]), tokenizer, ISOLATED, seed=0)
    learnt = packed.labels[packed.labels != IGNORED].tolist()
    assert tokenizer.convert_ids_to_tokens(learnt) == [*"2▁wells!!!!!!", "</s>"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("2 wells")["input_ids"])[0] == "▁"


@torch.no_grad()
def read(model: PreTrainedModel, packed: Packed) -> torch.Tensor:
    return model(packed.tokens.long(), position_ids=packed.positions.long(), use_cache=False).logits


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_logits_of_a_pair_in_a_sequence_are_those_of_the_pair_alone(architecture: str) -> None:
    """In bfloat16, whose rounding is coarse, they see no changes of the pairs before them: bit for bit."""
    model = build_tiny(architecture, vocab_size=len(TOKENIZER))
    packed = pack(pa.Table.from_pylist(SHORT), TOKENIZER, ISOLATED, seed=3)
    joined = torch.arange(500).expand(len(packed.tokens), -1)
    logits, plain = read(model, packed), read(model, Packed(packed.tokens, packed.labels, joined))
    changed, second = packed.tokens.clone(), 0
    for row, sequence in enumerate(pairs_of(packed)):
        start = 0
        for tokens, _ in sequence:
            here = slice(start, start + len(tokens))
            with torch.no_grad():
                alone = model(torch.tensor([tokens])).logits[0]
            torch.testing.assert_close(logits[row, here], alone, rtol=0, atol=1e-5)
            if start:
                second += 1
                assert (plain[row, here] - alone).abs().max() > 0.1  # else this test shows nothing
            start += len(tokens)
        changed[row, : len(sequence[0][0])] = 5
    assert second > 3
    model.to(torch.bfloat16)
    before, after = read(model, packed), read(model, Packed(changed, packed.labels, packed.positions))
    for row, sequence in enumerate(pairs_of(packed)):
        end = len(sequence[0][0])
        assert torch.equal(before[row, end:], after[row, end:])
        assert not torch.equal(before[row, 1:end], after[row, 1:end])
