"""Tokens of instruction pairs and conversations (`messages`), in Alpaca's template or the model's own."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypedDict

import pyarrow as pa
from jinja2 import TemplateError

from hfprune.errors import REASON, explained

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The label that transformers leaves out of the loss.
IGNORED = -100
# The Alpaca prompt, with and without further input.
PROMPT = (
    "Below is an instruction that describes a task{more}. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{instruction}\n\n{input}### Response:\n"
)
MORE = ", paired with an input that provides further context"

# Tokens and labels of a pair, of equal length.
Pair = tuple[list[int], list[int]]


class Row(TypedDict, total=False):
    """A pair, or a conversation whose `messages` have a `role` and a `content`."""

    instruction: str
    input: str
    output: str
    messages: list[dict[str, str]]


def prompt(pair: Row) -> str:
    """Return Alpaca's prompt for a pair: its `instruction` and, unless that is empty, its `input`."""
    context = f"### Input:\n{pair['input']}\n\n" if pair["input"] else ""
    return PROMPT.format(more=MORE if context else "", instruction=pair["instruction"], input=context)


def tokenized(
    pairs: pa.Table, order: list[int], tokenizer: "PreTrainedTokenizerBase", template: str
) -> Iterator[Pair]:
    """Yield the tokens of each pair or conversation, with labels for the answers and their ends.

    Raises:
        HfpruneError: the tokenizer's template refuses a conversation.
    """
    own = template == "own" and tokenizer.chat_template
    for start in range(0, len(order), 1000):
        rows = pairs.take(order[start : start + 1000]).to_pylist()
        yield from (_rendered(row, tokenizer) for row in rows) if own else _prompted(rows, tokenizer)


def _prompted(rows: list[Row], tokenizer: "PreTrainedTokenizerBase") -> Iterator[Pair]:
    """Yield pairs, EOS included, in Alpaca's template.

    The instruction of a conversation is all that precedes its last answer. As in the official script, the response
    begins after as many tokens as the prompt alone has. It is not tokenized alone, since it could then begin with
    another token: LLaMA-2's tokenizer adds a space before a text.
    """
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    for row in rows:
        if contents := [message["content"] for message in row.get("messages", ())]:
            last = max(at for at, message in enumerate(row["messages"]) if message["role"] == "assistant")
            row |= {"instruction": "\n\n".join(contents[:last]), "input": "", "output": contents[last]}
    prompts = [prompt(row) for row in rows]
    texts = [question + row["output"] for question, row in zip(prompts, rows, strict=True)]
    questions, wholes = (tokenizer(x, verbose=False)["input_ids"] for x in (prompts, texts))
    for question, whole in zip(questions, wholes, strict=True):
        tokens = whole if whole[-1:] == end else whole + end  # some tokenizers add EOS themselves
        start = len(question) - 1 if question[-1:] == end else len(question)
        start = max(1, start)
        yield tokens, [IGNORED] * min(start, len(tokens)) + tokens[start:]


def _rendered(row: Row, tokenizer: "PreTrainedTokenizerBase") -> Pair:
    """Return a conversation in the tokenizer's own template; a pair is a question and its answer.

    An answer begins where the template prompts for it. Answers that the template changes later are not learnt.
    """
    messages = row.get("messages") or [
        {"role": "user", "content": "\n\n".join(filter(None, [row["instruction"], row["input"]]))},
        {"role": "assistant", "content": row["output"]},
    ]

    def text(count: int, asking: bool = False) -> str:
        beginning = messages[:count]
        return str(tokenizer.apply_chat_template(beginning, tokenize=False, add_generation_prompt=asking))

    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant" and at]
    with explained(f"the model's chat template refuses a conversation: {REASON}", TemplateError):
        whole, parts = text(len(messages)), [(text(at, asking=True), text(at + 1)) for at in answers]
    read = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    tokens, starts = read["input_ids"], [start for start, _ in read["offset_mapping"]]
    labels = [IGNORED] * len(tokens)
    for before, after in parts:
        if whole.startswith(after) and after.startswith(before):
            answer = slice(bisect_left(starts, len(before)), bisect_left(starts, len(after)))
            labels[answer] = tokens[answer]
    return tokens, labels
