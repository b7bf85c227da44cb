"""Parameters and average accuracy (%) of LLaMA-3.2 after recovery. The paper's Table 2 beside ours."""

from hfprune.report.papers import AVERAGES, WITH_RECOVERY, PaperTable


class Table2(PaperTable):
    """Parameters and averages alone, of the dense model and of recovered ones."""

    order = 2
    keys = ("parameters", *AVERAGES)
    ours = WITH_RECOVERY
    own_models = True
