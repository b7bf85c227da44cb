"""Bits per byte of gold answers: a continuous measure of how well a model predicts the right answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self

from pydantic import BeforeValidator, Field, PositiveInt

from hfprune.assets.text_sizes import tokens_of
from hfprune.cells import Value
from hfprune.errors import HfpruneError
from hfprune.evaluation.measured_model import Subject
from hfprune.measurement import BatchTokens, Measure, Metric, Outcome
from hfprune.seeds import derive_seed
from hfprune.settings import Name

if TYPE_CHECKING:
    import pandas as pd

    from hfprune.evaluation.lm import PrefixTreeLM

# Capabilities, each with the requests that tell of it: all that the catalogue has.
GROUPS = {
    "knowledge": ["naturalqs_open", "jeopardy"],
    "reading": ["squad", "coqa", "drop", "boolq"],
    "mathematics": ["gsm8k", "minerva_math_500"],
    "code": ["codex_humaneval", "codex_mbpp"],
    "code_translated": [
        *("mt_mbpp_cpp", "mt_mbpp_go", "mt_mbpp_java"),
        *("mt_mbpp_javascript", "mt_mbpp_python", "mt_mbpp_rust"),
    ],
    "language": ["lambada", "hellaswag"],
    "science": ["arc_easy", "arc_challenge", "openbookqa", "sciq"],
    "common_sense": ["csqa", "piqa", "socialiqa", "winogrande"],
}

# And one source or few of each, for studies of minutes and for `hfprune prune`.
SHORT = {
    "knowledge": ["naturalqs_open", "jeopardy"],
    "reading": ["boolq"],
    "mathematics": ["gsm8k"],
    "code": ["codex_humaneval"],
    "language": ["lambada"],
    "science": ["arc_easy", "arc_challenge", "openbookqa"],
    "common_sense": ["csqa", "piqa", "socialiqa", "winogrande"],
}


def _named(groups: Any) -> Any:
    """Read `all` and `short` as the groups of that name."""
    return {"all": GROUPS, "short": SHORT}.get(groups, groups) if isinstance(groups, str) else groups


class GoldBpb(Measure):
    """-Σ log2 p(gold answer | prompt) / bytes of the gold answer, the mean over documents, by group of tasks.

    The formula is OLMES' (`bits_per_byte_corr`; `bpb_v2` in ai2-olmo-eval): the sum of log-probabilities over
    the answer's tokens, divided by its length in UTF-8 with the space before it, as in lm-eval's
    `bits_per_byte`; a line end after a prompt is read with the answer and its byte not counted. Prompts and
    answers are OLMES' own; they are tokenized as in lm-eval, which reads prompt
    and answer as one text. All tasks of a group have the same number of documents, so the mean over documents
    is also the mean over tasks, as in OLMES' averages. Documents are a seeded sample, the same for every
    method. Documents longer than `max_tokens` or the model's context are left out, not cut; `left_out` is
    their share of the drawn documents, reported if it is not zero.

    One item per document: `document` (task and number in the dump), `source`, `bpb`, and `bytes` of the
    answer. The standard error is over documents, stratified by task.
    """

    per_task = True
    version = 2
    capability = "Probability of right answers"

    groups: Annotated[dict[Name, Annotated[list[str], Field(min_length=1)]], BeforeValidator(_named)] = Field(
        default=GROUPS,
        min_length=1,
        description="requests of the catalogue, by name of the group; `all`, or `short` with few of each",
    )
    documents: PositiveInt = Field(
        default=100, description="documents of each task; fewer if a task of the group has fewer"
    )
    max_tokens: PositiveInt | None = Field(
        default=None, description="leave out longer documents; null: the limit is the model's context"
    )
    batch_tokens: BatchTokens = None
    add_bos: bool = Field(default=True, description="prepend BOS, as OLMES does")

    def metrics(self) -> list[Metric]:
        """Return bits per byte, and the share of documents that are too long."""
        bpb = Metric(
            "bpb",
            "Bits per byte",
            "bits/byte",
            better="lower",
            items=("bpb",),
            words=("needs the fewest bits for right answers", "better", "worse"),
            explained="Bits per byte: how many bits it takes to predict the right answers; lower is better.",
        )
        return [
            bpb,
            Metric("left_out", "Documents too long", "%", shown="{:.1f}", scale=100),
        ]

    def by_task(self) -> dict[str, Self]:
        """Return the groups one by one."""
        return {
            name: self.model_copy(update={"groups": {name: group}}) for name, group in self.groups.items()
        }

    def assets(self) -> list[str]:
        """Return the requests of every group."""
        return list(dict.fromkeys(f"requests/{source}" for group in self.groups.values() for source in group))

    def tokens(self) -> float:
        """Return the tokens of the drawn documents of all groups."""
        return tokens_of((source for group in self.groups.values() for source in group), self.documents)

    def run(self, subject: Subject) -> Outcome:
        """Read the answers of one group; the model is prepared once for all of them.

        Raises:
            HfpruneError: requests are not fetched, or all documents in a task are too long.
        """
        from math import log

        import pandas as pd

        lm = subject.lm(
            batch_tokens=self.batch_tokens,
            add_bos_token=self.add_bos,
            softmax_dtype="float32",  # bfloat16 would keep three digits of each log-probability
        )
        (sources,) = self.groups.values()
        drawn, left_out = zip(*(self._draw(subject, source, lm) for source in sources), strict=True)
        count = min(map(len, drawn))
        requests = [request for of_task in drawn for request in of_task[:count]]
        answers = lm._loglikelihood_tokens(
            [(request.texts, request.context, request.answer) for request in requests]
        )
        items = pd.DataFrame(requests)[["document", "source"]]
        items.insert(0, "item", range(len(items)))
        items["bytes"] = [len(request.texts[1].encode()) for request in requests]
        items["bpb"] = [-nats / log(2) for nats, _ in answers] / items["bytes"]
        values = [Value("bpb", float(items["bpb"].mean()), _stderr(items), len(items))]
        if sum(left_out):
            seen = sum(left_out) + sum(map(len, drawn))
            values.append(Value("left_out", sum(left_out) / seen, n=seen))
        return Outcome(values, items)

    def _draw(self, subject: Subject, source: str, lm: PrefixTreeLM) -> tuple[list[_Request], int]:
        """Draw documents of one task in a seeded order; return those that fit, and the number of the others."""
        import random

        from hfprune.assets.requests import read_requests

        folder = subject.asset("requests", source)
        table = read_requests(folder)
        generator = random.Random(derive_seed(0, "gold_bpb", folder.name))
        limit = min(self.max_tokens or lm.max_length, lm.max_length)
        requests: list[_Request] = []
        left_out = 0
        for index in generator.sample(range(table.num_rows), table.num_rows):
            if len(requests) == self.documents:
                break
            (row,) = table.slice(index, 1).to_pylist()
            texts = (row["context"], row["continuation"])
            context, answer = (
                lm._encode_pair(*texts)
                if texts[0]
                else ([lm.prefix_token_id], lm.tok_encode(texts[1], add_special_tokens=False))
            )
            if answer and len(context) + len(answer) <= limit:
                document = f"{folder.name}/{row['document']}"
                requests.append(_Request(folder.name, document, texts, context, answer))
            else:
                left_out += 1
        if not requests:
            raise HfpruneError(
                f"requests {folder.name!r}: all {table.num_rows} documents have more than {limit} tokens; "
                "raise max_tokens or leave them out of the groups"
            )
        return requests, left_out


class _Request(NamedTuple):
    source: str
    document: str
    texts: tuple[str, str]
    context: list[int]
    answer: list[int]


def _stderr(items: pd.DataFrame) -> float | None:
    """Return the standard error of the mean over independently drawn tasks; None if one has one document."""
    errors = items.groupby("source")["bpb"].sem()
    return None if errors.isna().any() else float((errors**2).sum() ** 0.5 / len(errors))
