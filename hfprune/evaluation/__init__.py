"""The parts of measures that need torch: distributions, timing, and lm-eval with prefix trees."""
