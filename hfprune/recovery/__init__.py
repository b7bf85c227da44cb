"""Recovery of pruned models: least-squares reconstruction and LoRA."""

import warnings

# peft reads this attribute of every model, and users cannot change that.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
