"""Zero-shot accuracy (%) of Qwen after recovery. The paper's Table 3 beside ours."""

from hfprune.report.papers import ACCURACY, WITH_RECOVERY, PaperTable


class Table3(PaperTable):
    """Every task and the averages, of the dense models and of recovered ones."""

    order = 3
    keys = ACCURACY
    ours = WITH_RECOVERY
    own_models = True
