# optiPfair, a command-line tool (pip install optipfair): MLP neurons by the range of their weights, MAW.


rule optipfair:
    input:
        model="resources/models/{model}/asset.json",
        budget=ancient(f"{RESULTS}/{layout.BUDGET}.json"),
    output:
        checkpoint=directory(f"{RESULTS}/{layout.CHECKPOINT}"),
    log:
        f"{LOGS}/{layout.CHECKPOINT}.log",
    wildcard_constraints:
        method=methods_of("optipfair"),
    conda:
        "../../envs/optipfair.yml"
    params:
        model=subpath(input.model, parent=True),
        # The tool takes a share of neurons; the study's ratio is a share of all parameters.
        percentage=lambda wildcards, input: 100 * neurons_removed(input.budget, wildcards.ratio),
        dtype=STUDY.dtype,
    message:
        "optipfair of {wildcards.model} at {wildcards.ratio}, seed {wildcards.seed}"
    shell:
        "HF_HUB_OFFLINE=1 optipfair prune --model-path {params.model} --pruning-type MLP_GLU --method MAW"
        " --pruning-percentage {params.percentage} --device cpu --dtype {params.dtype}"
        " --output-path {output.checkpoint} > {log} 2>&1"
