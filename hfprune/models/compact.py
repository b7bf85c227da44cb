"""The function that loads a compact export; all below stands in its model card, and needs transformers alone."""

import copy

import transformers


def load(folder, **options):
    """Load a model whose layers have sizes of their own, strictly; `options` are those of `from_pretrained`."""
    settings, _ = transformers.PretrainedConfig.get_config_dict(folder)
    # With them, transformers 5.14 and later raise where one size is read for all layers.
    sizes = {int(number): own for number, own in settings.pop("per_layer_config").items()}
    config = transformers.AutoConfig.for_model(**settings)
    kind = getattr(transformers, config.architectures[0])

    class Compact(kind):
        __module__ = kind.__module__

        def __init__(self, config):
            super().__init__(config)
            for number, layer in enumerate(self.model.layers):
                own = copy.copy(config)
                own.update(sizes.get(number, {}))
                layer.mlp = type(layer.mlp)(own)
                if any("num_key_value_heads" in layer_sizes for layer_sizes in sizes.values()):
                    layer.self_attn = type(layer.self_attn)(own, number)

    model, report = Compact.from_pretrained(folder, config=config, output_loading_info=True, **options)
    if any(report.values()):
        raise ValueError(f"the weights do not fit config.json: {report}")
    model.__class__, model.config.per_layer_config = kind, sizes
    return model
