"""Packing of token sequences with common prefixes into trees, each read in one row of a forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import Any, NamedTuple

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


def window_of(config: Any) -> int | None:
    """Return the most tokens that layers with a sliding window see; None if all layers see everything."""
    # Only configs whose class has a window belong to architectures that read it.
    return getattr(config, "sliding_window", None) if hasattr(type(config)(), "sliding_window") else None


def by_window(config: Any, mask: Tensor, depths: Tensor, read: int = 0) -> Tensor | dict[str, Tensor]:
    """Return a mask [rows, 1, nodes, read + nodes] as a model takes it: by kind of layer, and within its window.

    `mask` [rows, 1, nodes, nodes] and `depths` [rows, nodes] are of the nodes; `read` tokens before them are in
    the cache.
    """
    seen = torch.arange(read, device=depths.device).expand(len(depths), read)
    mask, keys = torch.nn.functional.pad(mask, (read, 0), value=True), torch.cat([seen, depths], 1)
    kinds, window = getattr(config, "layer_types", None), window_of(config)
    if not window:
        return mask
    near = mask & (depths[:, None, :, None] - keys[:, None, None, :] < window)
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
            tree, shared = trees[-1], common_prefix(sequences[last], sequence)
            grown = len(tree) + len(sequence) - shared
            saves = cost(grown) <= cost(len(tree)) + cost(len(sequence))
        if trees and shared and grown <= limit and saves:
            tree.add(number, sequence, shared, tree.paths[last])
        else:
            trees.append(PrefixTree())
            trees[-1].add(number, sequence, 0, ())
        last = number
    return trees


# Reading a shorter beginning again is as fast as taking it from the cache.
SHORTEST = 32


class Stem(NamedTuple):
    """A beginning to be read once, and the numbers of the sequences that share it."""

    tokens: list[int]
    sequences: list[int]


def stems(sequences: Sequence[Sequence[int]], ends: Sequence[int], limit: int) -> list[Stem]:
    """Group sequences by long beginnings, such as examples, that more of them share than fit into one tree.

    Args:
        sequences: token sequences, none empty.
        ends: last tokens of each sequence that may belong to no beginning.
        limit: maximum number of nodes of a tree.

    Returns:
        Stems that together hold each sequence once; sequences without such a beginning have a stem without tokens.
    """
    order = sorted(range(len(sequences)), key=lambda i: list(sequences[i]))
    # Shared with the sequence before, which in this order is the longest prefix shared with any earlier one.
    shared = [0] + [common_prefix(sequences[a], sequences[b]) for a, b in pairwise(order)]
    result: list[Stem] = []

    def split(start: int, stop: int, depth: int) -> None:
        """Take runs with a beginning of at least twice `depth` out of a range that shares one of that length."""
        rest, at = list[int](), start
        while at < stop:
            end = at + 1
            while end < stop and shared[end] >= max(SHORTEST, 2 * depth):
                end += 1
            nodes = len(sequences[order[at]]) + sum(
                len(sequences[order[i]]) - shared[i] for i in range(at + 1, end)
            )
            if nodes > limit and end > at + 1:
                own = min(min(shared[at + 1 : end]), min(len(sequences[i]) - ends[i] for i in order[at:end]))
                if own > depth:
                    split(at, end, own)
                    at = end
                    continue
            rest += order[at:end]
            at = end
        if rest:
            result.append(Stem(list(sequences[rest[0]][:depth]), rest))

    split(0, len(order), 0)
    return result


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many first tokens two sequences share."""
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
