"""Distance of the pruned models' outputs to the dense model's. The paper's Table 7 beside ours."""

from hfprune.report.papers import OUTPUTS, PaperTable


class Table7(PaperTable):
    order = 7
    keys = (OUTPUTS,)
