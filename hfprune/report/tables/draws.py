"""The spread of each outcome over calibration samples."""

from hfprune.effects.variation import quotients
from hfprune.report.cells import calibration_columns, counts, differences, present, ratio_column, texts
from hfprune.report.looks import looks_of
from hfprune.report.publication import TablePublication
from hfprune.report.typeset import MISSING, Column, Table
from hfprune.results.reader import Results
from hfprune.study import paths


class Draws(TablePublication):
    """Standard deviations over draws and over resamples, by method or difference, and outcome."""

    order = 16
    reads = (paths.DRAWS,)
    empty = "No method was calibrated twice, on samples or resamples."

    def make(self, data: Results) -> Table:
        rows, effects = data.draws.fillna({"against": ""}), data.declared.first_outcomes()
        measured = [effects[name] for name in rows["outcome"]]
        outcomes = [row.label + " (logarithm)" * (row.metric.effect == "ratio") for row in measured]
        columns = [
            ratio_column(rows),
            *calibration_columns(rows),
            Column("Method", differences(rows, looks_of(data)), words=True),
            Column("Outcome", outcomes, words=True),
            Column("Draws", texts(rows["draws"], "{:,.0f}")),
            Column("SD over draws", texts(rows["draws_sd"], "{:.4f}")),
            Column("Resamples", counts(rows["resamples"])),
            Column("SD over resamples", texts(rows["resamples_sd"], "{:.4f}")),
            Column("Ratio of SDs", [str(quotient) or MISSING for quotient in quotients(rows)]),
        ]
        notes = [
            "SD over draws: standard deviation of the mean over items between calibration samples. SD "
            "over resamples: the same between sets of folds drawn with replacement from one sample, "
            "corrected for their number. Ratio of SDs: the first divided by the second, with its 95 % "
            "interval, which contains 1 if resampling estimates the variation between samples. Rows with "
            "a minus: paired differences."
        ]
        return Table(rows, present(columns), notes)
