"""Loss of quality against gain in speed and size."""

from math import nan

import pandas as pd

from hfprune.report.cells import head_columns, in_order, present, texts, words
from hfprune.report.looks import looks_of
from hfprune.report.publication import TablePublication
from hfprune.report.tradeoff import QUALITIES, THEORY, label, tradeoff
from hfprune.report.typeset import MISSING, Column, Table
from hfprune.results.effect import Effect
from hfprune.results.reader import Results

_THEORY_LABELS = {"prefill_by_flops": "by FLOPs", "decode_by_parameters": "by parameters"}


class TradeoffTable(TablePublication):
    """One row per cell: qualities, sizes, and speed-ups beside the theoretical ones."""

    order = 12
    empty = "No latency was measured."

    def make(self, data: Results) -> Table:
        rows = in_order(
            tradeoff(data.levels, data.declared),
            ("model", "ratio", "calibration", "sequences", "method"),
            looks_of(data),
        )
        rows = data.with_calibrated(rows)
        scored = {name: method for name, method in data.study.methods.items() if not method.unscored}
        units = rows["method"].map({name: ", ".join(sorted(method.units)) for name, method in scored.items()})
        rows.insert(5, "units", words(units))
        columns = [
            *head_columns(rows, looks_of(data)),
            Column("Units", [units or MISSING for units in rows["units"]], words=True),
            *(_with_interval(label(name, data.declared), rows, name, "{:.3f}") for name in QUALITIES),
            Column("Params (B)", texts(rows["parameters"], "{:.3g}", 1e-9)),
            Column("Memory (GB)", texts(rows["memory_bytes"], "{:.3g}", 1e-9)),
        ]
        if rows["disk_bytes"].notna().any():
            columns.append(Column("Disk (GB)", texts(rows["disk_bytes"], "{:.3g}", 1e-9)))
        else:
            rows = rows.drop(columns="disk_bytes")  # `storage` was not measured
        for gain, (theory, _) in THEORY.items():
            if rows[gain].notna().any():
                columns.append(_with_interval(label(gain, data.declared), rows, gain, "{:.2f}"))
                columns.append(Column(_THEORY_LABELS[theory], texts(rows[theory], "{:.2f}")))
        notes = [
            "Speed-ups: measured in turns with the dense model. By FLOPs, by parameters: the speed-up if "
            "the time of a prefill were proportional to its operations, and that of a decoding step to "
            "the weights.",
            "Memory: the weights, and the KV cache of the timed prompts.",
            "In brackets: 95 % interval over documents and, if there are several, draws; of speed-ups over draws "
            "alone, because repeats in one process do not show how processes differ.",
        ]
        return Table(rows, present(columns), notes)


def _with_interval(heading: str, rows: pd.DataFrame, name: str, form: str) -> Column:
    numbers = zip(rows[name], rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
    return Column(heading, [str(Effect(*ends, form=form, neutral=nan)) or MISSING for ends in numbers])
