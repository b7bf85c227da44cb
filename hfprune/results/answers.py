"""Which answers a model gives, whatever the questions: its commonest one, and what is right without reading."""

import numpy as np
import pandas as pd

from hfprune.assets.known_tasks import with_one_right, with_same_choices
from hfprune.cells import DENSE
from hfprune.cells.items import commonest, one_of_several
from hfprune.results.files import ANSWER, OF_ANSWER
from hfprune.results.reader import Results

# Stands as a method for always giving the commonest right answer.
MAJORITY = "majority answer"


def answers(data: Results) -> pd.DataFrame:
    """Return a row a cell and task whose questions have one right choice each.

    Where there are zero-shot tasks, these alone.

    `share` is that of the commonest answer, an answer being the place of the likeliest choice; the row of
    `MAJORITY` has that of the commonest right one. `balanced`, of tasks whose questions have the same choices, is
    the mean of the accuracies over the questions of each right answer. Both are fractions.
    """
    kind = "zeroshot" if "zeroshot" in data.declared.kinds.values() else "tasks"
    items = data.items(data.declared.first(kind))
    if "loglikelihood" not in items or "acc" not in items:
        return pd.DataFrame(columns=ANSWER)
    items = items[items["task"].isin(with_one_right(items["task"].unique())) & one_of_several(items, "acc")]
    given = items.assign(answer=items["loglikelihood"].map(np.argmax).astype(str))
    known = items[(items["method"] == DENSE) & items["target"].str.isdigit()]
    whole = pd.concat([known.assign(method=MAJORITY, answer=known["target"]), given])
    share = whole.groupby(OF_ANSWER)["answer"].agg(commonest).astype(float).rename("share")
    alike = given[given["task"].isin(with_same_choices())]
    by_answer = alike.groupby([*OF_ANSWER, "target"])["acc"].mean()
    balanced = by_answer.groupby(OF_ANSWER).mean().rename("balanced")
    return pd.concat([share, balanced], axis=1).reset_index()
