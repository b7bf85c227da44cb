"""lm-eval's own command line, extended by this suite's model: `hfprune-lm-eval --model hfprune …`.

lm-eval releases after 0.4.13 find the model by the entry point in `pyproject.toml`, so plain
`lm_eval --model hfprune …` does the same there. Earlier releases resolve `--model` before they load other
code.
"""

from lm_eval.__main__ import cli_evaluate
from lm_eval.api.registry import model_registry


def main() -> None:
    """Run `lm_eval` with the arguments of this process."""
    if "hfprune" not in model_registry:
        model_registry.register("hfprune", target="hfprune.evaluation.lm:PrefixTreeLM")
    cli_evaluate()
