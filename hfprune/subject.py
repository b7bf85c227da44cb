"""The subject of a measure: a model, its dense model for comparison, and the text to read."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hfprune.errors import HfpruneError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from hfprune.criteria import Criterion
    from hfprune.plans.mask import Mask
    from hfprune.plans.plan import Plan
    from hfprune.study.text import Text

    Loaded = PreTrainedModel | Callable[[], PreTrainedModel]

KEPT_BYTES = 2**31


class Blocks(NamedTuple):
    """Blocks of tokens that a measure reads."""

    tokens: "Tensor"
    """int32 [blocks, length]."""
    documents: list[int]
    """The document in which each block starts."""


class ToScore(NamedTuple):
    """The settings of scoring, for measures of scoring itself."""

    criterion: "Criterion"
    blocks: "Tensor | None"
    """Calibration blocks [sequences, length]; none for weight criteria."""
    units: list[str]
    """The kinds of unit."""
    seed: int


class Subject:
    """The subject of a measure. Models are loaded on first use, and then kept."""

    def __init__(
        self,
        model: "Loaded",
        dense: "Loaded | None" = None,
        *,
        tokenizer: "PreTrainedTokenizerBase | Callable[[], PreTrainedTokenizerBase] | None" = None,
        resources: Path = Path("resources"),
        scoring: "ToScore | None" = None,
        state: Path | None = None,
        identity: str = "",
        resampled: "Sequence[Plan]" = (),
    ) -> None:
        """Describe a subject.

        Args:
            model: the model to measure, or a function that loads it.
            dense: the dense model that `model` was pruned from, or a function that loads it; none for the
                dense model itself.
            tokenizer: the tokenizer of both, or a function that loads it.
            resources: folder of the fetched assets.
            scoring: how the model is scored, for measures of scoring.
            state: folder where a long measurement may save its state, to resume after a kill.
            identity: a hash of all inputs of the measurement; a state of another identity is not used.
            resampled: plans that other draws of the calibration might have given, in place of `model`'s.
        """
        self._model, self._dense, self._tokenizer = model, dense, tokenizer
        self.resources = resources
        self.scoring = scoring
        self.state, self.identity = state, identity
        self.resampled = resampled
        self._mask: Mask | None = None
        self._dense_states: dict[bytes, Tensor] = {}
        self._made: dict[str, Any] = {}

    @cached_property
    def model(self) -> "PreTrainedModel":
        """The model that is measured."""
        return self._model if hasattr(self._model, "config") else self._model()  # type: ignore[return-value,operator]

    @property
    def has_dense(self) -> bool:
        """Whether there is a dense model beside the measured one."""
        return self._dense is not None

    @cached_property
    def dense(self) -> "PreTrainedModel":
        """The dense model, for comparison."""
        if self._dense is None:
            raise HfpruneError(
                "nothing to compare with the dense model: give a plan, a checkpoint or an adapter"
            )
        return self._dense if hasattr(self._dense, "config") else self._dense()  # type: ignore[return-value,operator]

    def variants(self) -> "Iterator[Subject]":
        """Yield the subject, then one for each resampled plan, as a mask on the dense model."""
        yield self
        if not self.resampled:
            return
        from hfprune.plans.mask import masked

        self.__dict__.pop("model", None)  # its memory is for the dense model
        for plan in self.resampled:
            with masked(self.dense, plan) as mask:
                other = copy(self)  # what was kept is kept for all
                other.model, other._mask = self.dense, mask
                yield other

    def dense_states(self, tokens: "Tensor") -> "Tensor":
        """Return the dense model's last hidden states [sequences, length, width].

        They are kept in memory for the resampled plans, up to `KEPT_BYTES`.
        """
        from hfprune.models.head import hidden_states

        key = tokens.cpu().numpy().tobytes()
        if key in self._dense_states:
            return self._dense_states[key].to(tokens.device)
        with self._mask.off() if self._mask else nullcontext():
            found = hidden_states(self.dense, tokens)
        size = sum(kept.nbytes for kept in self._dense_states.values())
        if self.resampled and size + found.nbytes < KEPT_BYTES:
            self._dense_states[key] = found.cpu()
        return found

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The tokenizer."""
        if self._tokenizer is None:
            raise HfpruneError("this measure reads text: give the subject a tokenizer")
        loaded = hasattr(self._tokenizer, "vocab_size")
        return self._tokenizer if loaded else self._tokenizer()  # type: ignore[return-value,operator]

    @property
    def own_tokenizer(self) -> "PreTrainedTokenizerBase | str":
        """The folder of the tokenizer, or the tokenizer itself where it was made in memory.

        lm-eval loads the folder itself, since it can set `add_bos_token` only while it loads.
        """
        return self.tokenizer.name_or_path or self.tokenizer

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Call `make` once for this name and return its result each time, to share it among tasks."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def asset(self, kind: str, name: str) -> Path:
        """Return the folder of an asset, however it is spelt; see `hfprune.assets.resolving`.

        Raises:
            HfpruneError: there is no such asset, or it cannot be fetched.
        """
        from hfprune.assets import resolve

        return resolve(kind, name, self.resources)

    def blocks(self, text: "Text") -> Blocks:
        """Draw the blocks that a text measure reads, the same for every cell (seed 0 whatever the study's).

        Raises:
            HfpruneError: the corpus is missing or empty, or has no document that is long enough.
        """
        from hfprune.assets import read_corpus
        from hfprune.blocks import sample_blocks

        folder = self.asset("corpora", text.corpus)
        return Blocks(
            *sample_blocks(
                read_corpus(folder),
                self.tokenizer,
                sequences=text.sequences,
                length=text.length,
                sampling=text.sampling,
                seed=0,
                corpus=folder.name,
                place="measurement",
            )
        )


def batch_size(batch_tokens: int | None, length: int) -> int:
    """Return the number of sequences of `length` tokens in a batch, at least one."""
    from hfprune.models.load import default_batch_tokens

    return max(1, (batch_tokens or default_batch_tokens()) // length)
