"""The figures, one file each; `hfprune.report.drawing.figure_files` writes them."""
