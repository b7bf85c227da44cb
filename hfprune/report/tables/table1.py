"""Zero-shot accuracy (%) of LLaMA-2-7B after recovery. The paper's Table 1 beside ours."""

from hfprune.report.papers import ACCURACY, WITH_RECOVERY, PaperTable


class Table1(PaperTable):
    """Every task and the averages, of the dense model and of recovered ones."""

    order = 1
    keys = ACCURACY
    ours = WITH_RECOVERY
    own_models = True
