"""Recovery: training after pruning."""

import warnings

# peft reads this attribute of every model, and its user can do nothing about that.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
