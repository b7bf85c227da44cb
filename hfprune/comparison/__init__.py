"""Two models side by side: a pruned one and its dense one, or two results of lm-eval."""
