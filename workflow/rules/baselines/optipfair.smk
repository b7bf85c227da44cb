# optiPfair, a command-line tool (pip install optipfair): MLP neurons by the range of their weights, MAW.


rule optipfair:
    input:
        model="resources/models/{model}/asset.json",
        budget=f"{RESULTS}/{paths.BUDGET}.json",
    output:
        checkpoint=directory(f"{RESULTS}/{paths.CHECKPOINT}"),
    log:
        f"{LOGS}/{paths.CHECKPOINT}.log",
    wildcard_constraints:
        method=methods_of("optipfair"),
    conda:
        "../../envs/optipfair.yml"
    params:
        model=subpath(input.model, parent=True),
        # The tool takes a percentage of neurons and rounds down; the study's ratio is a share of all parameters.
        percentage=lambda wildcards, input: 100
        * neurons_removed(Path(input.budget), wildcards.ratio, more=0.5),
        dtype=STUDY.dtype,
    message:
        "optipfair of {wildcards.model} at {wildcards.ratio}, draw {wildcards.draw}"
    shell:
        "HF_HUB_OFFLINE=1 optipfair prune --model-path {params.model} --pruning-type MLP_GLU --method MAW"
        " --pruning-percentage {params.percentage} --device cpu --dtype {params.dtype}"
        " --output-path {output.checkpoint} > {log} 2>&1"
