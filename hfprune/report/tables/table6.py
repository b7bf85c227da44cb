"""Zero-shot accuracy (%) without recovery, by criterion. The paper's Table 6 beside ours."""

from hfprune.report.papers import ACCURACY, PaperTable


class Table6(PaperTable):
    """Every task and the averages, of models without recovery."""

    order = 6
    keys = ACCURACY
    ours = "recovery == 'none'"
