"""Folds of the calibration, from which another draw's scores can be guessed without scoring again."""

import random
from collections.abc import Sequence

from hfprune.seeds import derive_seed

# An even number: even folds are one half of the calibration, odd folds the other.
FOLDS = 8
# With fewer draws, the spread over them is as good as unknown: Student's t of two is 12.7.
MIN_DRAWS = 3


def folds_of(sequences: int, documents: Sequence[int] | None = None) -> list[int]:
    """Return the fold of each sequence: documents are dealt to the folds in turn, with all their sequences.

    Another draw takes or leaves a document as a whole. If there are fewer documents than folds, or they are
    unknown, the sequences are dealt one by one.
    """
    if documents is None or len(set(documents)) < FOLDS:
        documents = range(sequences)
    ranks = {document: rank for rank, document in enumerate(dict.fromkeys(documents))}
    return [ranks[document] % FOLDS for document in documents]


def resample(folds: Sequence[int], seed: int, number: int) -> list[int]:
    """Return as many of these folds, drawn with replacement: those of resampled calibration `number`, from 1.

    The draw depends on nothing else, so that two methods that read the same calibration have the same resamples.
    """
    generator = random.Random(derive_seed(seed, "resample", number))
    return sorted(generator.choices(folds, k=len(folds)))
