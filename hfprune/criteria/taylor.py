"""LLM-Pruner's Taylor importance."""

from hfprune.criteria import Aggregation
from hfprune.criteria.cross_entropy import CrossEntropy


class Taylor(CrossEntropy):
    """Cross-entropy in weight form: |w · ∂C/∂w| over the unit's weights (LLM-Pruner, arXiv 2305.11627).

    Let G be the gradient, averaged over sequences before the absolute value, A the average of its square, and
    W the neuron's gate row, up row and down column, or the rows of q, k and v and the columns of o of a key-value
    group. Then `aggregation` is, by LLM-Pruner's names, `param_first` Σ_W Σ_j |w G|, `param_second`
    Σ_W Σ_j |w² A|, `param_mix` Σ_W Σ_j |w G - ½ w² A|, or `vectorize` Σ_W |Σ_j w G|. `param_first` and `param_mix`
    keep float32 sums of two and four times the size of the weights. Only the score: LLM-Pruner whole prunes
    attention too, and spares the first and last layers (`allocation: {spare: [4, 2]}`).
    """

    aggregation: Aggregation = "param_first"
