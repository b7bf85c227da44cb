"""lm-eval's own command line, extended by this suite's model: `hfprune-lm-eval --model hfprune …`.

lm-eval releases after 0.4.13 find the model by the entry point in `pyproject.toml`, so plain
`lm_eval --model hfprune …` does the same there. Earlier releases resolve `--model` before they load other
code.
"""

import logging
import sys

from hfprune.errors import HfpruneError, brief
from hfprune.extras import missing


def main() -> None:
    """Run `lm_eval` with the arguments of this process; a bad argument ends it with one line and exit code 1."""
    try:
        from lm_eval.__main__ import cli_evaluate
        from lm_eval.api.registry import model_registry
    except ModuleNotFoundError as error:
        sys.exit(f"hfprune-lm-eval: error: {missing(error)}")
    if "hfprune" not in model_registry:
        model_registry.register("hfprune", target="hfprune.evaluation.lm:PrefixTreeLM")
    # Each retry of the hub's client is two lines; the last error says what they say.
    logging.getLogger("huggingface_hub.utils._http").setLevel(logging.ERROR)
    try:
        cli_evaluate()
    # What lm-eval and transformers raise about unknown models, tasks, files and arguments.
    except (HfpruneError, OSError, ValueError, TypeError, KeyError) as error:
        sys.exit(f"hfprune-lm-eval: error: {brief(error)}")
