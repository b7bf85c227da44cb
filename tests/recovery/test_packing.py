"""Packing: what is in a sequence, what is learnt from, and that pairs of a sequence do not see each other."""

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from smoke import PAIRS, build_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hfprune.errors import HfpruneError
from hfprune.recovery.conversations import IGNORED, prompt
from hfprune.recovery.packing import Packed, hold_out, load_packed, pack, recovery_seed, save_packed
from hfprune.settings.recovery import Lora

TOKENIZER = build_tokenizer()
TABLE = pa.Table.from_pylist(PAIRS)
PLAIN = Lora(packing="plain", length=64)
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


def test_the_order_is_seeded() -> None:
    seeds = {recovery_seed(seed, pairs) for seed in range(50) for pairs in ("alpaca", "lamini")}
    assert len(seeds) == 100 and max(seeds) < 2**32
    a, b = (pack(TABLE, TOKENIZER, PLAIN, seed=3).tokens for _ in range(2))
    assert torch.equal(a, b)
    c = pack(TABLE, TOKENIZER, PLAIN, seed=4).tokens
    assert a.shape != c.shape or not torch.equal(a, c)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Lora(packing="plain", length=10**6), "48 .* fill no sequence of 1000000 .* a shorter length"),
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


@pytest.mark.parametrize("packing", ["plain", "isolated"])
def test_pairs_that_fill_a_sequence_exactly_are_in_it(packing: str) -> None:
    sizes = [len(reference(pair)[0]) for pair in SHORT[:2]]
    packed = pack(
        pa.Table.from_pylist(SHORT[:2]), TOKENIZER, Lora(packing=packing, length=sum(sizes)), seed=0
    )
    (tokens,) = packed.tokens.tolist()
    assert sorted(tokens) == sorted(token for pair in SHORT[:2] for token in reference(pair)[0])


@pytest.mark.parametrize("settings", [PLAIN, Lora(length=450)], ids=["plain", "isolated"])
def test_held_out_pairs_are_not_trained_on(settings: Lora) -> None:
    few = settings.model_copy(update={"held_out": 2})
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
