"""SLEB: removes decoder layers one after another, each the one that is missed least."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from hfprune.criteria import SearchCriterion
from hfprune.errors import HfpruneError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from hfprune.models.shape import Shape
    from hfprune.models.units import Units


class Sleb(SearchCriterion):
    """The order of removal: each step removes the layer without which perplexity is lowest (SLEB, 2402.09025).

    The score is the number of layers removed before.
    """

    kinds = ("layers",)

    def search(
        self,
        model: PreTrainedModel,
        units: Mapping[str, Units],
        batches: Sequence[Tensor],
        saved: Mapping[str, Tensor],
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the scores [layers] after each removal; a layer that is still there has infinity.

        Raises:
            HfpruneError: no loss is finite.
        """
        import torch
        from tqdm import tqdm

        depth = units["layers"].count
        scores = saved.get("layers", torch.full((depth,), torch.inf, dtype=torch.float64)).clone()
        gone = int(scores.isfinite().sum())
        steps = range(depth, depth - gone, -1)
        with tqdm(total=depth * (depth + 1) // 2 - 1, initial=sum(steps), desc="sleb", unit="trial") as bar:
            for number in range(gone, depth - 1):
                left = scores.isinf().nonzero().flatten().tolist()
                losses = torch.stack([_losses_without(model, tokens, left) for tokens in batches]).sum(0)
                if not losses.isfinite().any():
                    raise HfpruneError("sleb: no loss is finite; try another dtype")
                # In low precision a model may overflow without a layer that it needs.
                scores[left[int(losses.nan_to_num(torch.inf).argmin())]] = number
                bar.update(len(left))
                yield "layers", scores.clone()
        scores[scores.isinf()] = depth - 1
        yield "layers", scores

    def operations(self, shape: Shape, tokens: float, length: float) -> float:
        """Return those of every trial: with k layers left, k passes through the head and k (k + 1) / 2 layers."""
        depth, head = shape.layers, 2 * tokens * shape.hidden * shape.vocabulary
        layer = (shape.forward(tokens, length) - head) / depth
        return (depth * (depth + 1) * (depth + 2) / 6 - 1) * layer + (depth * (depth + 1) / 2 - 1) * head

    def memory(self, shape: Shape, tokens: float, dtype: str) -> float:
        """Return the bytes of the states before every layer."""
        from hfprune.models.shape import BYTES

        return shape.layers * tokens * shape.hidden * BYTES[dtype]


def _losses_without(model: PreTrainedModel, tokens: Tensor, left: Sequence[int]) -> Tensor:
    """Return the summed loss [left] of a model of the layers `left` without each of these layers in turn.

    Layers before the one that is tried give what they gave before, so that only those after it are computed. They
    are skipped within the model's own forward pass, since masks and positions may depend on a layer's number.
    """
    import torch

    from hfprune.models.head import hidden_states, token_losses

    states: dict[int, Tensor] = {}
    gone = [index for index in range(len(model.model.layers)) if index not in left]
    with _replaced(model, dict.fromkeys(gone, _first)), ExitStack() as stack:
        for index in left:
            hook = model.model.layers[index].register_forward_pre_hook(
                lambda _, inputs, index=index: states.update({index: inputs[0]})
            )
            stack.callback(hook.remove)
        hidden_states(model, tokens)
    losses = []
    for tried, state in states.items():
        skipped = dict.fromkeys([*gone, *range(tried)], _first)
        with _replaced(model, skipped | {tried: partial(_first, state)}):
            losses.append(token_losses(model, hidden_states(model, tokens), tokens).double().sum())
    return torch.stack(losses)


@contextmanager
def _replaced(model: PreTrainedModel, forwards: Mapping[int, Callable[..., Tensor]]) -> Iterator[None]:
    from hfprune.models.replacing import forward_replaced

    with ExitStack() as stack:
        for index, forward in forwards.items():
            stack.enter_context(forward_replaced(model.model.layers[index], forward))
        yield


def _first(state: Tensor, *_: object, **__: object) -> Tensor:
    return state
