"""Parts of measures that need torch: ablation, distributions, timing, and lm-eval with prefix trees."""
