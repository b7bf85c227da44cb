"""MLP only against attention and MLP at equal total parameters: zero-shot accuracy (%).

The paper's Table 8 beside ours.
"""

from hfprune.cells import DENSE
from hfprune.paper.printed import NOT_AVERAGED
from hfprune.report.papers import ACCURACY, PaperTable


class Table8(PaperTable):
    """Every task but TruthfulQA and the averages, of the dense model, entropy and entropy_attention."""

    order = 8
    keys = ACCURACY
    ours = f"method in ['{DENSE}', 'entropy', 'entropy_attention']"
    without = NOT_AVERAGED[8]
    notes = ("TruthfulQA is left out of the averages, as in the paper's table.",)
