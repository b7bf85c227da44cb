"""Distance of the pruned models' outputs to the dense model's. The paper's Table 7 beside ours."""

from hfprune.report.papers import OUTPUTS, PaperTable


class Table7(PaperTable):
    """A column for each distance or perplexity and text, with and without recovery."""

    order = 7
    keys = (OUTPUTS,)
