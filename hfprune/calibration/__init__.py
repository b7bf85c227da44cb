"""From text to calibration sequences: blocks of tokens, and their folds."""
