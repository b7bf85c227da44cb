"""Zero-shot accuracy (%) of Qwen after recovery. The paper's Table 3 beside ours."""

from hfprune.report.papers import ACCURACY, WITH_RECOVERY, PaperTable


class Table3(PaperTable):
    order = 3
    keys = ACCURACY
    ours = WITH_RECOVERY
    own_models = True
