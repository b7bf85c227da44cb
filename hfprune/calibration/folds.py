"""Folds of the calibration, from which the scores of other draws are estimated without scoring again."""

import random
from collections.abc import Sequence

from hfprune.seeds import derive_seed

# An even number: even folds are one half of the calibration, odd folds the other.
FOLDS = 8
# With fewer draws their spread is practically unknown: Student's t for two draws is 12.7.
MIN_DRAWS = 3


def folds_of(sequences: int, documents: Sequence[int] | None = None) -> list[int]:
    """Return the fold of each sequence: documents are dealt to the folds in turn, with all their sequences.

    Another draw takes or leaves a document as a whole. If the documents are unknown or fewer than the folds, the
    sequences are dealt one by one.
    """
    if documents is None or len(set(documents)) < FOLDS:
        documents = range(sequences)
    ranks = {document: rank for rank, document in enumerate(dict.fromkeys(documents))}
    return [ranks[document] % FOLDS for document in documents]


def resample(folds: Sequence[int], seed: int, number: int) -> list[int]:
    """Return the folds of resampled calibration `number` (from 1): as many, drawn with replacement.

    The draw depends on seed and number alone, so that methods with the same calibration share their resamples.
    """
    generator = random.Random(derive_seed(seed, "resample", number))
    return sorted(generator.choices(folds, k=len(folds)))
