"""Parameters and average accuracy (%) of LLaMA-3.2 after recovery. The paper's Table 2 beside ours."""

from hfprune.paper.printed import AVERAGE, AVERAGE_WITHOUT_CROWS
from hfprune.report.papers import WITH_RECOVERY, PaperTable


class Table2(PaperTable):
    order = 2
    keys = ("parameters", AVERAGE, AVERAGE_WITHOUT_CROWS)
    ours = WITH_RECOVERY
    own_models = True
