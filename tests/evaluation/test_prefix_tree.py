import random

from hfprune.evaluation.prefix_tree import batches, pack

SEQUENCES = [[1, 2, 3, 4], [1, 2, 3, 9], [1, 2, 8], [7, 7], [1, 2, 3, 4], [1, 2]]


def test_every_sequence_reads_back_from_its_path() -> None:
    generator = random.Random(0)
    sequences = [[generator.randrange(3) for _ in range(generator.randint(1, 9))] for _ in range(200)]
    trees = pack(sequences, token_cost=1, pair_cost=0.01, limit=64)
    found = {number: [tree.tokens[i] for i in path] for tree in trees for number, path in tree.paths.items()}
    assert [found[i] for i in range(len(sequences))] == sequences
    assert sum(len(tree.paths) for tree in trees) == len(sequences)
    assert sum(map(len, trees)) < sum(map(len, sequences)) / 2, "shared prefixes are held once"
    assert all(tree.depths[node] == depth for tree in trees for path in tree.paths.values()
               for depth, node in enumerate(path))  # fmt: skip


def test_merging_stops_where_attention_would_cost_more() -> None:
    assert len(pack(SEQUENCES, token_cost=1, pair_cost=0, limit=64)) == 2
    assert len(pack([[1, *range(10, 40)], [1, *range(50, 90)]], token_cost=1, pair_cost=1, limit=640)) == 2
    assert max(map(len, pack(SEQUENCES, token_cost=1, pair_cost=0, limit=4))) <= 4


def test_batches_keep_the_budget_and_every_tree() -> None:
    trees = pack([[i] * (1 + i % 7) for i in range(50)], 1, 0, 64)
    grouped = batches(trees, budget=20)
    assert sorted(len(tree) for batch in grouped for tree in batch) == sorted(map(len, trees))
    assert all(len(batch) * max(map(len, batch)) <= 20 for batch in grouped)
    assert all(sum(map(len, batch)) >= 0.9 * len(batch) * len(batch[0]) for batch in grouped)
    assert [len(b) for b in batches(pack([[1] * 30], 1, 0, 64), budget=20)] == [1], "a long row goes alone"
