"""The effect of the criterion beside the effect of another calibration sample."""

import pandas as pd

from hfprune.report.cells import calibration_columns, differences, present, ratio_column, texts
from hfprune.report.effects import AT, GROUP, TYPES, beside_reference, effects_of
from hfprune.report.looks import looks_of
from hfprune.report.publication import TablePublication
from hfprune.report.typeset import MISSING, Column, Table
from hfprune.results.reader import Results
from hfprune.study import paths

PAIR = [*AT, "against", "outcome"]
OWN = ["again", "overlap"]


class Noise(TablePublication):
    """What a method changes beside what another calibration sample of the same method does."""

    order = 18
    reads = (paths.EFFECTS, paths.DRAWS)
    empty = "No two methods were calibrated twice, on samples or resamples."

    def make(self, data: Results) -> Table:
        """Lay out one row per effect, of methods without recovery, on the first outcome of each measure."""
        draws, outcomes = data.draws.fillna({"against": ""}), data.declared.first_outcomes()
        own, pairs = (draws[(draws["against"] == "") == alone] for alone in (True, False))
        rows = beside_reference(data).astype(TYPES)
        rows = rows.merge(pairs[[*PAIR, "overlap"]].astype(TYPES), on=PAIR)
        for side in ("method", "against"):
            named = {"method": side} | {name: f"{side}_{name}" for name in OWN}
            alone = own[[*AT, "outcome", *OWN]].rename(columns=named).astype(TYPES)
            rows = rows.merge(alone, "left", on=[*GROUP, side, "outcome"])
        metrics = [outcomes[name].metric for name in rows["outcome"]]
        for side in ("method_again", "against_again"):
            pair = zip(rows["outcome"], rows[side], strict=True)
            rows[side] = [outcomes[name].shown(change) for name, change in pair]
        forms = [("× {:.3f}" if metric.effect == "ratio" else metric.effect_form) for metric in metrics]

        def changes(side: str) -> list[str]:
            pair = zip(forms, rows[side], strict=True)
            return [MISSING if pd.isna(x) else form.replace("+", "").format(x) for form, x in pair]

        columns = [
            ratio_column(rows),
            *calibration_columns(rows),
            Column("Methods", differences(rows, looks_of(data)), words=True),
            Column("Outcome", [outcomes[name].heading for name in rows["outcome"]], words=True),
            Column("Effect", [*map(str, effects_of(rows))]),
            Column("First, other sample", changes("method_again")),
            Column("Second, other sample", changes("against_again")),
            Column("Overlap", texts(rows["overlap"], "{:.3f}")),
            Column("First, other sample, overlap", texts(rows["method_overlap"], "{:.3f}")),
            Column("Second, other sample, overlap", texts(rows["against_overlap"], "{:.3f}")),
        ]
        notes = [
            "Effect: the first method minus the second on the same samples; interval and * as in the "
            "table `effects`. Other sample: standard deviation of the same method's difference between "
            "two calibration samples (of a ratio, as a factor). A smaller effect changes a pruned model "
            "less than the choice of its sample does. Overlap: Jaccard index of the kept neurons, a mean "
            "over layers and samples: of the two methods on one sample, and of each method on two "
            "samples."
        ]
        kept = [*PAIR, "value", "low", "high", "holm"]
        kept += ["method_again", "against_again", "overlap", "method_overlap", "against_overlap"]
        return Table(rows[kept], present(columns), notes)
