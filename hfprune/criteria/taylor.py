"""LLM-Pruner's Taylor importance."""

from hfprune.criteria.cross_entropy import CrossEntropy
from hfprune.criterion import Aggregation


class Taylor(CrossEntropy):
    """Cross-entropy in weight form: |w · ∂C/∂w| over the neuron's weights (LLM-Pruner, arXiv 2305.11627).

    With G the gradient averaged over sequences before the absolute value, A the average of its square, and W the
    neuron's gate row, up row and down column, the `aggregation` is, in LLM-Pruner's words, `param_first`
    Σ_W Σ_j |w G|, `param_second` Σ_W Σ_j |w² A|, `param_mix` Σ_W Σ_j |w G - ½ w² A|, or `vectorize`
    Σ_W |Σ_j w G|. `param_first` and `param_mix` keep sums as large as the MLPs' weights in float32, two or four
    times.
    """

    aggregation: Aggregation = "param_first"
