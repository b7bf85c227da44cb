"""Cost of scoring the neurons. The paper's Table 5 beside ours."""

from hfprune.report.papers import PaperTable


class Table5(PaperTable):
    """Costs of scoring, before any cut, and their ratios to entropy's."""

    order = 5
    keys = (
        *("seconds", "seconds_to_entropy", "peak_memory", "memory_to_entropy"),
        *("sequences", "agreement"),
    )
    of_scoring = True
    notes = (
        "Multiples of entropy's cost follow from the numbers beside them, in the paper's rows too.",
        "GB: a billion bytes in ours; the paper does not say.",
        "Scores are computed once and serve every ratio.",
        "Agreement: share of the neurons kept by one half of the calibration that the other half keeps too, "
        "both cut to half the width.",
    )
