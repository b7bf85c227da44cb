"""The subject of a measure: a model, its dense model for comparison, and the text to read."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hfprune.errors import HfpruneError
from hfprune.evaluation.outputs import Outputs, key_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hfprune.assets.text import Text
    from hfprune.criteria import Criterion
    from hfprune.evaluation.lm import PrefixTreeLM
    from hfprune.models.head import LastStates
    from hfprune.plans.mask import Mask
    from hfprune.plans.planning import Plan

    Loaded = PreTrainedModel | Callable[[], PreTrainedModel]


class DrawnBlocks(NamedTuple):
    """Blocks of tokens, and the documents in which they start."""

    tokens: "Tensor"
    """int32 [blocks, length]."""
    documents: list[int]
    """The document in which each block starts."""


class ToScore(NamedTuple):
    """The arguments of a scoring, for measures of scoring."""

    criterion: "Criterion"
    blocks: "Tensor | None"
    """Calibration blocks [sequences, length]; None for weight criteria."""
    units: list[str]
    """The kinds of unit."""
    seed: int


class Subject:
    """The subject of a measure. Models are loaded on first use, and then kept.

    `dense_output`, the resampled plans and `model`, used in this order, need the memory of one model: the dense
    model gives its own output and those of the resampled plans, and is then changed in place into `model`.
    Measures that `read` the same text share the passes of each model.
    """

    scoring: ToScore | None = None
    """How the model is scored, for measures of scoring."""

    def __init__(
        self,
        model: "Loaded | None",
        dense: "Loaded | None" = None,
        *,
        change: "Callable[[PreTrainedModel], PreTrainedModel] | None" = None,
        tokenizer: "PreTrainedTokenizerBase | Callable[[], PreTrainedTokenizerBase] | None" = None,
        find: Callable[[str, str], Path] | None = None,
        resampled: "Sequence[Plan]" = (),
        beside: "Subject | None" = None,
    ) -> None:
        """Describe a subject.

        Args:
            model: the model to measure, or a function that loads it; None if `change` makes it.
            dense: the dense model that it was pruned from, or a function that loads it; None for the dense model.
            change: turns the dense model into the model to measure, in place.
            tokenizer: the tokenizer of both models, or a function that loads it.
            find: returns the folder of an asset by its kind and name, as `hfprune.assets.resolving.resolve` does;
                by default, names are folders.
            resampled: plans that other draws of the calibration might have given instead of the model's.
            beside: another subject with the same dense model; both share its outputs and the tokenizer.
        """
        self._model, self._dense, self._change = model, dense, change
        self._tokenizer = (lambda: beside.tokenizer) if beside else tokenizer
        self._find, self.resampled = find, resampled
        self._mask: Mask | None = None
        # The dense model until it becomes the measured one; never handed out, since it changes.
        self._before: PreTrainedModel | None = None
        self._dense_outputs: Outputs = beside._dense_outputs if beside else Outputs()
        self._outputs = self._dense_outputs if dense is None else Outputs()
        self._lms: dict[str, PrefixTreeLM] = {}
        self._warnings: set[str] = beside._warnings if beside else set()

    @cached_property
    def model(self) -> "PreTrainedModel":
        """The model to measure; if `change` makes it from the dense model, it takes over the memory."""
        if self._change:
            before, self._before = self._before, None
            return self._change(_loaded(self._dense) if before is None else before)
        self._before = None  # frees memory for the other model
        return _loaded(self._model)

    @property
    def has_dense(self) -> bool:
        """Whether there is a dense model beside the measured one."""
        return self._dense is not None

    @cached_property
    def dense(self) -> "PreTrainedModel":
        """The dense model, for comparison at the same time; `dense_output` takes less memory."""
        if self._dense is None:
            raise HfpruneError(
                "nothing to compare with the dense model: give a plan, a checkpoint or an adapter"
            )
        return _loaded(self._dense)

    def release(self) -> None:
        """Release the models, which are loaded again when needed, and all outputs made with them."""
        for name in ("model", "dense"):
            self.__dict__.pop(name, None)
        self._before = None
        self._lms.clear()
        if self.has_dense:
            self._outputs = Outputs()
        if self._change:  # the head belongs to the dense model, which is loaded anew for the next subject
            self._dense_outputs.head = None

    def _unchanged(self) -> "PreTrainedModel":
        """Return the dense model; one loaded here has no other owner."""
        if "dense" in self.__dict__ or self._dense is None or hasattr(self._dense, "config"):
            return self.dense
        if self._before is None:
            self.__dict__.pop("model", None)  # loaded again when needed, so that one model is in memory
            self._before = _loaded(self._dense)
        return self._before

    def variants(self) -> "Iterator[Subject | None]":
        """Yield a subject for each resampled plan, as a mask on the dense model.

        None stands for a plan that equals the one before, as for criteria that read no text. Use this before
        `model`, so that the dense model is loaded once.
        """
        from hfprune.plans.mask import masked
        from hfprune.plans.planning import same_plan

        for before, plan in zip([None, *self.resampled], self.resampled, strict=False):
            if before and same_plan(before, plan):
                yield None
                continue
            dense = self._unchanged()
            with masked(dense, plan) as mask:
                other = copy(self)  # shares the dense model's outputs
                other.model, other._mask, other._outputs = dense, mask, Outputs()
                yield other

    def read(self, tokens: "Tensor", batch: int) -> "Iterator[tuple[Tensor, Tensor]]":
        """Yield `batch` blocks at a time with their last hidden states [batch, length, width].

        Both are on the devices of `hidden_states`. Measures share the passes over a text in the same batches, as
        long as the states of all texts fit into `KEPT`; shared states are the same to the bit.
        """
        return self._outputs.read(self.model, tokens, batch)

    def dense_output(self, tokens: "Tensor", batch: int) -> "LastStates":
        """Return the dense model's output for blocks of tokens, computed once for the resampled plans, too.

        Use this before `model`, so that the dense model is loaded once. A forward pass takes `batch` blocks.
        """
        from hfprune.models.head import Head, LastStates, last_states

        key, outputs = key_of(tokens, batch), self._dense_outputs
        if key not in outputs.states or not outputs.head:
            with self._mask.off() if self._mask else nullcontext():
                dense = self._unchanged()
                if key not in outputs.states:
                    outputs.states[key] = last_states(dense, tokens, batch)
                outputs.head = outputs.head or Head.taken_from(dense)
        return LastStates(outputs.states[key], outputs.head)

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer of both models; an `HfpruneError` if the subject was given none."""
        if self._tokenizer is None:
            raise HfpruneError("this measure reads text: give the subject a tokenizer")
        loaded = hasattr(self._tokenizer, "vocab_size")
        return self._tokenizer if loaded else self._tokenizer()  # type: ignore[return-value,operator]

    def lm(self, **options: Any) -> "PrefixTreeLM":
        """Return the model wrapped for lm-eval, once for all tasks with the same options."""
        from hfprune.evaluation.lm import PrefixTreeLM

        key = str(options)
        if key not in self._lms:
            # lm-eval loads a tokenizer's folder itself, since it can set `add_bos_token` only while it loads.
            tokenizer = self.tokenizer.name_or_path or self.tokenizer
            self._lms[key] = PrefixTreeLM(self.model, tokenizer=tokenizer, **options)
        return self._lms[key]

    def asset(self, kind: str, name: str) -> Path:
        """Return the folder of an asset, however it is spelt.

        Raises:
            HfpruneError: there is no such asset, or it cannot be fetched.
        """
        return self._find(kind, name) if self._find else Path(name)

    def blocks(self, text: "Text") -> DrawnBlocks:
        """Draw the blocks that a text measure reads, the same for every cell and draw (seed 0).

        Raises:
            HfpruneError: the corpus is missing or empty, or has no document that is long enough.
        """
        from hfprune.assets.corpora import read_corpus
        from hfprune.calibration.blocks import sample_blocks, too_few

        folder = self.asset("corpora", text.corpus)
        blocks = sample_blocks(
            read_corpus(folder),
            self.tokenizer,
            **text.model_dump(include={"sequences", "length", "sampling"}),
            seed=0,
            corpus=folder.name,
            place="measurement",
        )
        drawn = DrawnBlocks(*blocks)
        line = too_few(folder.name, len(drawn.tokens), text.sequences, text.sampling)
        if line and line not in self._warnings:  # once for all measures and models
            self._warnings.add(line)
            print(line, file=sys.stderr)
        return drawn


def _loaded(given: "Loaded | None") -> "PreTrainedModel":
    return given if hasattr(given, "config") else given()  # type: ignore[return-value,operator,misc]


def batch_size(batch_tokens: int | None, length: int) -> int:
    """Return the number of sequences of `length` tokens in a batch, at least one."""
    from hfprune.models.load import default_batch_tokens

    return max(1, (batch_tokens or default_batch_tokens()) // length)


def block_means(
    subject: Subject,
    blocks: "Tensor",
    batch_tokens: int | None,
    values: "Callable[[PreTrainedModel, Tensor, Tensor], Tensor]",
) -> list[float]:
    """Return the mean of `values` over each block's tokens, in float64.

    Args:
        subject: its model reads the blocks.
        blocks: tokens [blocks, length].
        batch_tokens: tokens of one forward pass.
        values: function of the model, its last hidden states [batch, length, width] (for `logits` and `chunks` of
            `hfprune.models.head`) and tokens [batch, length] that returns values [batch, any number].
    """
    import torch
    from tqdm import tqdm

    model, means = subject.model, list[float]()  # loaded outside of inference mode
    with torch.inference_mode(), tqdm(total=len(blocks), desc="reading", unit="block") as bar:
        for batch, hidden in subject.read(blocks, batch_size(batch_tokens, blocks.shape[1])):
            means += values(model, hidden, batch).double().mean(1).tolist()
            bar.update(len(batch))
    return means
