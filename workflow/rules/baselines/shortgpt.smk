# ShortGPT: removes the decoder blocks that change the hidden state least (arXiv 2403.03853).


rule shortgpt:
    input:
        model="resources/models/{model}/asset.json",
        blocks=CALIBRATION_BLOCKS,
    output:
        checkpoint=directory(f"{RESULTS}/{layout.CHECKPOINT}"),
    log:
        f"{LOGS}/{layout.CHECKPOINT}.log",
    wildcard_constraints:
        method=methods_of("shortgpt"),
    conda:
        ENVIRONMENT
    resources:
        gpu=gpu,
    params:
        model=subpath(input.model, parent=True),
    message:
        "shortgpt of {wildcards.model} at {wildcards.ratio}, seed {wildcards.seed}"
    shell:
        "python -m hfprune.baselines.shortgpt --model {params.model} --blocks {input.blocks}"
        " --ratio {wildcards.ratio} --out {output.checkpoint} > {log} 2>&1"
