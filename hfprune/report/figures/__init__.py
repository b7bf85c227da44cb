"""The figures, one file each: `hfprune.report.publication` finds them, `hfprune.report.drawing.writing` writes them."""
