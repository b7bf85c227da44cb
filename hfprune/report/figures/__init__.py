"""The figures, one file each; `hfprune.report.drawing.writing` writes them."""
