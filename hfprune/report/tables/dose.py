"""What ten times as many calibration sequences change."""

from hfprune.effects.questions import OWN_SLOPE, SLOPE
from hfprune.report.cells import calibration_columns, counts, differences, present, ratio_column
from hfprune.report.looks import looks_of
from hfprune.report.publication import TablePublication
from hfprune.report.typeset import Column, Table
from hfprune.results.effect import Effect
from hfprune.results.reader import Results
from hfprune.study import paths


class Dose(TablePublication):
    """Slopes over the logarithm of the number of sequences, of methods and of their effects."""

    order = 17
    reads = (paths.EFFECTS,)
    empty = "No method was calibrated on samples of several sizes."

    def make(self, data: Results) -> Table:
        """Lay out one row per method or difference and outcome, of the first of each measure."""
        rows, outcomes = data.effects, data.declared.first_outcomes()
        rows = rows[rows["question"].isin([OWN_SLOPE, SLOPE]) & rows["outcome"].isin(outcomes)]
        keys = ["model", "calibration", "ratio", "method", "against", "outcome"]
        numbers = rows[[*keys, "value", "low", "high", "p", "holm", "draws", "resamples", "n"]]
        columns = [
            ratio_column(rows),
            *calibration_columns(rows),
            Column("Method", differences(rows, looks_of(data)), words=True),
            Column("Outcome", [outcomes[name].heading for name in rows["outcome"]], words=True),
            Column("Per tenfold", [str(Effect.of_row(row)) for row in rows.to_dict("records")]),
            Column("Samples", counts(rows["draws"])),
            Column("Resamples", counts(rows["resamples"])),
        ]
        notes = [
            "Per tenfold: slope over the logarithm of the number of sequences, by least squares through the mean "
            "of each size; of a ratio, the factor. A minus: paired differences. In brackets: 95 % interval over "
            "samples (disjoint ones of a size; resamples, where a size has fewer than three) and items. *: no "
            "change is excluded also by Holm's correction for all models, methods and ratios of the study."
        ]
        return Table(numbers, present(columns), notes)
