"""How often a model gives its commonest answer, and how often that would be right without reading a question."""

import numpy as np
import pandas as pd

from hfprune.assets.known_tasks import with_one_right, with_same_choices
from hfprune.cells import DENSE
from hfprune.cells.items import commonest, one_right_of_several
from hfprune.results.files import ANSWER, OF_ANSWER
from hfprune.results.reader import Results

# Stands as a method for always giving the commonest right answer.
MAJORITY = "majority answer"


def answers(data: Results) -> pd.DataFrame:
    """Return one row per cell and task whose questions have one right choice each, as the columns `ANSWER`.

    Where there are zero-shot tasks, only these count.

    `share` is the share of the commonest answer, an answer being the place of the most likely choice; in the row
    of `MAJORITY`, that of the commonest right answer. `balanced` is the mean over the right answers of the
    accuracy on their questions, for tasks whose questions have the same choices. Both are fractions.
    """
    kind = "zeroshot" if "zeroshot" in data.declared.kinds.values() else "tasks"
    items = data.items(data.declared.first(kind))
    if "loglikelihood" not in items or "acc" not in items:
        return pd.DataFrame(columns=ANSWER)
    items = items[
        items["task"].isin(with_one_right(items["task"].unique())) & one_right_of_several(items, "acc")
    ]
    given = items.assign(answer=items["loglikelihood"].map(np.argmax).astype(str))
    numbered = items[(items["method"] == DENSE) & items["target"].str.isdigit()]
    whole = pd.concat([numbered.assign(method=MAJORITY, answer=numbered["target"]), given])
    share = whole.groupby(OF_ANSWER)["answer"].agg(commonest).astype(float).rename("share")
    same_choices = given[given["task"].isin(with_same_choices())]
    by_answer = same_choices.groupby([*OF_ANSWER, "target"])["acc"].mean()
    balanced = by_answer.groupby(OF_ANSWER).mean().rename("balanced")
    return pd.concat([share, balanced], axis=1).reset_index()
