"""Conversations: what is read is the model's own template, and what is learnt is what the assistant says."""

import pyarrow as pa
import pytest
from smoke import build_tokenizer

from hfprune.errors import HfpruneError
from hfprune.recovery.conversations import IGNORED, prompt, tokenized

ASKED = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" + ASKED
CHATML = "{% for m in messages %}{% if loop.first %}<|im_start|>system\nyes<|im_end|>\n{% endif %}" + TURN
GEMMA = (
    "<s>{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    + TURN.replace("content", "content | trim")
)
# As Qwen3, whose answers have thoughts at the end of a conversation only.
THINKING = TURN.replace("{{ m.c", "{% if loop.last and m.role == 'assistant' %}<think>{% endif %}{{ m.c")
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }} </s>"
    "{% else %}<s>[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
)
SYSTEM = {"role": "system", "content": "Be brief."}
CHAT = [
    {"role": "user", "content": "Is yes the answer: yes or no?"},
    {"role": "assistant", "content": "yes"},
    {"role": "user", "content": "é? yes"},
    {"role": "assistant", "content": " 7 houses, é\n"},
]
PAIR = {"instruction": "Add.", "input": "1, 2", "output": "3"}
AS_CHAT = [{"role": "user", "content": "Add.\n\n1, 2"}, {"role": "assistant", "content": "3"}]
TOKENIZER = build_tokenizer()
TOKENIZER.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})


def read(row: dict, template: str | None, name: str = "own") -> tuple[list[int], str]:
    """Return all tokens of a conversation, and the text of those that are learnt, which are at their places."""
    TOKENIZER.chat_template = template
    ((tokens, labels),) = tokenized(pa.Table.from_pylist([row]), [0], TOKENIZER, name)
    assert all(label in (IGNORED, token) for token, label in zip(tokens, labels, strict=True))
    return tokens, TOKENIZER.decode([label for label in labels if label != IGNORED])


@pytest.mark.parametrize(
    ("template", "chat", "row", "expected"),
    [
        (CHATML, CHAT, {"messages": CHAT}, "yes<|im_end|>\n 7 houses, é\n<|im_end|>\n"),
        (CHATML, CHAT[1:3], {"messages": CHAT[1:3]}, ""),  # nobody asked
        (CHATML, AS_CHAT, PAIR, "3<|im_end|>\n"),
        (GEMMA, CHAT, {"messages": CHAT}, "yes<|im_end|>\n7 houses, é<|im_end|>\n"),
        ("{% for m in messages %}" + THINKING, CHAT, {"messages": CHAT}, "<think> 7 houses, é\n<|im_end|>\n"),
        (LLAMA2, [SYSTEM, *CHAT], {"messages": [SYSTEM, *CHAT]}, " yes </s>  7 houses, é\n </s>"),
    ],
)
def test_tokens_are_the_template_s_and_only_answers_are_learnt(template, chat, row, expected) -> None:
    tokens, learnt = read(row, template)
    assert tokens == TOKENIZER.apply_chat_template(chat)["input_ids"] and learnt == expected


def test_alpaca_s_template_and_conversations_that_a_template_refuses() -> None:
    for template, name in ((None, "own"), (CHATML, "alpaca")):
        tokens, learnt = read({"messages": [SYSTEM, *CHAT]}, template, name)
        before = "Be brief.\n\nIs yes the answer: yes or no?\n\nyes\n\né? yes"
        assert TOKENIZER.decode(tokens) == f"<s>{prompt({'instruction': before, 'input': ''})}{learnt}"
        assert learnt == " 7 houses, é\n</s>"
    with pytest.raises(HfpruneError, match="chat template refuses a conversation: no system role"):
        read({"messages": [SYSTEM, *CHAT]}, GEMMA)
