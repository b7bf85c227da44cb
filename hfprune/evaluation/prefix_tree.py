"""Packing of token sequences with common prefixes into trees, each read in one row of a forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor


@dataclass
class PrefixTree:
    """Token sequences merged over their common prefixes; each node holds one token."""

    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    paths: dict[int, list[int]] = field(default_factory=dict)
    """Sequence number → its nodes, root first."""
    _branches: list[tuple[list[int], int]] = field(default_factory=list)
    """(ancestors, number of nodes) of each run of new nodes, for the mask."""

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, number: int, sequence: Sequence[int], shared: int, stem: Sequence[int]) -> None:
        """Add a sequence whose first `shared` tokens are the first nodes of the path `stem`."""
        ancestors = list(stem[:shared])
        new = range(len(self), len(self) + len(sequence) - shared)
        self.tokens += sequence[shared:]
        self.depths += range(shared, len(sequence))
        self._branches.append((ancestors, len(new)))
        self.paths[number] = ancestors + list(new)

    def mask(self, size: int) -> Tensor:
        """Return the boolean attention mask [size, size]: a node sees its ancestors and itself.

        A padding node sees only itself, so that no row of the softmax is empty.
        """
        mask = torch.eye(size, dtype=torch.bool)
        start = 0
        for ancestors, length in self._branches:
            stop = start + length
            mask[start:stop, ancestors] = True
            mask[start:stop, start:stop] = torch.ones(length, length, dtype=torch.bool).tril_()
            start = stop
        return mask


def by_window(config: Any, mask: Tensor, depths: Tensor) -> Tensor | dict[str, Tensor]:
    """Return a mask [rows, 1, nodes, nodes] as a model takes it: by kind of layer, and within its window.

    `depths` are those of the nodes [rows, nodes].
    """
    kinds = getattr(config, "layer_types", None)
    # Architectures that read no window have none in their config's class.
    window = getattr(config, "sliding_window", None) if hasattr(type(config)(), "sliding_window") else None
    if not window:
        return mask
    near = mask & (depths[:, None, :, None] - depths[:, None, None, :] < window)
    return {kind: near if kind == "sliding_attention" else mask for kind in kinds} if kinds else near


def pack(
    sequences: Sequence[Sequence[int]], token_cost: float, pair_cost: float, limit: int
) -> list[PrefixTree]:
    """Pack sequences into trees, and merge them where this saves work.

    A row of n nodes costs `n * token_cost + n² * pair_cost`, since attention in a row computes all pairs.
    Sequences are visited in lexicographic order, in which neighbours share the longest prefixes.

    Args:
        sequences: token sequences, none empty.
        token_cost: floating-point operations per token outside attention.
        pair_cost: floating-point operations per pair of tokens in attention.
        limit: maximum number of nodes of a merged tree.

    Returns:
        Trees that together hold each sequence once, numbered as in `sequences`.
    """

    def cost(nodes: int) -> float:
        return nodes * token_cost + nodes * nodes * pair_cost

    trees: list[PrefixTree] = []
    last = -1
    for number in sorted(range(len(sequences)), key=lambda i: list(sequences[i])):
        sequence = sequences[number]
        if trees:
            tree, shared = trees[-1], _common_prefix(sequences[last], sequence)
            grown = len(tree) + len(sequence) - shared
            saves = cost(grown) <= cost(len(tree)) + cost(len(sequence))
        if trees and shared and grown <= limit and saves:
            tree.add(number, sequence, shared, tree.paths[last])
        else:
            trees.append(PrefixTree())
            trees[-1].add(number, sequence, 0, ())
        last = number
    return trees


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


# Largest share of padding in a batch. Less padding would save less than the smaller batches would cost.
PADDING = 0.1


def batches(trees: Sequence[PrefixTree], budget: int) -> list[list[PrefixTree]]:
    """Group trees of similar size, longest first; rows × longest row is at most `budget` where possible."""
    result: list[list[PrefixTree]] = []
    held = 0  # tokens in the last batch, without padding
    for tree in sorted(trees, key=len, reverse=True):
        if result:
            size = (len(result[-1]) + 1) * len(result[-1][0])
            if size <= budget and held + len(tree) >= (1 - PADDING) * size:
                result[-1].append(tree)
                held += len(tree)
                continue
        result.append([tree])
        held = len(tree)
    return result
